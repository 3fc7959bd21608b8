//! The keys as a running process knows them: they follow the file and the time.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use firstcome_core::{Clock, Timestamp};
use firstcome_web::auth::{Jwk, KeySet, SecretRotation};
use firstcome_web::{SigningAlgorithm, TokenKey};

use super::file::{KeyFile, Seen, StoredKey};
use super::schedule::{KeyState, Term, states};
use super::{KeyFileError, raise_lifetimes, seconds};
use crate::IdentityConfig;

/// How often a process looks whether the file has changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A key, and what it does now.
#[derive(Debug, Clone)]
pub struct ListedKey {
    /// Its name: the `kid` of its tokens, or for a secret a name that is told nobody else.
    pub id: String,
    /// How it signs.
    pub algorithm: SigningAlgorithm,
    /// What it does.
    pub state: KeyState,
}

/// The keys of this deployment that fit its algorithm. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct KeyRing(Arc<Ring>);

struct Ring {
    /// None where the keys are in memory only.
    file: Option<KeyFile>,
    is_public: bool,
    /// In the order in which they begin to sign.
    keys: RwLock<Arc<Vec<RingKey>>>,
    seen: Mutex<Option<Seen>>,
    /// Those that check at the moment, for whoever verifies.
    checking: Arc<KeySet>,
    /// Whom to tell where a secret checks: the name of a verifier's own one, and its rotation.
    rotations: Mutex<Vec<(String, Weak<SecretRotation>)>>,
    /// The names of the keys that whoever verifies was told last.
    told: Mutex<Vec<String>>,
}

pub(super) struct RingKey {
    id: String,
    algorithm: SigningAlgorithm,
    key: TokenKey,
    term: Term,
}

/// Those that are kept in the same way, in the order in which they begin.
pub(super) fn of_family(mut keys: Vec<StoredKey>, is_public: bool) -> Vec<RingKey> {
    keys.sort_by_key(|key| key.signs_from);
    let family = keys.iter().filter(|key| key.algorithm.public().is_some() == is_public);
    let ring_key = |stored: &StoredKey| {
        let key = stored.token_key()?;
        let id = key.jwk().and_then(|jwk| jwk.kid).unwrap_or_else(|| stored.name());
        Some(RingKey { id, algorithm: stored.algorithm, key, term: stored.term() })
    };
    family.filter_map(ring_key).collect()
}

impl From<TokenKey> for KeyRing {
    /// A key that is in no file.
    fn from(key: TokenKey) -> Self {
        let jwk = key.jwk();
        let term = Term { signs_from: 0, token_seconds_max: 0 };
        let id = jwk.as_ref().and_then(|jwk| jwk.kid.clone()).unwrap_or_default();
        let algorithm = key.algorithm();
        let ring = Self::with(None, jwk.is_some(), vec![RingKey { id, algorithm, key, term }]);
        ring.tell(0);
        ring
    }
}

impl KeyRing {
    pub(super) fn with(file: Option<KeyFile>, is_public: bool, keys: Vec<RingKey>) -> Self {
        Self(Arc::new(Ring {
            file,
            is_public,
            keys: RwLock::new(Arc::new(keys)),
            seen: Mutex::default(),
            checking: Arc::new(KeySet::of(Vec::new())),
            rotations: Mutex::default(),
            told: Mutex::default(),
        }))
    }

    /// The key that signs now.
    #[must_use]
    pub fn signer(&self, now: Timestamp) -> TokenKey {
        self.signing(seconds(now)).1
    }

    /// Every key, and what it does now, in the order in which they begin to sign.
    #[must_use]
    pub fn list(&self, now: Timestamp) -> Vec<ListedKey> {
        self.list_at(seconds(now))
    }

    /// The public keys that check now, or soon will; none of a secret.
    #[must_use]
    pub fn published(&self, now: Timestamp) -> Vec<Jwk> {
        self.checking_at(seconds(now)).iter().filter_map(|(_, key)| key.jwk()).collect()
    }

    /// The same as they are at each moment, for a verifier.
    #[must_use]
    pub fn checking(&self) -> Arc<KeySet> {
        Arc::clone(&self.0.checking)
    }

    /// Whether public keys check the tokens.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.0.is_public
    }

    /// From here on, tells this verifier's secret what becomes of it.
    pub(crate) fn tells(&self, rotation: &Arc<SecretRotation>, now: Timestamp) {
        let now = seconds(now);
        lock(&self.0.rotations).push((self.signing(now).0, Arc::downgrade(rotation)));
        lock(&self.0.told).clear();
        self.tell(now);
    }

    /// Sees to it that the record of the keys allows for tokens that live so long, before one is
    /// signed: a rotation keeps the old key that long.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn allow_for(
        &self,
        config: &IdentityConfig,
        token_seconds: u32,
    ) -> Result<(), KeyFileError> {
        let Some(file) = &self.0.file else { return Ok(()) };
        let allows = |key: &RingKey| key.term.token_seconds_max >= token_seconds;
        if self.keys().iter().all(allows) {
            return Ok(());
        }
        file.change(|keys| {
            raise_lifetimes(keys, config, token_seconds);
            Ok(())
        })?;
        Ok(())
    }

    /// Takes up what the file says whenever it changes, and what the time brings; for ever.
    pub async fn keep_up(self, clock: Arc<dyn Clock>) {
        let mut interval = tokio::time::interval(LOOK_EVERY);
        loop {
            interval.tick().await;
            let (ring, now) = (self.clone(), seconds(clock.now()));
            // It reads files.
            let looked = tokio::task::spawn_blocking(move || ring.look(now)).await;
            if let Ok(Err(error)) = looked {
                tracing::error!(error.message = %error, "the signing keys stay what they were");
            }
        }
    }

    /// Reads the file if it has changed. One that cannot be read changes nothing, and is told of
    /// once.
    pub(super) fn look(&self, now: i64) -> Result<(), KeyFileError> {
        let read = self.read_again();
        self.tell(now);
        read
    }

    fn read_again(&self) -> Result<(), KeyFileError> {
        let Some(file) = &self.0.file else { return Ok(()) };
        let seen = file.look().ok();
        if std::mem::replace(&mut *lock(&self.0.seen), seen) == seen {
            return Ok(());
        }
        let keys = of_family(file.read()?.unwrap_or_default(), self.0.is_public);
        if keys.is_empty() {
            let gone = std::io::ErrorKind::NotFound.into();
            let path = file.path.clone();
            return Err(KeyFileError::Io { action: "read", path, source: gone });
        }
        *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        Ok(())
    }

    /// The state of the file that its keys are from.
    pub(super) fn has_seen(&self, seen: Option<Seen>) {
        *lock(&self.0.seen) = seen;
    }

    /// Tells whoever verifies which keys check now, when they are others than before.
    pub(super) fn tell(&self, now: i64) {
        let checking = self.checking_at(now);
        let names: Vec<_> = checking.iter().map(|(id, _)| id.clone()).collect();
        let mut told = lock(&self.0.told);
        if *told == names {
            return;
        }
        self.0.checking.replace(checking.iter().filter_map(|(_, key)| key.public_key()).collect());
        lock(&self.0.rotations).retain(|(own, rotation)| {
            let Some(rotation) = rotation.upgrade() else { return false };
            let others = checking.iter().filter(|(id, _)| id != own);
            rotation.set(names.contains(own), others.map(|(_, key)| key.clone()).collect());
            true
        });
        if !told.is_empty() {
            tracing::info!("access tokens are now checked with {} keys", names.len());
        }
        *told = names;
    }

    fn keys(&self) -> Arc<Vec<RingKey>> {
        Arc::clone(&self.0.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn signing(&self, now: i64) -> (String, TokenKey) {
        let keys = self.keys();
        let states = states(&terms(&keys), now);
        let signing = states.iter().position(|state| *state == KeyState::Signing);
        let key = signing.and_then(|index| keys.get(index));
        let key = key.expect("a ring has keys, and one of them signs");
        (key.id.clone(), key.key.clone())
    }

    fn checking_at(&self, now: i64) -> Vec<(String, TokenKey)> {
        let keys = self.keys();
        let states = states(&terms(&keys), now);
        let live = keys.iter().zip(states).filter(|(_, state)| *state != KeyState::Ended);
        live.map(|(key, _)| (key.id.clone(), key.key.clone())).collect()
    }

    pub(super) fn list_at(&self, now: i64) -> Vec<ListedKey> {
        let keys = self.keys();
        let listed = |(key, state): (&RingKey, KeyState)| ListedKey {
            id: key.id.clone(),
            algorithm: key.algorithm,
            state,
        };
        keys.iter().zip(states(&terms(&keys), now)).map(listed).collect()
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("path", &self.0.file.as_ref().map(|file| &file.path))
            .finish()
    }
}

fn terms(keys: &[RingKey]) -> Vec<Term> {
    keys.iter().map(|key| key.term).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
