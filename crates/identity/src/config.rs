//! The section `identity` of the configuration.

use std::sync::Arc;

use firstcome_core::{Clock, Invalid};
use firstcome_web::auth::{Issuer, IssuerKind, KeySet, REMEMBERED_TOKENS_MAX};
use firstcome_web::{SigningAlgorithm, Verifier};
use serde::{Deserialize, Serialize};

use crate::KeyRing;
use crate::providers::{self, ProviderConfig};

/// Longest issuer and audience, so that a token stays below every limit of a header.
const NAME_BYTES_MAX: usize = 255;
/// Most passwords hashed at once, at 19 MiB each.
const HASHES_PARALLEL_MAX: usize = 64;
/// Most passwords that may wait to be hashed.
const HASHES_WAITING_MAX: usize = 10_000;
/// Longest life of an access token, which nothing takes back: a day.
const ACCESS_SECONDS_MAX: u32 = 86_400;
/// Longest time for which others may keep our public keys: a day.
const JWKS_SECONDS_MAX: u32 = 86_400;
/// How much later than everybody can know of it a new key begins to sign.
const KEY_LEAD_SLACK_SECONDS: u32 = 5;
/// Most verified tokens that may be remembered, at some 500 bytes each.
const REMEMBERED_MAX: usize = 10_000_000;
/// Longest life of a session: a year.
const REFRESH_SECONDS_MAX: u32 = 366 * 86_400;

/// How passwords are hashed and tokens signed. Every key may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdentityConfig {
    /// The `iss` of access tokens, and the only one that is accepted.
    pub issuer: String,
    /// The `aud` of access tokens, and the only one that is accepted.
    pub audience: String,
    /// How access tokens are signed.
    pub algorithm: SigningAlgorithm,
    /// Whether a process without the role identity may have the secret of HS256.
    pub share_secret: bool,
    /// Where a process without the role identity gets the public keys; empty: from the file in the
    /// data directory.
    pub keys_url: String,
    /// How long others may keep the public keys, in seconds.
    pub jwks_max_age_seconds: u32,
    /// Verified tokens that are remembered until they expire.
    pub remembered_tokens_max: usize,
    /// Other identity providers whose tokens are accepted.
    pub providers: Vec<ProviderConfig>,
    /// How long an access token is good, in seconds.
    pub access_token_lifetime_seconds: u32,
    /// How long a session can be refreshed, from its log-in on, in seconds.
    pub refresh_token_lifetime_seconds: u32,
    /// Passwords hashed at once, at 19 MiB of memory each; 0: as many as there are cores.
    pub hashes_parallel_max: usize,
    /// Sign-ups and log-ins that wait to be hashed; more are refused at once with 503.
    pub hashes_waiting_max: usize,
}

impl Default for IdentityConfig {
    fn default() -> Self {
        Self {
            issuer: "firstcome".to_owned(),
            audience: "firstcome".to_owned(),
            algorithm: SigningAlgorithm::Hs256,
            share_secret: false,
            keys_url: String::new(),
            jwks_max_age_seconds: 60,
            remembered_tokens_max: REMEMBERED_TOKENS_MAX,
            providers: Vec::new(),
            access_token_lifetime_seconds: 3_600,
            refresh_token_lifetime_seconds: 30 * 86_400,
            hashes_parallel_max: 0,
            hashes_waiting_max: 256,
        }
    }
}

impl IdentityConfig {
    /// Checks the values against their bounds.
    ///
    /// # Errors
    /// A sentence that names the key and its range.
    pub fn check(&self) -> Result<(), Invalid> {
        named("issuer", &self.issuer)?;
        named("audience", &self.audience)?;
        let (access, refresh) =
            (self.access_token_lifetime_seconds, self.refresh_token_lifetime_seconds);
        within("access_token_lifetime_seconds", access, 1, ACCESS_SECONDS_MAX)?;
        within("refresh_token_lifetime_seconds", refresh, 1, REFRESH_SECONDS_MAX)?;
        within("jwks_max_age_seconds", self.jwks_max_age_seconds, 0, JWKS_SECONDS_MAX)?;
        within("remembered_tokens_max", self.remembered_tokens_max, 0, REMEMBERED_MAX)?;
        if !self.keys_url.is_empty() {
            providers::check_url("keys_url", &self.keys_url, true)?;
        }
        providers::check(&self.providers, &self.issuer)?;
        within("hashes_parallel_max", self.hashes_parallel_max, 0, HASHES_PARALLEL_MAX)?;
        within("hashes_waiting_max", self.hashes_waiting_max, 0, HASHES_WAITING_MAX)
    }

    /// How long a new key is published before it signs: longer than anybody keeps the old set.
    pub(crate) fn key_lead_seconds(&self) -> u32 {
        self.jwks_max_age_seconds + KEY_LEAD_SLACK_SECONDS
    }

    /// What checks the tokens of these keys under this configuration, and those of others.
    #[must_use]
    pub fn verifier(
        &self,
        keys: &KeyRing,
        providers: Vec<Issuer>,
        clock: Arc<dyn Clock>,
    ) -> Verifier {
        if keys.is_public() {
            return self.public_verifier(keys.checking(), providers, clock);
        }
        let now = clock.now();
        let (issuer, audience) = (self.issuer.as_str(), self.audience.as_str());
        let verifier = Verifier::new(&keys.signer(now), issuer, audience, clock);
        if let Some(rotation) = verifier.secret_rotation() {
            keys.tells(&rotation, now);
        }
        verifier.trusting(providers, self.remembered_tokens_max)
    }

    /// What checks our tokens by these public keys, and those of others.
    pub(crate) fn public_verifier(
        &self,
        keys: Arc<KeySet>,
        mut providers: Vec<Issuer>,
        clock: Arc<dyn Clock>,
    ) -> Verifier {
        let ours = Issuer {
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            algorithms: SigningAlgorithm::PUBLIC.to_vec(),
            keys,
            kind: IssuerKind::Ours,
        };
        providers.insert(0, ours);
        Verifier::of_issuers(providers, self.remembered_tokens_max, clock)
    }

    /// Passwords hashed at once, on this machine.
    pub(crate) fn hashes_parallel(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let asked = Some(self.hashes_parallel_max).filter(|&parallel| parallel > 0);
        asked.unwrap_or_else(cores).min(HASHES_PARALLEL_MAX)
    }
}

pub(crate) fn named(key: &str, text: &str) -> Result<(), Invalid> {
    let length = 1..=NAME_BYTES_MAX;
    if length.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    let max = NAME_BYTES_MAX;
    Err(Invalid::new(format!("identity.{key} must be 1 to {max} visible ASCII characters")))
}

pub(crate) fn within<N: Copy + PartialOrd + std::fmt::Display>(
    key: &str,
    number: N,
    min: N,
    max: N,
) -> Result<(), Invalid> {
    if (min..=max).contains(&number) {
        return Ok(());
    }
    Err(Invalid::new(format!("identity.{key} is {number}; it must be from {min} to {max}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_bounds() {
        assert_eq!(IdentityConfig::default().check(), Ok(()));
        assert!(IdentityConfig::default().hashes_parallel() >= 1);
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let sound = IdentityConfig::default;
        for (config, key) in [
            (IdentityConfig { issuer: String::new(), ..sound() }, "identity.issuer"),
            (IdentityConfig { audience: "쿠폰".to_owned(), ..sound() }, "identity.audience"),
            (IdentityConfig { access_token_lifetime_seconds: 0, ..sound() }, "access_token"),
            (IdentityConfig { access_token_lifetime_seconds: 86_401, ..sound() }, "access_token"),
            (IdentityConfig { refresh_token_lifetime_seconds: 0, ..sound() }, "refresh_token"),
            (IdentityConfig { jwks_max_age_seconds: 86_401, ..sound() }, "jwks_max_age_seconds"),
            (IdentityConfig { keys_url: "elsewhere".to_owned(), ..sound() }, "keys_url"),
            (IdentityConfig { hashes_parallel_max: 65, ..sound() }, "hashes_parallel_max"),
            (IdentityConfig { hashes_waiting_max: 10_001, ..sound() }, "hashes_waiting_max"),
        ] {
            let refusal = config.check().expect_err(key).to_string();
            assert!(refusal.contains(key), "{refusal}");
        }
    }
}
