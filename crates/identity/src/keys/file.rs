//! The file of the signing keys: made once, replaced whole, read by every process of the
//! deployment.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use firstcome_web::{SigningAlgorithm, TokenKey};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::KeyFileError;

/// The name of the file in the data directory.
pub(super) const FILE: &str = "signing.key";
/// Held while the file is replaced.
const LOCK_FILE: &str = "signing.key.lock";
/// Most bytes of the file that are looked at.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Bytes of a secret: as many as HS256 digests (RFC 7518, section 3.2, asks for no fewer).
pub(super) const SECRET_BYTES: usize = 32;
/// The longest life of the tokens of a secret that stands alone in its file, in seconds: that of
/// the configuration's highest bound.
const LONE_TOKEN_SECONDS_MAX: u32 = 86_400;
/// Most keys of the file, of all algorithms.
pub(super) const KEYS_MAX: usize = 16;

/// A key as it is kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredKey {
    pub(super) algorithm: SigningAlgorithm,
    /// When it begins to sign, in seconds since the epoch; until then it is only known.
    pub(super) signs_from: i64,
    /// The longest life of any token that it signs, in seconds.
    pub(super) token_seconds_max: u32,
    /// The secret, or the private key as PKCS #8, in base64url.
    private: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    keys: Vec<StoredKey>,
}

/// What tells one state of the file from the next, without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

/// The file of one data directory.
#[derive(Debug, Clone)]
pub(super) struct KeyFile {
    data_dir: PathBuf,
    pub(super) path: PathBuf,
}

impl StoredKey {
    /// A new key.
    pub(super) fn generate(
        algorithm: SigningAlgorithm,
        signs_from: i64,
        token_seconds_max: u32,
    ) -> Result<Self, KeyFileError> {
        let private = TokenKey::generate(algorithm).map_err(KeyFileError::NotMade)?;
        let private = URL_SAFE_NO_PAD.encode(private);
        Ok(Self { algorithm, signs_from, token_seconds_max, private })
    }

    /// The key, when what was kept is one.
    pub(super) fn token_key(&self) -> Option<TokenKey> {
        let private = URL_SAFE_NO_PAD.decode(&self.private).ok()?;
        TokenKey::from_private(self.algorithm, &private).ok()
    }

    /// A secret that stands alone, as the file was first written.
    fn lone(text: &[u8]) -> Option<Self> {
        let secret = URL_SAFE_NO_PAD.decode(text).ok()?;
        (secret.len() == SECRET_BYTES).then(|| Self {
            algorithm: SigningAlgorithm::Hs256,
            signs_from: 0,
            token_seconds_max: LONE_TOKEN_SECONDS_MAX,
            private: URL_SAFE_NO_PAD.encode(secret),
        })
    }

    fn is_lone(&self) -> bool {
        let Self { algorithm, signs_from, token_seconds_max, .. } = self;
        *algorithm == SigningAlgorithm::Hs256
            && *signs_from == 0
            && *token_seconds_max == LONE_TOKEN_SECONDS_MAX
    }

    /// A name for a secret that tells nothing of it.
    pub(super) fn name(&self) -> String {
        use sha2::{Digest, Sha256};
        URL_SAFE_NO_PAD.encode(&Sha256::digest(format!("name {}", self.private))[..12])
    }
}

impl KeyFile {
    pub(super) fn of(data_dir: &Path) -> Self {
        Self { data_dir: data_dir.to_owned(), path: data_dir.join(FILE) }
    }

    /// The keys in the file; none when there is no file.
    pub(super) fn read(&self) -> Result<Option<Vec<StoredKey>>, KeyFileError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("read")(error)),
        };
        let mut text = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut text).map_err(self.failed("read"))?;
        let text = text.trim_ascii();
        let keys = if text.starts_with(b"{") {
            serde_json::from_slice(text).ok().map(|stored: Stored| stored.keys)
        } else {
            StoredKey::lone(text).map(|key| vec![key])
        };
        // A key that cannot be read would be missed only when it is needed.
        let keys = keys.filter(|keys| keys.iter().all(|key| key.token_key().is_some()));
        keys.map(Some).ok_or_else(|| KeyFileError::Malformed { path: self.path.clone() })
    }

    /// What the file looks like from outside.
    pub(super) fn look(&self) -> std::io::Result<Seen> {
        let metadata = std::fs::metadata(&self.path)?;
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Ok(Seen { modified: metadata.modified().ok(), length: metadata.len(), inode })
    }

    /// Puts the first key in place at once, unless there is a file already: under a name of its
    /// own first, then linked, which fails where a file is, and never shows half a key. What the
    /// file then holds: another process may have been first.
    pub(super) fn create(&self, key: &StoredKey) -> Result<Vec<StoredKey>, KeyFileError> {
        let write = || -> std::io::Result<()> {
            std::fs::create_dir_all(&self.data_dir)?;
            let draft = self.draft();
            let text = rendered(std::slice::from_ref(key))?;
            let linked =
                write_private(&draft, &text).and_then(|()| std::fs::hard_link(&draft, &self.path));
            let removed = std::fs::remove_file(&draft);
            match linked {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                linked => linked?,
            }
            removed?;
            sync_directory(&self.data_dir)
        };
        write().map_err(self.failed("make"))?;
        self.read()?.ok_or_else(|| self.failed("read")(ErrorKind::NotFound.into()))
    }

    /// Replaces the keys by what `change` makes of them, and gives what the file then holds. None
    /// changes it meanwhile; where `change` changes nothing, nothing is written.
    pub(super) fn change(
        &self,
        change: impl FnOnce(&mut Vec<StoredKey>) -> Result<(), KeyFileError>,
    ) -> Result<Vec<StoredKey>, KeyFileError> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        private(&mut options);
        let lock = options.open(self.data_dir.join(LOCK_FILE));
        let lock = lock.map_err(self.failed("replace"))?;
        // Released when the file is closed.
        lock.lock().map_err(self.failed("replace"))?;
        let before = self.read()?.unwrap_or_default();
        let mut keys = before.clone();
        change(&mut keys)?;
        if keys != before {
            self.replace(&keys).map_err(self.failed("replace"))?;
        }
        Ok(keys)
    }

    /// Under another name first, then in place at once: nobody reads half of it.
    fn replace(&self, keys: &[StoredKey]) -> std::io::Result<()> {
        let draft = self.draft();
        let written = write_private(&draft, &rendered(keys)?)
            .and_then(|()| std::fs::rename(&draft, &self.path));
        if written.is_err() {
            // The error that counts is the first one.
            let _ = std::fs::remove_file(&draft);
        }
        written?;
        sync_directory(&self.data_dir)
    }

    fn draft(&self) -> PathBuf {
        self.data_dir.join(format!("{FILE}.{}", Uuid::now_v7().simple()))
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(std::io::Error) -> KeyFileError {
        let path = self.path.clone();
        move |source| KeyFileError::Io { action, path, source }
    }
}

/// The file's text. A secret that stands alone is written as it always was, for those who read it.
fn rendered(keys: &[StoredKey]) -> std::io::Result<String> {
    if let [key] = keys
        && key.is_lone()
    {
        return Ok(key.private.clone());
    }
    Ok(serde_json::to_string_pretty(&Stored { keys: keys.to_vec() })?)
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    private(&mut options);
    let mut file = options.open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

/// For its owner alone.
fn private(options: &mut OpenOptions) {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    #[cfg(not(unix))]
    let _ = options;
}

/// Makes the new name survive a power cut, where directories can be synced.
fn sync_directory(directory: &Path) -> std::io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}
