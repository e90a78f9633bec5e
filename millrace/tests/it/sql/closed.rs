//! Whoever has not proven a key reads nothing, whatever is sent, and holds nothing for long.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::{MARKETS, Market, free_port};
use crate::program::{PATIENCE, Place};

fn startup(user: &str) -> Vec<u8> {
    let mut body = 196_608_i32.to_be_bytes().to_vec();
    body.extend(format!("user\0{user}\0database\0millrace\0\0").bytes());
    let mut message = (body.len() as i32 + 4).to_be_bytes().to_vec();
    message.extend(body);
    message
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind];
    message.extend((body.len() as i32 + 4).to_be_bytes());
    message.extend(body);
    message
}

/// What comes back until the other end closes, as it has to.
fn answer_to(port: u16, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The other end may close at any moment.
    let _ = stream.write_all(bytes);
    let (mut answer, mut part) = (Vec::new(), [0; 4_096]);
    loop {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&part[..read]),
            // Closed with bytes of ours unread.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("it is never closed: {error}, after {:?}", String::from_utf8_lossy(&answer)),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn the_postgres_port_answers_nobody_who_has_not_logged_in() {
    let market = Market::open("timeout: 20s", MARKETS);
    let query = message(b'Q', b"SELECT 'leaked' || 'row'\0");
    let parse = message(b'P', b"\0SELECT 'leaked' || 'row'\0\0\0");
    let bind = message(b'B', b"\0\0\0\0\0\0\0\0");
    let execute = message(b'E', b"\0\0\0\0\0");
    let sync = message(b'S', b"");
    let extended = [&parse[..], &bind, &execute, &sync].concat();
    let password = message(b'p', b"SCRAM-SHA-256\0\0\0\0\x08n,,n=,r=");
    let ssl = [8_i32.to_be_bytes(), 80_877_103_i32.to_be_bytes()].concat();
    let huge = [&startup("trader")[..], b"Q", &1_000_000_000_i32.to_be_bytes(), &[b' '; 4_096]].concat();
    let attempts: [Vec<u8>; 16] = [
        query.clone(),
        extended.clone(),
        [&startup("trader")[..], &query].concat(),
        [&startup("trader")[..], &extended].concat(),
        [&startup("nobody")[..], &password, &query, &extended].concat(),
        [&startup("trader")[..], &password, &password, &query].concat(),
        [&startup("trader")[..], &message(b'p', b"password\0"), &query, &extended].concat(),
        [&startup("trader")[..], &startup("trader"), &query].concat(),
        [&ssl[..], &ssl, &ssl, &ssl, &query].concat(),
        [&ssl[..], &startup("trader"), &query].concat(),
        huge,
        vec![0; 64],
        vec![255; 64],
        (0..=255).cycle().take(4_096).collect(),
        // Half a handshake, and nothing at all: both are closed after a while.
        startup("trader"),
        Vec::new(),
    ];
    let postgres = market.postgres;
    std::thread::scope(|scope| {
        for (at, bytes) in attempts.iter().enumerate() {
            scope.spawn(move || {
                let text = answer_to(postgres, bytes);
                assert!(!text.contains("leakedrow"), "attempt {at}: {text}");
            });
        }
    });
    // The Flight SQL port is HTTP/2 and closes on what is none.
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 1_024], &query] {
        let text = answer_to(market.flight, bytes);
        assert!(!text.contains("leaked"), "{text}");
    }
    // Places were taken and are free again.
    assert_eq!(market.lines("SELECT 1"), ["1"]);
}

#[test]
fn doors_are_on_loopback_or_not_at_all() {
    let port = free_port();
    for door in ["postgres", "flight"] {
        let place = Place::with_server(&format!(", sql: {{ {door}: \"0.0.0.0:{port}\" }}"), "");
        let output = place.run(&["check"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("reachable from outside"), "{door}: {said}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for door in ["postgres", "flight"] {
        let place = Place::with_server(&format!(", sql: {{ {door}: \"127.0.0.1:{port}\" }}"), "");
        let output = place.run(&["up"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(&format!("127.0.0.1:{port}")), "{door}: {said}");
    }
}
