//! The key of a data directory whose pipeline has no keys: made once, readable by its owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use api::ApiKey;
use model::exchange::AccountId;

/// Its name in the data directory.
const FILE: &str = "trader.key";
/// Random bytes in a key; it is written as twice as many hex digits.
const KEY_BYTES: usize = 16;

/// The key, with the file that holds it. It trades for account 1 and may deposit, so that there is something to
/// trade with.
///
/// # Errors
/// When the file can be neither read nor made, or holds something else.
pub(crate) fn open(data_dir: &Path) -> anyhow::Result<(PathBuf, ApiKey)> {
    let path = data_dir.join(FILE);
    let secret = match fs::read_to_string(&path) {
        Ok(text) => text.trim_end().to_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            create(&path).with_context(|| format!("cannot make the key {}", path.display()))?
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read the key {}", path.display())),
    };
    anyhow::ensure!(
        secret.len() == 2 * KEY_BYTES && secret.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{} does not hold a key of {} hex digits: delete it, and the next start makes a new one",
        path.display(),
        2 * KEY_BYTES
    );
    Ok((path, ApiKey { name: "trader".to_owned(), secret, account: AccountId(1), operator: true }))
}

/// Copies the key from one folder into another one, for its owner only; nothing where the first has none.
///
/// # Errors
/// When it cannot be copied.
pub(crate) fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let (from, to) = (from.join(FILE), to.join(FILE));
    // The copy takes over the permissions.
    match fs::copy(&from, &to) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
        }
        _ => Ok(()),
    }
}

/// Whether a data directory has a key.
pub(crate) fn exists(data_dir: &Path) -> bool {
    data_dir.join(FILE).exists()
}

/// Writes beside and renames, so that a crash leaves no half of a key.
fn create(path: &Path) -> std::io::Result<String> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let mut random = [0; KEY_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let secret: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let beside = path.with_extension("key.new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(secret.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept_from_others() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, first) = open(dir.path()).expect("a new key");
        assert_eq!(fs::metadata(&path).expect("the file").permissions().mode() & 0o777, 0o600);
        assert_eq!(open(dir.path()).expect("the same key").1.secret, first.secret);
        let restored = tempfile::tempdir().expect("a directory");
        copy(dir.path(), restored.path()).expect("a copy");
        let (path_of_copy, copied) = open(restored.path()).expect("the same key");
        assert_eq!(copied.secret, first.secret);
        assert_eq!(fs::metadata(&path_of_copy).expect("the file").permissions().mode() & 0o777, 0o600);
        let other = tempfile::tempdir().expect("a directory");
        copy(other.path(), restored.path()).expect("no key is no error");
        assert_ne!(open(other.path()).expect("another key").1.secret, first.secret);
        fs::write(&path, "short").expect("written");
        let error = open(dir.path()).expect_err("half a key").to_string();
        assert!(error.contains("delete it"), "{error}");
    }
}
