//! Tokens whose signatures were checked already: a second check of a public key's signature costs
//! twenty to a hundred times what it costs to remember the first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use sha2::{Digest as _, Sha256};

use super::PublicKey;
use super::claims::{LEEWAY_SECONDS, Verified};

/// Parts with a lock each, so that threads seldom wait for one another.
const SHARDS: usize = 16;
/// Most bytes of the texts of a token that is remembered; few have more than 150.
const TEXT_BYTES_MAX: usize = 512;

const CHECKS: &str = "firstcome_token_checks_total";
const REMEMBERED: &str = "firstcome_remembered_tokens";

/// The SHA-256 of a whole token, signature included.
type Digest = [u8; 32];

/// Verified tokens until they expire, at most so many. It holds two generations: when the young
/// one is full, it takes the old one's place, and what was not asked for meanwhile is forgotten.
pub(super) struct Remembered {
    shards: Vec<Mutex<Shard>>,
    /// Of one generation of one shard; 0 remembers nothing.
    shard_tokens_max: usize,
    metrics: Metrics,
}

#[derive(Default)]
struct Shard {
    young: HashMap<Digest, Entry>,
    old: HashMap<Digest, Entry>,
}

struct Entry {
    verified: Verified,
    exp: i64,
    /// The key that has checked it: with the key goes what it has checked.
    key: Arc<PublicKey>,
}

struct Metrics {
    remembered: Counter,
    verified: Counter,
    tokens: Gauge,
}

impl Remembered {
    /// Remembers at most so many tokens; none below 32.
    pub(super) fn new(tokens_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shard_tokens_max: tokens_max / SHARDS / 2,
            metrics: Metrics {
                remembered: counter!(CHECKS, "how" => "remembered"),
                verified: counter!(CHECKS, "how" => "verified"),
                tokens: gauge!(REMEMBERED),
            },
        }
    }

    /// What a token is remembered by.
    pub(super) fn digest(token: &str) -> Digest {
        Sha256::digest(token).into()
    }

    /// What a token said that was verified before, is still in force, and whose key is.
    pub(super) fn get(&self, digest: &Digest, now_seconds: i64) -> Option<Verified> {
        if self.shard_tokens_max == 0 {
            return None;
        }
        let found = self.shard(digest).get(digest, now_seconds, self.shard_tokens_max);
        if found.is_some() {
            self.metrics.remembered.increment(1);
        }
        found
    }

    /// Remembers a token that this key has just checked.
    pub(super) fn put(&self, digest: Digest, verified: &Verified, exp: i64, key: &Arc<PublicKey>) {
        self.metrics.verified.increment(1);
        let Verified { subject, jti, session, .. } = verified;
        let text = subject.as_str().len() + jti.len() + session.as_ref().map_or(0, String::len);
        if self.shard_tokens_max == 0 || text > TEXT_BYTES_MAX {
            return;
        }
        let entry = Entry { verified: verified.clone(), exp, key: Arc::clone(key) };
        let (added, forgotten) = {
            let mut shard = self.shard(&digest);
            let added = shard.young.insert(digest, entry).is_none();
            (added, shard.age(self.shard_tokens_max))
        };
        // Beyond the lock: thousands of tokens may go at once.
        self.metrics.tokens.increment(f64::from(u8::from(added)));
        self.metrics.tokens.decrement(count(&forgotten));
    }

    fn shard(&self, digest: &Digest) -> std::sync::MutexGuard<'_, Shard> {
        let shard = &self.shards[usize::from(digest[0]) % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let len = |shard: &Mutex<Shard>| {
            let shard = shard.lock().unwrap();
            shard.young.len() + shard.old.len()
        };
        self.shards.iter().map(len).sum()
    }
}

impl Shard {
    fn get(&mut self, digest: &Digest, now_seconds: i64, tokens_max: usize) -> Option<Verified> {
        if let Some(entry) = self.young.get(digest) {
            return entry.good(now_seconds);
        }
        let good = self.old.get(digest)?.good(now_seconds)?;
        // Asked for again: it outlives the next change of generations, where there is room.
        if self.young.len() + 1 < tokens_max
            && let Some(entry) = self.old.remove(digest)
        {
            self.young.insert(*digest, entry);
        }
        Some(good)
    }

    /// Changes generations when the young one is full; what is forgotten.
    fn age(&mut self, tokens_max: usize) -> HashMap<Digest, Entry> {
        if self.young.len() < tokens_max {
            return HashMap::new();
        }
        let young = std::mem::take(&mut self.young);
        std::mem::replace(&mut self.old, young)
    }
}

impl Entry {
    fn good(&self, now_seconds: i64) -> Option<Verified> {
        let in_force = now_seconds < self.exp.saturating_add(LEEWAY_SECONDS);
        (in_force && self.key.is_live()).then(|| self.verified.clone())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a number of tokens in memory is below 2^52")]
fn count(forgotten: &HashMap<Digest, Entry>) -> f64 {
    forgotten.len() as f64
}

/// Declares the metrics with their help texts. Call it once a recorder is installed.
pub fn describe_metrics() {
    describe_counter!(
        CHECKS,
        "Tokens with a public key's signature that were found good, by how that was known."
    );
    describe_gauge!(REMEMBERED, "Verified tokens in memory.");
}

#[cfg(test)]
mod tests {
    use firstcome_core::UserId;

    use super::*;
    use crate::auth::{Scopes, SigningAlgorithm, TokenKey};

    const NOW: i64 = 1_800_000_000;

    fn key() -> Arc<PublicKey> {
        let private = TokenKey::generate(SigningAlgorithm::EdDsa).unwrap();
        let key = TokenKey::from_private(SigningAlgorithm::EdDsa, &private).unwrap();
        Arc::new(key.public_key().unwrap())
    }

    fn verified(jti: &str) -> Verified {
        let subject = UserId::parse("kim").unwrap();
        Verified { subject, scope: Scopes::USER, jti: jti.to_owned(), session: None }
    }

    fn token(number: u32) -> Digest {
        Remembered::digest(&number.to_string())
    }

    #[test]
    fn a_token_is_remembered_until_it_expires_and_never_beyond() {
        let (tokens, key) = (Remembered::new(1_000), key());
        tokens.put(token(1), &verified("1"), NOW + 10, &key);
        assert!(tokens.get(&token(1), NOW).is_some_and(|token| token.jti == "1"));
        assert!(tokens.get(&token(2), NOW).is_none());
        assert!(tokens.get(&token(1), NOW + 10 + LEEWAY_SECONDS - 1).is_some());
        assert!(tokens.get(&token(1), NOW + 10 + LEEWAY_SECONDS).is_none());
    }

    #[test]
    fn what_a_key_has_checked_goes_with_it() {
        let (tokens, key) = (Remembered::new(1_000), key());
        tokens.put(token(1), &verified("1"), NOW + 10, &key);
        key.end();
        assert!(tokens.get(&token(1), NOW).is_none());
    }

    #[test]
    fn a_flood_of_tokens_stays_within_its_bound() {
        let (tokens, key) = (Remembered::new(1_024), key());
        for number in 0..20_000 {
            tokens.put(token(number), &verified("1"), NOW + 10, &key);
            // One that everybody asks for stays through the flood.
            assert!(number == 0 || tokens.get(&token(0), NOW).is_some(), "{number}");
        }
        assert!((512..=1_024).contains(&tokens.len()), "{}", tokens.len());
        assert!(tokens.get(&token(19_999), NOW).is_some(), "the last one is there");
        assert!(tokens.get(&token(1), NOW).is_none());
    }

    #[test]
    fn what_is_too_long_or_unwanted_is_not_remembered() {
        let key = key();
        let (tokens, none) = (Remembered::new(1_000), Remembered::new(0));
        tokens.put(token(1), &verified(&"j".repeat(TEXT_BYTES_MAX)), NOW + 10, &key);
        none.put(token(1), &verified("1"), NOW + 10, &key);
        assert!(tokens.get(&token(1), NOW).is_none() && none.get(&token(1), NOW).is_none());
        assert_eq!((tokens.len(), none.len()), (0, 0));
    }
}
