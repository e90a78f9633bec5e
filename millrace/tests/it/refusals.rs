//! What the program refuses, in one clear line each.

use crate::program::Place;

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_mistake_of_a_file_is_told_at_once_with_its_place() {
    let place = Place::new("");
    let text = "version: 2\nlog: { type: embeded, sync: sometimes }\ninstruments: [BTC-USDT, btc, BTC-USDT]\n\
                sources:\n  binance: { type: binance, channles: [trades] }\n  xy: { type: bitmex }\n  x y: { type: binance }\n\
                prices:\n  method: best\n  window: { size: 90 }\n  publsh: { heartbeat: 1s }\n\
                cache: { type: redis }\nserver: { listen: 0.0.0.0:80 }\nport: 1\n";
    std::fs::write(place.path("bad.yaml"), text).unwrap();
    let output = place.run(&["check", "bad.yaml"]);
    assert!(!output.status.success());
    let said = stderr(&output);
    for wanted in [
        "bad.yaml:1:10: version: 2 not allowed: 1 to 1",
        "bad.yaml:2:14: log.type: \"embeded\" is not known: one of embedded, fluvio",
        "instruments: \"btc\" is not an instrument",
        "instruments: BTC-USDT stands twice",
        "sources.binance.channles: is not a field here: did you mean channels?",
        "\"bitmex\" is no venue type",
        "sources.x y: \"x y\" has a character that names may not have",
        "prices.method",
        "prices.window.size",
        "prices.publsh: is not a rule",
        "cache.url: is missing: add `url: redis://127.0.0.1:6379`",
        "server.listen: 0.0.0.0:80 is reachable from outside",
        "port: is not a field here",
    ] {
        assert!(said.contains(wanted), "{wanted:?} is not in:\n{said}");
    }
    assert!(place.run(&["check"]).status.success(), "the pipeline of these tests is sound");
}

#[test]
fn a_directory_in_use_and_a_port_taken_are_one_line_each() {
    let place = Place::new("");
    let running = place.up();
    let output = place.run(&["up"]);
    assert!(!output.status.success());
    let said = stderr(&output);
    assert!(said.contains("is in use by another process"), "{said}");
    assert_eq!(said.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{said}");

    // The same ports, another directory.
    let file = std::fs::read_to_string(place.path("pipeline.yaml")).unwrap();
    std::fs::write(place.path("other.yaml"), file.replace("./data", "./other")).unwrap();
    let output = place.run(&["up", "other.yaml"]);
    assert!(!output.status.success());
    let said = stderr(&output);
    assert!(said.contains(&format!("port {} of 127.0.0.1 is taken", place.api)), "{said}");
    assert_eq!(said.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{said}");
    drop(running);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let place = Place::new("");
    let output = place.run(&["up", "nowhere.yaml"]);
    assert!(!output.status.success());
    assert!(stderr(&output).contains("cannot read nowhere.yaml"), "{}", stderr(&output));
}
