//! The section `identity` of the configuration.

use std::sync::Arc;

use firstcome_core::{Clock, Invalid};
use firstcome_web::{TokenKey, Verifier};
use serde::{Deserialize, Serialize};

/// Longest issuer and audience, so that a token stays below every limit of a header.
const NAME_BYTES_MAX: usize = 255;
/// Most passwords hashed at once, at 19 MiB each.
const HASHES_PARALLEL_MAX: usize = 64;
/// Most passwords that may wait to be hashed.
const HASHES_WAITING_MAX: usize = 10_000;
/// Longest life of an access token, which nothing takes back: a day.
const ACCESS_SECONDS_MAX: u32 = 86_400;
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
        within("hashes_parallel_max", self.hashes_parallel_max, 0, HASHES_PARALLEL_MAX)?;
        within("hashes_waiting_max", self.hashes_waiting_max, 0, HASHES_WAITING_MAX)
    }

    /// What checks the tokens that are signed with this key under this configuration.
    #[must_use]
    pub fn verifier(&self, key: &TokenKey, clock: Arc<dyn Clock>) -> Verifier {
        Verifier::new(key, self.issuer.as_str(), self.audience.as_str(), clock)
    }

    /// Passwords hashed at once, on this machine.
    pub(crate) fn hashes_parallel(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let asked = Some(self.hashes_parallel_max).filter(|&parallel| parallel > 0);
        asked.unwrap_or_else(cores).min(HASHES_PARALLEL_MAX)
    }
}

fn named(key: &str, text: &str) -> Result<(), Invalid> {
    let length = 1..=NAME_BYTES_MAX;
    if length.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    let max = NAME_BYTES_MAX;
    Err(Invalid::new(format!("identity.{key} must be 1 to {max} visible ASCII characters")))
}

fn within<N: Copy + PartialOrd + std::fmt::Display>(
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
            (IdentityConfig { hashes_parallel_max: 65, ..sound() }, "hashes_parallel_max"),
            (IdentityConfig { hashes_waiting_max: 10_001, ..sound() }, "hashes_waiting_max"),
        ] {
            let refusal = config.check().expect_err(key).to_string();
            assert!(refusal.contains(key), "{refusal}");
        }
    }
}
