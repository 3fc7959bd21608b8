//! The public keys of one issuer, as they are known at the moment.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::{Algorithm, PublicKey};

/// Shortest time between two fetches that unknown key ids have asked for.
pub const ASK_INTERVAL_MIN: Duration = Duration::from_secs(5);
/// Longest that a request waits for a fetch which may bring its key.
pub const ASK_WAIT_MAX: Duration = Duration::from_millis(2_500);

/// The public keys of an issuer. Whoever keeps them up to date calls [`KeySet::replace`]; checks
/// see the new ones at once.
pub struct KeySet {
    keys: ArcSwap<Vec<Arc<PublicKey>>>,
    fetching: Option<Fetching>,
}

/// What is known of the fetches of a set that comes from elsewhere.
struct Fetching {
    /// Whether a fetch has ever brought keys.
    loaded: AtomicBool,
    /// Whether the last one failed.
    failed: AtomicBool,
    /// Whether one is under way, or asked for.
    under_way: AtomicBool,
    asked_at: Mutex<Option<Instant>>,
    asked: Notify,
    /// Counts the fetches that have ended.
    ended: watch::Sender<u64>,
}

impl KeySet {
    /// A set of keys that are at hand.
    #[must_use]
    pub fn of(keys: Vec<PublicKey>) -> Self {
        Self {
            keys: ArcSwap::from_pointee(keys.into_iter().map(Arc::new).collect()),
            fetching: None,
        }
    }

    /// A set that is about to be fetched for the first time.
    #[must_use]
    pub fn fetched() -> Self {
        let fetching = Fetching {
            loaded: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            under_way: AtomicBool::new(true),
            asked_at: Mutex::default(),
            asked: Notify::new(),
            ended: watch::Sender::new(0),
        };
        Self { keys: ArcSwap::default(), fetching: Some(fetching) }
    }

    /// From here on these are the keys. One that was there before stays what it is; what the
    /// others have checked is forgotten.
    pub fn replace(&self, keys: Vec<PublicKey>) {
        let before = self.keys.load();
        let known = |key: PublicKey| {
            let same = before.iter().find(|old| old.is_same(&key)).map(Arc::clone);
            same.unwrap_or_else(|| Arc::new(key))
        };
        let keys: Vec<_> = keys.into_iter().map(known).collect();
        let gone = before.iter().filter(|old| !keys.iter().any(|key| Arc::ptr_eq(key, old)));
        let gone: Vec<_> = gone.map(Arc::clone).collect();
        self.keys.store(Arc::new(keys));
        gone.iter().for_each(|key| key.end());
    }

    /// A fetch has ended, with these keys or without an answer; then the old ones stay.
    pub fn fetch_ended(&self, keys: Option<Vec<PublicKey>>) {
        let Some(fetching) = &self.fetching else { return };
        fetching.failed.store(keys.is_none(), Ordering::Relaxed);
        if let Some(keys) = keys {
            self.replace(keys);
            fetching.loaded.store(true, Ordering::Relaxed);
        }
        fetching.under_way.store(false, Ordering::Relaxed);
        fetching.ended.send_modify(|count| *count += 1);
    }

    /// Waits until somebody needs a key that is not there; for whoever fetches.
    pub async fn asked(&self) {
        match &self.fetching {
            Some(fetching) => fetching.asked.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Asks for a fetch, unless one was asked for a moment ago, and waits a moment for its end.
    pub(super) async fn ask(&self) {
        let Some(fetching) = &self.fetching else { return };
        let mut ended = fetching.ended.subscribe();
        if fetching.ask(Instant::now()) {
            // The sender lives as long as we are borrowed; a time-out is told by what is known.
            let _ = timeout(ASK_WAIT_MAX, ended.changed()).await;
        }
    }

    /// Whether the answer "no such key" is worth nothing: the keys cannot be had, or are not here
    /// yet.
    pub(super) fn is_away(&self) -> bool {
        self.fetching.as_ref().is_some_and(|fetching| {
            !fetching.loaded.load(Ordering::Relaxed)
                || fetching.failed.load(Ordering::Relaxed)
                || fetching.under_way.load(Ordering::Relaxed)
        })
    }

    /// Whether a key that is not there may yet come: the first fetch has not ended well, or no key
    /// has this name.
    pub(super) fn may_yet_have(&self, kid: Option<&str>) -> bool {
        let Some(fetching) = &self.fetching else { return false };
        let has_that_name =
            |kid: &str| self.keys.load().iter().any(|key| key.jwk().kid.as_deref() == Some(kid));
        !fetching.loaded.load(Ordering::Relaxed) || kid.is_some_and(|kid| !has_that_name(kid))
    }

    /// The keys that a token with this key id may have been signed with. Without an id it must be
    /// clear which: then none, or the only one that fits.
    pub(super) fn candidates(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Vec<Arc<PublicKey>> {
        let keys = self.keys.load();
        let of_that_name = |key: &&Arc<PublicKey>| {
            key.fits(algorithm) && kid.is_none_or(|kid| key.jwk().kid.as_deref() == Some(kid))
        };
        let found: Vec<_> = keys.iter().filter(of_that_name).map(Arc::clone).collect();
        if kid.is_none() && found.len() > 1 { Vec::new() } else { found }
    }
}

impl Fetching {
    /// Asks for a fetch; whether one is under way now.
    fn ask(&self, now: Instant) -> bool {
        let mut asked_at = self.asked_at.lock().unwrap_or_else(PoisonError::into_inner);
        if self.under_way.load(Ordering::Relaxed) {
            return true;
        }
        if asked_at.is_some_and(|at| now < at + ASK_INTERVAL_MIN) {
            return false;
        }
        *asked_at = Some(now);
        self.under_way.store(true, Ordering::Relaxed);
        self.asked.notify_one();
        true
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.load().iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{SigningAlgorithm, TokenKey};

    fn key() -> TokenKey {
        let private = TokenKey::generate(SigningAlgorithm::EdDsa).unwrap();
        TokenKey::from_private(SigningAlgorithm::EdDsa, &private).unwrap()
    }

    #[test]
    fn a_key_that_stays_is_the_same_and_one_that_goes_has_ended() {
        let (stays, goes) = (key(), key());
        let public = |key: &TokenKey| key.public_key().unwrap();
        let find = |set: &KeySet, key: &TokenKey| {
            set.candidates(key.jwk().unwrap().kid.as_deref(), Algorithm::EdDsa).pop()
        };
        let set = KeySet::of(vec![public(&stays), public(&goes)]);
        let (before, gone) = (find(&set, &stays).unwrap(), find(&set, &goes).unwrap());
        set.replace(vec![public(&key()), public(&stays)]);
        assert!(Arc::ptr_eq(&before, &find(&set, &stays).unwrap()) && before.is_live());
        assert!(find(&set, &goes).is_none() && !gone.is_live());
    }

    #[test]
    fn without_an_id_only_the_one_key_that_fits_will_do() {
        let set = KeySet::of(vec![key().public_key().unwrap()]);
        assert_eq!(set.candidates(None, Algorithm::EdDsa).len(), 1);
        assert_eq!(set.candidates(None, Algorithm::Rs256).len(), 0);
        set.replace(vec![key().public_key().unwrap(), key().public_key().unwrap()]);
        assert_eq!(set.candidates(None, Algorithm::EdDsa).len(), 0);
    }

    #[tokio::test]
    async fn unknown_ids_cause_one_fetch_in_five_seconds() {
        let set = KeySet::fetched();
        set.fetch_ended(Some(Vec::new()));
        let fetching = set.fetching.as_ref().unwrap();
        let start = Instant::now();
        assert!(fetching.ask(start), "the first is let through");
        assert!(fetching.ask(start), "those that come meanwhile wait for it");
        set.fetch_ended(None);
        assert!(set.is_away());
        assert!(!fetching.ask(start + ASK_INTERVAL_MIN / 2));
        assert!(fetching.ask(start + ASK_INTERVAL_MIN));
        set.asked().await;
    }

    #[tokio::test]
    async fn who_asks_is_let_go_by_the_end_of_the_fetch() {
        let set = KeySet::fetched();
        let fetch = async { set.fetch_ended(Some(Vec::new())) };
        assert!(set.is_away());
        tokio::join!(set.ask(), fetch);
        assert!(!set.is_away());
        let fetch = async {
            set.asked().await;
            set.fetch_ended(None);
        };
        tokio::join!(set.ask(), fetch);
        assert!(set.is_away());
    }
}
