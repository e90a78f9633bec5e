//! A connection on which no message is longer than it may be, whoever sends it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::engine::Caller;

/// Bytes of a message before there is a proof.
const UNPROVEN_BYTES_MAX: u32 = 8 << 10;
/// Bytes of a message after it: a statement and its parameters.
const PROVEN_BYTES_MAX: u32 = 1 << 20;
/// Codes of the requests for encryption, after which another message without a kind follows.
const ENCRYPTION: [u32; 2] = [80_877_103, 80_877_104];

/// Follows the lengths of messages in the bytes that come.
#[derive(Debug)]
struct Lengths {
    /// Whether the next message is one of the first, which have no kind.
    is_first: bool,
    head: Vec<u8>,
    /// Bytes of the message that are still to come.
    left: u32,
}

impl Lengths {
    fn new() -> Self {
        Self { is_first: true, head: Vec::with_capacity(8), left: 0 }
    }

    /// Follows bytes; an error says which message is too long.
    fn follow(&mut self, mut bytes: &[u8], bytes_max: u32) -> Result<(), String> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let passed = bytes.len().min(self.left as usize);
                self.left -= passed as u32;
                bytes = &bytes[passed..];
                continue;
            }
            let wanted = if self.is_first { 8 } else { 5 };
            let taken = bytes.len().min(wanted - self.head.len());
            self.head.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.head.len() == wanted {
                self.begin(bytes_max)?;
                self.head.clear();
            }
        }
        Ok(())
    }

    /// Begins a message whose head is there.
    fn begin(&mut self, bytes_max: u32) -> Result<(), String> {
        let word = |at: usize| u32::from_be_bytes(self.head[at..at + 4].try_into().expect("four bytes"));
        let (length, in_head) = if self.is_first { (word(0), 8) } else { (word(1), 4) };
        if length < in_head || length > bytes_max {
            return Err(format!("a message of {length} bytes is not allowed: {in_head} to {bytes_max}"));
        }
        if self.is_first {
            self.is_first = ENCRYPTION.contains(&word(4));
        }
        self.left = length - in_head;
        Ok(())
    }
}

/// The connection.
#[derive(Debug)]
pub(super) struct Bounded {
    stream: TcpStream,
    lengths: Lengths,
    proof: Arc<OnceLock<Caller>>,
}

impl Bounded {
    pub(super) fn new(stream: TcpStream, proof: Arc<OnceLock<Caller>>) -> Self {
        Self { stream, lengths: Lengths::new(), proof }
    }
}

impl AsyncRead for Bounded {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        std::task::ready!(Pin::new(&mut this.stream).poll_read(context, into))?;
        let bytes_max = if this.proof.get().is_some() { PROVEN_BYTES_MAX } else { UNPROVEN_BYTES_MAX };
        let followed = this.lengths.follow(&into.filled()[before..], bytes_max);
        Poll::Ready(followed.map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what)))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(code: u32, body: &[u8]) -> Vec<u8> {
        let length = body.len() as u32 + 8;
        [&length.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
    }

    fn message(kind: u8, length: u32, body: &[u8]) -> Vec<u8> {
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    #[test]
    fn lengths_are_followed_however_the_bytes_come() {
        let bytes = [
            first(ENCRYPTION[0], b""),
            first(ENCRYPTION[1], b""),
            first(196_608, b"user\0x\0\0"),
            message(b'p', 9, b"abcde"),
            message(b'X', 4, b""),
            message(b'Q', 1_000, &[7; 996]),
        ]
        .concat();
        for step in [1, 2, 3, 7, 64, bytes.len()] {
            let mut lengths = Lengths::new();
            for part in bytes.chunks(step) {
                assert_eq!(lengths.follow(part, 1_000), Ok(()), "in steps of {step}");
            }
            assert!(lengths.left == 0 && lengths.head.is_empty());
            let error = lengths.follow(&message(b'Q', 1_001, b""), 1_000).expect_err("too long");
            assert!(error.contains("1001") && error.contains("1000"), "{error}");
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bytes in [vec![0; 64], first(196_608, &[0; 10_000]), vec![255; 8]] {
            assert!(Lengths::new().follow(&bytes, UNPROVEN_BYTES_MAX).is_err());
        }
        let mut lengths = Lengths::new();
        lengths.follow(&first(196_608, b"\0"), 100).expect("a start");
        assert!(lengths.follow(&message(b'Q', 3, b""), 100).is_err(), "shorter than its own length");
    }
}
