//! The section `redis` of the configuration.

use std::fmt;
use std::time::Duration;

use firstcome_core::Invalid;
use serde::{Deserialize, Serialize};

use super::address::{Address, RedisKind};

/// Where Redis is, and how long it is waited for. Every key may be left out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisConfig {
    /// Its address, with user and password; empty: there is no Redis.
    pub url: String,
    /// The user of the sentinels, where they want one.
    pub sentinel_username: String,
    /// The password of the sentinels; empty: they want none.
    pub sentinel_password: String,
    /// A file with the certificates that sign the servers' own, in PEM; empty: the system's.
    pub ca_file: String,
    /// A file with the certificate that we show the servers, in PEM; empty: none.
    pub certificate_file: String,
    /// A file with the key of that certificate, in PEM.
    pub key_file: String,
    /// How long the making of a connection to one server may take, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How long a call may take, in milliseconds; then it is given up.
    pub answer_timeout_ms: u64,
    /// Calls that fail one after another before all fail at once; of a cluster those to one node.
    pub breaker_failures: u32,
    /// How long they do before one tries again, in milliseconds.
    pub breaker_open_ms: u64,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            sentinel_username: String::new(),
            sentinel_password: String::new(),
            ca_file: String::new(),
            certificate_file: String::new(),
            key_file: String::new(),
            connect_timeout_ms: 300,
            answer_timeout_ms: 500,
            breaker_failures: 5,
            breaker_open_ms: 1_000,
        }
    }
}

impl fmt::Debug for RedisConfig {
    /// Without passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig").field("url", &self.shown()).finish_non_exhaustive()
    }
}

impl RedisConfig {
    /// Whether there is a Redis.
    #[must_use]
    pub fn is_set(&self) -> bool {
        !self.url.is_empty()
    }

    /// How the servers stand to each other; none without one.
    #[must_use]
    pub fn kind(&self) -> Option<RedisKind> {
        self.address().ok().map(|address| address.kind)
    }

    /// Where it is, without user and password.
    #[must_use]
    pub fn shown(&self) -> String {
        match self.address() {
            Ok(address) => address.shown(),
            Err(_) if !self.is_set() => String::new(),
            Err(_) => "***".to_owned(),
        }
    }

    /// Checks the values against their bounds; files are not opened.
    ///
    /// # Errors
    /// A sentence that begins with the key, and repeats no password.
    pub fn check(&self) -> Result<(), Invalid> {
        within("connect_timeout_ms", self.connect_timeout_ms, 1, 60_000)?;
        within("answer_timeout_ms", self.answer_timeout_ms, 1, 60_000)?;
        within("breaker_failures", u64::from(self.breaker_failures), 1, 1_000)?;
        within("breaker_open_ms", self.breaker_open_ms, 1, 60_000)?;
        if self.certificate_file.is_empty() != self.key_file.is_empty() {
            let sentence =
                "redis.certificate_file and redis.key_file go together: set both or none";
            return Err(Invalid::new(sentence));
        }
        if !self.is_set() {
            return Ok(());
        }
        let address = self.address()?;
        let files = [
            ("ca_file", &self.ca_file),
            ("certificate_file", &self.certificate_file),
            ("key_file", &self.key_file),
        ];
        if let Some((key, _)) = files.iter().find(|(_, file)| !file.is_empty() && !address.is_tls) {
            let sentence = "is set, but redis.url asks for no TLS: begin it with rediss";
            return Err(Invalid::new(format!("redis.{key} {sentence}")));
        }
        Ok(())
    }

    pub(super) fn address(&self) -> Result<Address, Invalid> {
        Address::parse(&self.url)
    }

    pub(super) const fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(super) const fn answer_timeout(&self) -> Duration {
        Duration::from_millis(self.answer_timeout_ms)
    }

    pub(super) const fn breaker_open(&self) -> Duration {
        Duration::from_millis(self.breaker_open_ms)
    }
}

fn within(key: &str, number: u64, min: u64, max: u64) -> Result<(), Invalid> {
    if (min..=max).contains(&number) {
        Ok(())
    } else {
        Err(Invalid::new(format!("redis.{key} is {number}; it must be from {min} to {max}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(change: impl FnOnce(&mut RedisConfig)) -> String {
        let mut config = RedisConfig { url: "rediss://u:canary@host".into(), ..Default::default() };
        change(&mut config);
        config.check().err().map_or_else(String::new, |invalid| invalid.to_string())
    }

    #[test]
    fn values_out_of_range_are_named() {
        assert_eq!(sentence(|_| ()), "");
        assert_eq!(RedisConfig::default().check(), Ok(()));
        assert_eq!(
            sentence(|config| config.answer_timeout_ms = 0),
            "redis.answer_timeout_ms is 0; it must be from 1 to 60000"
        );
        assert!(sentence(|config| config.connect_timeout_ms = 60_001).contains("connect_timeout"));
        assert!(sentence(|config| config.breaker_failures = 0).contains("breaker_failures"));
        assert!(sentence(|config| config.breaker_open_ms = 0).contains("breaker_open_ms"));
        assert!(sentence(|config| config.key_file = "k".into()).contains("go together"));
        let no_tls = |config: &mut RedisConfig| {
            config.url = "redis://host".into();
            config.ca_file = "ca.pem".into();
        };
        assert!(sentence(no_tls).starts_with("redis.ca_file "));
        assert!(sentence(|config| config.url = "x".into()).starts_with("redis.url "));
    }

    #[test]
    fn passwords_are_not_shown() {
        let mut config = RedisConfig { url: "rediss://u:canary@host".into(), ..Default::default() };
        config.sentinel_password = "canary".into();
        assert_eq!(config.shown(), "rediss://host:6379");
        assert!(!format!("{config:?}").contains("canary"));
        config.url = "redis:/u:canary@host".into();
        assert!(!format!("{config:?}").contains("canary"));
    }
}
