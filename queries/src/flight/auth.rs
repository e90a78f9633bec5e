//! Who calls.

use std::hint::black_box;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::login::Login;

/// The header that holds the proof.
const HEADER: &str = "authorization";

/// Knows the keys.
#[derive(Debug)]
pub(super) struct Doorman {
    logins: Vec<Login>,
}

impl Doorman {
    pub(super) fn new(logins: Vec<Login>) -> Self {
        Self { logins: logins.into_iter().filter(|login| !login.secret.is_empty()).collect() }
    }

    /// The caller of a call, by `Basic` user and key or `Bearer` key.
    ///
    /// # Errors
    /// When there is no proof, or a wrong one; the answer does not tell what of it is wrong.
    pub(super) fn caller(&self, metadata: &MetadataMap) -> Result<&Login, Status> {
        let none = || Status::unauthenticated("log in with a key's name and the key, or send the key as a bearer");
        let header = metadata.get(HEADER).and_then(|value| value.to_str().ok()).ok_or_else(none)?;
        let (scheme, given) = header.split_once(' ').ok_or_else(none)?;
        let (user, secret) = if scheme.eq_ignore_ascii_case("bearer") {
            (None, given.as_bytes().to_vec())
        } else if scheme.eq_ignore_ascii_case("basic") {
            let decoded = STANDARD.decode(given.trim()).map_err(|_| none())?;
            let colon = decoded.iter().position(|byte| *byte == b':').ok_or_else(none)?;
            (Some(decoded[..colon].to_vec()), decoded[colon + 1..].to_vec())
        } else {
            return Err(none());
        };
        let mut found = None;
        // Every key is looked at whole, so that the time tells nothing about how much of a guess was right.
        for login in &self.logins {
            let is_user = user.as_ref().is_none_or(|user| user == login.user.as_bytes());
            if same(login.secret.as_bytes(), &secret) && is_user {
                found = Some(login);
            }
        }
        found.ok_or_else(|| Status::unauthenticated("no key of this server"))
    }
}

/// Whether two texts are the same, in a time that depends on the given one's length alone.
fn same(secret: &[u8], given: &[u8]) -> bool {
    let mut differs = secret.len() ^ given.len();
    for (place, byte) in given.iter().enumerate() {
        differs |= usize::from(byte ^ secret.get(place).copied().unwrap_or(0));
    }
    black_box(differs) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Caller;

    fn doorman() -> Doorman {
        let login = |user: &str, secret: &str, caller| Login { user: user.into(), secret: secret.into(), caller };
        Doorman::new(vec![
            login("alice", "key-of-alice", Caller::Trader { account: 7 }),
            login("ops", "key-of-ops", Caller::Operator),
            login("nobody", "", Caller::Operator),
        ])
    }

    fn ask(header: &str) -> Result<String, Status> {
        let mut metadata = MetadataMap::new();
        metadata.insert(HEADER, header.parse().expect("a header"));
        doorman().caller(&metadata).map(|login| login.user.clone())
    }

    #[test]
    fn a_key_opens_and_nothing_else_does() {
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(ask("Bearer key-of-alice").expect("a key"), "alice");
        assert_eq!(ask(&basic("ops:key-of-ops")).expect("a key"), "ops");
        for wrong in [
            "Bearer ",
            "Bearer key-of-alic",
            "Bearer key-of-alicee",
            "Digest x",
            "key-of-alice",
            "Basic !!!",
            &basic("alice"),
            &basic("alice:"),
            &basic("nobody:"),
            &basic("alice:key-of-ops"),
            &basic(":key-of-ops"),
        ] {
            let status = ask(wrong).expect_err(wrong);
            assert_eq!(status.code(), tonic::Code::Unauthenticated, "{wrong}");
        }
        assert!(doorman().caller(&MetadataMap::new()).is_err());
    }
}
