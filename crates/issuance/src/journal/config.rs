//! The section `kafka` of the configuration.

use std::fmt;
use std::time::Duration;

use firstcome_core::Invalid;
use serde::{Deserialize, Serialize};

/// Longest name of a topic that Kafka takes.
const TOPIC_LENGTH_MAX: usize = 249;

/// Where Kafka is, and what its topic must be like. Every key may be left out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaConfig {
    /// Brokers to begin with, as `host:9092`; they tell of the others. Empty: there is no Kafka.
    pub brokers: Vec<String>,
    /// The topic of the won claims.
    pub topic: String,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// A file with the certificates that sign the brokers' own, in PEM; empty: the system's.
    pub ca_file: String,
    /// A file with the certificate that we show the brokers, in PEM; empty: none.
    pub certificate_file: String,
    /// A file with the key of that certificate, in PEM.
    pub key_file: String,
    /// How we say who we are; nothing where the brokers do not ask.
    pub sasl_mechanism: SaslMechanism,
    /// The user of SASL.
    pub username: String,
    /// Its password.
    pub password: String,
    /// How long records may take to be acknowledged, in milliseconds; then they are in doubt.
    pub delivery_timeout_ms: u64,
    /// Fewest partitions of the topic: so many workers can share the work.
    pub partitions_min: u32,
    /// Fewest copies of each record: 3 to lose a broker and go on; 1 where there is one broker.
    pub replication_factor_min: u32,
    /// Fewest copies that must be written before a record is acknowledged: 2, or 1 where there is
    /// one broker.
    pub min_insync_replicas_min: u32,
    /// How long records must stay in the topic, in hours: longer than workers may ever stand still.
    pub retention_hours_min: u64,
    /// Whether a missing topic is made, with exactly what is asked for here.
    pub create_topic: bool,
}

/// How SASL tells the brokers who we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SaslMechanism {
    /// It does not.
    #[default]
    #[serde(rename = "")]
    None,
    /// The password itself; only over TLS is it safe.
    #[serde(rename = "PLAIN")]
    Plain,
    /// A proof of the password, with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// A proof of the password, with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl SaslMechanism {
    /// The name that Kafka has for it; none without SASL.
    pub(super) const fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Plain => Some("PLAIN"),
            Self::ScramSha256 => Some("SCRAM-SHA-256"),
            Self::ScramSha512 => Some("SCRAM-SHA-512"),
        }
    }
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: Vec::new(),
            topic: "firstcome-wins".to_owned(),
            tls: false,
            ca_file: String::new(),
            certificate_file: String::new(),
            key_file: String::new(),
            sasl_mechanism: SaslMechanism::None,
            username: String::new(),
            password: String::new(),
            delivery_timeout_ms: 5_000,
            partitions_min: 8,
            replication_factor_min: 3,
            min_insync_replicas_min: 2,
            retention_hours_min: 168,
            create_topic: false,
        }
    }
}

impl fmt::Debug for KafkaConfig {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl KafkaConfig {
    /// Whether there is a Kafka.
    #[must_use]
    pub fn is_set(&self) -> bool {
        !self.brokers.is_empty()
    }

    /// Checks the values against their bounds; files are not opened.
    ///
    /// # Errors
    /// A sentence that begins with the key, and repeats no password.
    pub fn check(&self) -> Result<(), Invalid> {
        self.check_brokers()?;
        self.check_topic_name()?;
        within("delivery_timeout_ms", self.delivery_timeout_ms, 1_000, 60_000)?;
        within("partitions_min", self.partitions_min.into(), 1, 1_000)?;
        within("replication_factor_min", self.replication_factor_min.into(), 1, 10)?;
        let copies = u64::from(self.replication_factor_min);
        within("min_insync_replicas_min", self.min_insync_replicas_min.into(), 1, copies)?;
        within("retention_hours_min", self.retention_hours_min, 1, 87_600)?;
        self.check_security()
    }

    fn check_brokers(&self) -> Result<(), Invalid> {
        for broker in &self.brokers {
            let is_good = broker.rsplit_once(':').is_some_and(|(host, port)| {
                !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
            });
            // A comma would make two of one, and a scheme another protocol of it.
            if !is_good || broker.contains([',', '/', ' ', '@']) {
                let sentence = "must be a list of HOST:PORT, as [\"kafka-1:9092\"]";
                return Err(Invalid::new(format!("kafka.brokers {sentence}, not {broker:?}")));
            }
        }
        Ok(())
    }

    fn check_topic_name(&self) -> Result<(), Invalid> {
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_good = (1..=TOPIC_LENGTH_MAX).contains(&self.topic.len())
            && self.topic.bytes().all(is_known)
            && !matches!(self.topic.as_str(), "." | "..");
        if is_good {
            return Ok(());
        }
        let range = format!("1 to {TOPIC_LENGTH_MAX} of A-Z, a-z, 0-9, '.', '_' and '-'");
        Err(Invalid::new(format!("kafka.topic is {:?}; it must be {range}", self.topic)))
    }

    fn check_security(&self) -> Result<(), Invalid> {
        let wrong = |sentence: &str| Err(Invalid::new(sentence));
        if self.certificate_file.is_empty() != self.key_file.is_empty() {
            return wrong(
                "kafka.certificate_file and kafka.key_file go together: set both or none",
            );
        }
        if !self.tls && !self.ca_file.is_empty() {
            return wrong("kafka.ca_file is set, but kafka.tls is false: set it to true");
        }
        if !self.tls && !self.certificate_file.is_empty() {
            return wrong("kafka.certificate_file is set, but kafka.tls is false: set it to true");
        }
        let has_user = !self.username.is_empty() && !self.password.is_empty();
        let has_some = !self.username.is_empty() || !self.password.is_empty();
        match self.sasl_mechanism {
            SaslMechanism::None if has_some => wrong(
                "kafka.sasl_mechanism is empty, but there is a user or a password: set it to \
                 PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
            ),
            SaslMechanism::None => Ok(()),
            _ if !has_user => wrong(
                "kafka.sasl_mechanism is set, but a user or a password is missing: set \
                 kafka.username and kafka.password",
            ),
            SaslMechanism::Plain if !self.tls => wrong(
                "kafka.sasl_mechanism is PLAIN, which sends the password as it is: set kafka.tls \
                 to true, or use SCRAM-SHA-256 or SCRAM-SHA-512",
            ),
            _ => Ok(()),
        }
    }

    /// The brokers as Kafka's own programs take them.
    pub(super) fn bootstrap(&self) -> String {
        self.brokers.join(",")
    }

    pub(super) const fn delivery_timeout(&self) -> Duration {
        Duration::from_millis(self.delivery_timeout_ms)
    }

    pub(super) const fn retention_min_ms(&self) -> u64 {
        self.retention_hours_min * 3_600_000
    }
}

fn within(key: &str, number: u64, min: u64, max: u64) -> Result<(), Invalid> {
    if (min..=max).contains(&number) {
        Ok(())
    } else {
        Err(Invalid::new(format!("kafka.{key} is {number}; it must be from {min} to {max}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(change: impl FnOnce(&mut KafkaConfig)) -> String {
        let mut config = KafkaConfig { brokers: vec!["host:9092".into()], ..Default::default() };
        change(&mut config);
        config.check().err().map_or_else(String::new, |invalid| invalid.to_string())
    }

    #[test]
    fn values_out_of_range_are_named() {
        assert_eq!(sentence(|_| ()), "");
        assert_eq!(KafkaConfig::default().check(), Ok(()));
        assert_eq!(
            sentence(|config| config.delivery_timeout_ms = 999),
            "kafka.delivery_timeout_ms is 999; it must be from 1000 to 60000"
        );
        assert_eq!(
            sentence(|config| config.min_insync_replicas_min = 4),
            "kafka.min_insync_replicas_min is 4; it must be from 1 to 3"
        );
        assert!(sentence(|config| config.partitions_min = 0).contains("partitions_min"));
        assert!(sentence(|config| config.replication_factor_min = 11).contains("replication"));
        assert!(sentence(|config| config.retention_hours_min = 0).contains("retention_hours"));
        for topic in ["", ".", "a/b", "a b", &"x".repeat(250)] {
            assert!(sentence(|config| config.topic = topic.into()).starts_with("kafka.topic is"));
        }
    }

    #[test]
    fn a_broker_is_a_host_and_a_port() {
        for broker in ["", "host", ":9092", "host:0", "host:99999", "a:1,b:2", "kafka://a:1"] {
            let said = sentence(|config| config.brokers = vec![broker.into()]);
            assert!(said.starts_with("kafka.brokers must be a list of HOST:PORT"), "{said}");
        }
        assert_eq!(sentence(|config| config.brokers = vec!["[::1]:9092".into()]), "");
    }

    #[test]
    fn security_is_whole_or_refused() {
        let scram = |config: &mut KafkaConfig| {
            config.sasl_mechanism = SaslMechanism::ScramSha512;
            config.username = "shop".into();
            config.password = "canary".into();
        };
        assert_eq!(sentence(scram), "");
        assert!(sentence(|config| config.key_file = "k".into()).contains("go together"));
        assert!(sentence(|config| config.ca_file = "c".into()).starts_with("kafka.ca_file"));
        assert!(sentence(|config| config.username = "u".into()).contains("set it to PLAIN"));
        let plain = |config: &mut KafkaConfig| {
            scram(config);
            config.sasl_mechanism = SaslMechanism::Plain;
        };
        let said = sentence(plain);
        assert!(said.contains("kafka.tls") && !said.contains("canary"), "{said}");
        let no_password = |config: &mut KafkaConfig| {
            scram(config);
            config.password = String::new();
        };
        assert!(sentence(no_password).contains("kafka.password"));
    }

    #[test]
    fn the_password_is_not_shown() {
        let config = KafkaConfig { password: "canary".into(), ..Default::default() };
        assert!(!format!("{config:?}").contains("canary"));
    }

    #[test]
    fn a_mechanism_is_written_as_kafka_names_it() {
        let read = |text: &str| serde_json::from_str::<KafkaConfig>(text);
        let config = read("{\"sasl_mechanism\": \"SCRAM-SHA-256\"}").unwrap();
        assert_eq!(config.sasl_mechanism.name(), Some("SCRAM-SHA-256"));
        assert!(read("{\"sasl_mechanism\": \"GSSAPI\"}").is_err());
        assert!(read("{\"acks\": 1}").is_err(), "unknown keys fail");
        assert_eq!(read("{}").unwrap(), KafkaConfig::default());
    }
}
