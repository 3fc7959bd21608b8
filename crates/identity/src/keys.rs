//! The signing key's file: made once, read by every process of the deployment.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use firstcome_web::TokenKey;
use rand::TryRngCore;
use rand::rngs::OsRng;
use uuid::Uuid;

/// The name of the file in the data directory.
const FILE: &str = "signing.key";
/// Bytes of the secret: as many as HS256 digests (RFC 7518, section 3.2, asks for no fewer).
const SECRET_BYTES: usize = 32;
/// Most bytes of the file that are looked at: the secret in base64url, and some blanks.
const FILE_BYTES_MAX: u64 = 128;

/// The signing key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file or its directory cannot be made or read.
    #[error("cannot {action} the signing key {path}: {source}")]
    Io {
        /// `read` or `make`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is there, but holds no key.
    #[error(
        "the signing key {path} is damaged: it must be {SECRET_BYTES} bytes in base64url. Restore \
         it from a backup, or remove it: a new one is made, and every access token ends"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The system has no random numbers to give.
    #[error("cannot make a signing key: the system gives no random numbers: {0}")]
    Random(#[from] rand::rand_core::OsError),
}

/// Reads the deployment's signing key, `signing.key` in the data directory; makes both where they
/// are missing. Processes that ask at the same time get the same key.
///
/// # Errors
/// When the file cannot be read or made, or holds no key.
pub fn load_or_create(data_dir: &Path) -> Result<TokenKey, KeyFileError> {
    let path = data_dir.join(FILE);
    if let Some(key) = load(&path)? {
        return Ok(key);
    }
    let mut secret = [0; SECRET_BYTES];
    OsRng.try_fill_bytes(&mut secret)?;
    publish(data_dir, &path, &secret).map_err(failed("make", &path))?;
    // Another process may have been first: what the file says counts.
    load(&path)?.ok_or_else(|| failed("read", &path)(ErrorKind::NotFound.into()))
}

/// The key in the file; none when there is no file.
fn load(path: &Path) -> Result<Option<TokenKey>, KeyFileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut text).map_err(failed("read", path))?;
    let malformed = || KeyFileError::Malformed { path: path.to_owned() };
    let secret = URL_SAFE_NO_PAD.decode(text.trim_ascii()).map_err(|_| malformed())?;
    let secret: [u8; SECRET_BYTES] = secret.try_into().map_err(|_| malformed())?;
    Ok(Some(TokenKey::new(&secret)))
}

/// Puts the whole file in place at once, unless there is one already: under a name of its own
/// first, then linked, which fails where a file is, and never shows half a key.
fn publish(data_dir: &Path, path: &Path, secret: &[u8; SECRET_BYTES]) -> std::io::Result<()> {
    std::fs::create_dir_all(data_dir)?;
    let draft = data_dir.join(format!("{FILE}.{}", Uuid::now_v7().simple()));
    let linked = write_private(&draft, secret).and_then(|()| std::fs::hard_link(&draft, path));
    let removed = std::fs::remove_file(&draft);
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        linked => linked?,
    }
    removed?;
    sync_directory(data_dir)
}

fn write_private(path: &Path, secret: &[u8; SECRET_BYTES]) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    writeln!(file, "{}", URL_SAFE_NO_PAD.encode(secret))?;
    file.sync_all()
}

/// Makes the new name survive a power cut, where directories can be synced.
fn sync_directory(directory: &Path) -> std::io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> KeyFileError {
    let path = path.to_owned();
    move |source| KeyFileError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use firstcome_core::{Timestamp, UserId};
    use firstcome_web::Scopes;
    use tempfile::TempDir;

    use super::*;
    use crate::{Grant, IdentityConfig, Mint};

    /// A token that tells keys apart.
    fn signed(key: TokenKey) -> String {
        let mint = Mint::new(key, &IdentityConfig::default());
        let grant = Grant {
            subject: UserId::parse("kim").expect("a user id"),
            scope: Scopes::USER,
            session: None,
        };
        let token = mint.access_token_with_id(grant, "1", Timestamp::from_micros(0), 60);
        token.rsplit_once('.').expect("a signature").1.to_owned()
    }

    #[test]
    fn the_key_is_made_once_and_for_its_owner_alone() {
        let directory = TempDir::new().expect("a temporary directory");
        let data_dir = directory.path().join("not/yet");
        let made = load_or_create(&data_dir).expect("a new key");
        let read = load_or_create(&data_dir).expect("the key again");
        assert_eq!(signed(made), signed(read));
        let names: Vec<_> = std::fs::read_dir(&data_dir)
            .expect("the directory")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(names, [FILE]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let metadata = std::fs::metadata(data_dir.join(FILE)).expect("the file");
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn two_deployments_have_two_keys() {
        let key = || {
            let directory = TempDir::new().expect("a temporary directory");
            signed(load_or_create(directory.path()).expect("a new key"))
        };
        assert_ne!(key(), key());
    }

    #[test]
    fn processes_that_start_together_share_one_key() {
        let directory = TempDir::new().expect("a temporary directory");
        let start = Barrier::new(8);
        let mut signatures: Vec<String> = std::thread::scope(|scope| {
            let process = || {
                start.wait();
                signed(load_or_create(directory.path()).expect("a key"))
            };
            let processes: Vec<_> = (0..8).map(|_| scope.spawn(process)).collect();
            processes.into_iter().map(|process| process.join().expect("a signature")).collect()
        });
        signatures.dedup();
        assert_eq!(signatures.len(), 1);
        assert_eq!(std::fs::read_dir(directory.path()).expect("the directory").count(), 1);
    }

    #[test]
    fn a_damaged_key_is_named_and_left_alone() {
        for damage in ["", "\n", "c2hvcnQ", "not base64!", &"A".repeat(44), &"A".repeat(1_000)] {
            let directory = TempDir::new().expect("a temporary directory");
            let path = directory.path().join(FILE);
            std::fs::write(&path, damage).expect("a file");
            let error = load_or_create(directory.path()).expect_err(damage);
            assert!(matches!(error, KeyFileError::Malformed { .. }), "{error}");
            assert!(error.to_string().contains("signing.key is damaged"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).expect("the file"), damage);
        }
    }

    #[test]
    fn what_cannot_be_read_or_made_is_named() {
        let directory = TempDir::new().expect("a temporary directory");
        std::fs::create_dir(directory.path().join(FILE)).expect("a directory in its place");
        let error = load_or_create(directory.path()).expect_err("a directory is no file");
        assert!(error.to_string().starts_with("cannot read the signing key"), "{error}");

        let file = directory.path().join("file");
        std::fs::write(&file, "").expect("a file");
        let error = load_or_create(&file.join("data")).expect_err("a file is no directory");
        assert!(matches!(error, KeyFileError::Io { .. }), "{error}");
    }
}
