//! The keys that sign our access tokens: made on the first start, rotated while servers run, and
//! known to every process of the deployment by one file.

mod file;
mod ring;
mod schedule;

use std::path::{Path, PathBuf};

use firstcome_core::Timestamp;
use firstcome_web::auth::NoKey;

pub use ring::{KeyRing, ListedKey};
pub use schedule::KeyState;

use crate::IdentityConfig;
use file::{KEYS_MAX, KeyFile, SECRET_BYTES, StoredKey};
use ring::of_family;
use schedule::{Term, states};

/// The signing keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file or its directory cannot be made or read.
    #[error("cannot {action} the signing key {path}: {source}")]
    Io {
        /// `read`, `make` or `replace`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is there, but holds no key.
    #[error(
        "the signing key {path} is damaged: it must be {SECRET_BYTES} bytes in base64url, or the \
         keys that `firstcome keys rotate` has written. Restore it from a backup, or remove it: a \
         new one is made, and every access token ends"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The system has no random numbers to give.
    #[error("cannot make a signing key: the system gives no random numbers: {0}")]
    NotMade(#[source] NoKey),
    /// Only a process that signs makes keys.
    #[error(
        "there is no {algorithm} key in {path} to check access tokens with: start a process with \
         the role identity on this data directory first, or set identity.keys_url to the \
         /.well-known/jwks.json of one"
    )]
    NoKeyYet {
        /// The file.
        path: PathBuf,
        /// What is configured.
        algorithm: &'static str,
    },
    /// The file is full.
    #[error(
        "{path} has {KEYS_MAX} keys already, none of which has ended: wait until the tokens of the \
         oldest have expired (`firstcome keys list` says when)"
    )]
    Full {
        /// The file.
        path: PathBuf,
    },
}

/// What a process does with the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUse {
    /// It signs tokens, and makes the keys that are missing.
    Sign,
    /// It only checks them.
    Check,
    /// It only looks, and makes nothing.
    Look,
}

/// Reads the deployment's keys, `signing.key` in the data directory. Who signs makes the directory
/// and the keys where they are missing, and sees to it that a key of the configured algorithm is
/// the next one to sign; processes that do so at the same time get the same keys.
///
/// # Errors
/// When the file cannot be read or made, or holds no key.
pub fn open(
    data_dir: &Path,
    config: &IdentityConfig,
    purpose: KeyUse,
    now: Timestamp,
) -> Result<KeyRing, KeyFileError> {
    let file = KeyFile::of(data_dir);
    let seen = file.look().ok();
    let algorithm = config.algorithm;
    let is_public = algorithm.public().is_some();
    let keys = match purpose {
        KeyUse::Sign => prepared(&file, config, seconds(now))?,
        // Whoever shares the secret may be the first to start.
        KeyUse::Check if !is_public => prepared(&file, config, seconds(now))?,
        KeyUse::Check | KeyUse::Look => file.read()?.unwrap_or_default(),
    };
    let keys = of_family(keys, is_public);
    if keys.is_empty() {
        return Err(KeyFileError::NoKeyYet { path: file.path, algorithm: algorithm.name() });
    }
    let ring = KeyRing::with(Some(file), is_public, keys);
    ring.has_seen(seen);
    ring.tell(seconds(now));
    Ok(ring)
}

/// Adds a key of the configured algorithm, which signs once everybody can have learnt of it, or
/// after `lead_seconds`, and forgets keys that have ended.
///
/// # Errors
/// As [`open`], and when there are too many keys.
pub fn rotate(
    data_dir: &Path,
    config: &IdentityConfig,
    lead_seconds: Option<u32>,
    now: Timestamp,
) -> Result<ListedKey, KeyFileError> {
    let file = KeyFile::of(data_dir);
    let now = seconds(now);
    prepared(&file, config, now)?;
    let lead_seconds = i64::from(lead_seconds.unwrap_or_else(|| config.key_lead_seconds()));
    let keys = file.change(|keys| add(keys, &file, config, now + lead_seconds, now))?;
    let is_public = config.algorithm.public().is_some();
    let added = KeyRing::with(None, is_public, of_family(keys, is_public)).list_at(now).pop();
    added.ok_or(KeyFileError::Malformed { path: file.path })
}

/// The keys in the file, as one who signs needs them.
fn prepared(
    file: &KeyFile,
    config: &IdentityConfig,
    now: i64,
) -> Result<Vec<StoredKey>, KeyFileError> {
    let lifetime = config.access_token_lifetime_seconds;
    let Some(keys) = file.read()? else {
        // As long as a lone secret's, so that its file is what it always was.
        let lifetime = if config.algorithm.public().is_some() { lifetime } else { 86_400 };
        return file.create(&StoredKey::generate(config.algorithm, 0, lifetime)?);
    };
    if is_prepared(&keys, config) {
        return Ok(keys);
    }
    file.change(|keys| {
        if is_prepared(keys, config) {
            return Ok(());
        }
        raise_lifetimes(keys, config, lifetime);
        let family: Vec<_> = family_of(keys, config).collect();
        let has_next = family.last().is_some_and(|key| key.algorithm == config.algorithm);
        let from = if family.is_empty() { 0 } else { now + i64::from(config.key_lead_seconds()) };
        if has_next { Ok(()) } else { add(keys, file, config, from, now) }
    })
}

/// Whether the next key that signs is of the configured algorithm, and no token will live longer
/// than its key's record says.
fn is_prepared(keys: &[StoredKey], config: &IdentityConfig) -> bool {
    let lifetime = config.access_token_lifetime_seconds;
    let mut family: Vec<_> = family_of(keys, config).collect();
    family.sort_by_key(|key| key.signs_from);
    family.last().is_some_and(|key| key.algorithm == config.algorithm)
        && family.iter().all(|key| key.token_seconds_max >= lifetime)
}

fn raise_lifetimes(keys: &mut [StoredKey], config: &IdentityConfig, token_seconds: u32) {
    let is_public = config.algorithm.public().is_some();
    for key in keys.iter_mut().filter(|key| key.algorithm.public().is_some() == is_public) {
        key.token_seconds_max = key.token_seconds_max.max(token_seconds);
    }
}

fn add(
    keys: &mut Vec<StoredKey>,
    file: &KeyFile,
    config: &IdentityConfig,
    signs_from: i64,
    now: i64,
) -> Result<(), KeyFileError> {
    keys.sort_by_key(|key| key.signs_from);
    let ended = |is_public: bool, keys: &[StoredKey]| -> Vec<StoredKey> {
        let family = keys.iter().filter(|key| key.algorithm.public().is_some() == is_public);
        let family: Vec<_> = family.collect();
        let terms: Vec<_> = family.iter().map(|key| key.term()).collect();
        let states = states(&terms, now);
        let ended = family.into_iter().zip(states).filter(|(_, state)| *state == KeyState::Ended);
        ended.map(|(key, _)| key.clone()).collect()
    };
    let gone = [ended(true, keys), ended(false, keys)].concat();
    keys.retain(|key| !gone.contains(key));
    if keys.len() >= KEYS_MAX {
        return Err(KeyFileError::Full { path: file.path.clone() });
    }
    // Never before one that is there: the newest signs last.
    let last = family_of(keys, config).map(|key| key.signs_from + 1).max().unwrap_or(signs_from);
    let (signs_from, lifetime) = (signs_from.max(last), config.access_token_lifetime_seconds);
    keys.push(StoredKey::generate(config.algorithm, signs_from, lifetime)?);
    Ok(())
}

fn family_of<'a>(
    keys: &'a [StoredKey],
    config: &IdentityConfig,
) -> impl Iterator<Item = &'a StoredKey> {
    let is_public = config.algorithm.public().is_some();
    keys.iter().filter(move |key| key.algorithm.public().is_some() == is_public)
}

impl StoredKey {
    fn term(&self) -> Term {
        Term { signs_from: self.signs_from, token_seconds_max: self.token_seconds_max }
    }
}

fn seconds(now: Timestamp) -> i64 {
    now.as_micros() / 1_000_000
}

#[cfg(test)]
mod tests;
