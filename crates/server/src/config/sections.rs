//! The sections of the configuration as types, and what this version can serve of them.

use std::path::PathBuf;
use std::time::Duration;

use axum::http::Uri;
use firstcome_cache::redis::RedisConfig;
use firstcome_core::{Commit, Email, Password, Strategy};
use firstcome_identity::IdentityConfig;
use firstcome_issuance::IssuanceConfig;
use firstcome_issuance::journal::KafkaConfig;
use firstcome_ledger::{LedgerError, LedgerOptions, Limits, Purpose};
use firstcome_web::{EdgeOptions, LimitsConfig, ServeOptions};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// The file of the ledger in the data directory.
const LEDGER_FILE: &str = "ledger.db";
/// Most connections that may be asked for.
const CONNECTIONS_MAX: usize = 1_000_000;
/// Longest time that any timeout or deadline may be set to.
const SECONDS_MAX: u64 = 3_600;
/// Most connections of a pool of the ledger.
const POOL_MAX: u32 = 64;

/// The whole configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) server: ServerConfig,
    pub(crate) admin: AdminConfig,
    pub(crate) ledger: LedgerConfig,
    pub(crate) claims: ClaimsConfig,
    pub(crate) identity: IdentityConfig,
    pub(crate) issuance: IssuanceConfig,
    pub(crate) limits: LimitsConfig,
    pub(crate) telemetry: TelemetryConfig,
    pub(crate) redis: RedisConfig,
    pub(crate) kafka: KafkaConfig,
}

/// The process and its connections.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerConfig {
    pub(crate) listen: String,
    pub(crate) data_dir: PathBuf,
    roles: Vec<Role>,
    connections_max: usize,
    head_timeout_seconds: u64,
    idle_timeout_seconds: u64,
    answer_timeout_seconds: u64,
    drain_delay_seconds: u64,
    drain_deadline_seconds: u64,
}

/// A service that a process can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Identity,
    Catalog,
    Issuance,
    Wallet,
    /// Writes the journal to the ledger; nothing where there is no journal.
    Worker,
    /// Known, but not in this version.
    Notify,
    /// Known, but not in this version.
    Console,
    /// Known, but not in this version.
    Gateway,
}

impl Role {
    /// The roles of this version.
    pub(crate) const SERVED: [Self; 5] =
        [Self::Identity, Self::Catalog, Self::Issuance, Self::Wallet, Self::Worker];
    /// Those that have a word, but are not in this version.
    const LACKING: [Self; 3] = [Self::Notify, Self::Console, Self::Gateway];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Catalog => "catalog",
            Self::Issuance => "issuance",
            Self::Wallet => "wallet",
            Self::Worker => "worker",
            Self::Notify => "notify",
            Self::Console => "console",
            Self::Gateway => "gateway",
        }
    }
}

impl<'de> Deserialize<'de> for Role {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        let mut known = Self::SERVED.into_iter().chain(Self::LACKING);
        let role = known.find(|role| role.as_str() == word);
        // Whoever has mistyped one is not told to try one that is refused.
        role.ok_or_else(|| unknown_word(&word, &Self::SERVED.map(Self::as_str)))
    }
}

/// The first admin.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdminConfig {
    #[serde(deserialize_with = "email")]
    pub(crate) email: Email,
    /// None when it is to be made.
    #[serde(deserialize_with = "password")]
    pub(crate) password: Option<Password>,
}

fn email<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Email, D::Error> {
    Email::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

fn password<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Password>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    Password::parse(&text).map(Some).map_err(D::Error::custom)
}

/// The system of record.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LedgerConfig {
    url: String,
    readers_max: u32,
    writers_max: u32,
    acquire_timeout_ms: u64,
    statement_timeout_ms: u64,
    connection_lifetime_seconds: u64,
}

impl LedgerConfig {
    /// The numbers, each with its key, its least and its highest value.
    fn bounds(&self) -> [(&'static str, u64, u64, u64); 5] {
        let pool_max = u64::from(POOL_MAX);
        [
            ("ledger.readers_max", self.readers_max.into(), 1, pool_max),
            ("ledger.writers_max", self.writers_max.into(), 1, pool_max),
            ("ledger.acquire_timeout_ms", self.acquire_timeout_ms, 10, 60_000),
            ("ledger.statement_timeout_ms", self.statement_timeout_ms, 100, 60_000),
            ("ledger.connection_lifetime_seconds", self.connection_lifetime_seconds, 1, 86_400),
        ]
    }
}

/// Who decides claims, and what holds them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClaimsConfig {
    #[serde(deserialize_with = "strategy")]
    pub(crate) strategy: Strategy,
    #[serde(deserialize_with = "commit")]
    pub(crate) commit: Commit,
}

fn strategy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Strategy, D::Error> {
    let word = String::deserialize(deserializer)?;
    Strategy::parse(&word).ok_or_else(|| unknown_word(&word, &Strategy::ALL.map(Strategy::as_str)))
}

fn commit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Commit, D::Error> {
    let word = String::deserialize(deserializer)?;
    Commit::parse(&word).ok_or_else(|| unknown_word(&word, &Commit::ALL.map(Commit::as_str)))
}

fn unknown_word<E: serde::de::Error>(word: &str, known: &[&str]) -> E {
    let known: Vec<_> = known.iter().map(|word| format!("`{word}`")).collect();
    E::custom(format!("unknown variant `{word}`, expected one of {}", known.join(", ")))
}

/// What the process tells of itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TelemetryConfig {
    pub(crate) log_format: LogFormat,
    pub(crate) log_level: String,
    otlp_endpoint: String,
    pub(crate) trace_ratio: f64,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl TelemetryConfig {
    /// Where traces go, without a slash at its end; none when they are off.
    pub(crate) fn otlp_endpoint(&self) -> Option<&str> {
        let endpoint = self.otlp_endpoint.trim_end_matches('/');
        (!endpoint.is_empty()).then_some(endpoint)
    }

    fn faults(&self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        let mut refuse = |key: &str, sentence| faults.push((key.to_owned(), sentence));
        if let Err(error) = crate::logs::parse_level(&self.log_level) {
            refuse("telemetry.log_level", format!("cannot be read: {error}"));
        }
        if let Err(reason) = self.otlp_endpoint().map_or(Ok(()), check_collector) {
            refuse("telemetry.otlp_endpoint", reason.to_owned());
        }
        if !(0.0..=1.0).contains(&self.trace_ratio) {
            refuse("telemetry.trace_ratio", "must be from 0.0 to 1.0".to_owned());
        }
        faults
    }
}

/// Whether spans can be sent there.
fn check_collector(endpoint: &str) -> Result<(), &'static str> {
    const SHAPE: &str = "must be the address of a collector that takes OTLP over HTTP, as \
                         http://127.0.0.1:4318";
    let url: Uri = endpoint.parse().map_err(|_| SHAPE)?;
    let authority = url.authority().ok_or(SHAPE)?.as_str();
    if authority.contains('@') {
        return Err("must not hold a password: the log names the address. Give it as \
                    Authorization in OTEL_EXPORTER_OTLP_HEADERS");
    }
    match url.scheme_str() {
        Some("http" | "https") if url.query().is_none() => Ok(()),
        _ => Err(SHAPE),
    }
}

impl ServerConfig {
    /// The roles to run, each once.
    pub(crate) fn roles(&self) -> Vec<Role> {
        Role::SERVED.into_iter().filter(|role| self.roles.contains(role)).collect()
    }

    /// Connections open at once.
    pub(crate) fn connections_max(&self) -> usize {
        self.connections_max
    }

    /// The bounds of connections.
    pub(crate) fn serve_options(&self) -> ServeOptions {
        ServeOptions {
            connections_max: self.connections_max,
            head_timeout: Duration::from_secs(self.head_timeout_seconds),
            idle_timeout: Duration::from_secs(self.idle_timeout_seconds),
            drain_deadline: self.drain_deadline(),
        }
    }

    /// The bounds of requests.
    pub(crate) fn edge_options(&self) -> EdgeOptions {
        EdgeOptions {
            answer_timeout: Duration::from_secs(self.answer_timeout_seconds),
            ..EdgeOptions::default()
        }
    }

    /// How long the process says that it is not ready before it stops to accept.
    pub(crate) fn drain_delay(&self) -> Duration {
        Duration::from_secs(self.drain_delay_seconds)
    }

    /// How long what was accepted may take when the process stops.
    pub(crate) fn drain_deadline(&self) -> Duration {
        Duration::from_secs(self.drain_deadline_seconds)
    }
}

impl Settings {
    /// Where the ledger is.
    ///
    /// # Errors
    /// When its URL is of no database that this version speaks.
    pub(crate) fn ledger_options(&self, purpose: Purpose) -> Result<LedgerOptions, LedgerError> {
        let url = self.ledger.url.as_str();
        let mut options = if url.is_empty() {
            LedgerOptions::embedded(self.server.data_dir.join(LEDGER_FILE), purpose)
        } else {
            LedgerOptions::parse_url(url, purpose)?
        };
        options.limits = self.ledger_limits();
        Ok(options)
    }

    /// Whether this process may have what signs tokens.
    ///
    /// # Errors
    /// When it only checks them, and yet would hold the secret of HS256, with which whoever breaks
    /// into it could make tokens of any admin.
    pub(crate) fn check_secret(&self) -> anyhow::Result<()> {
        let identity = &self.identity;
        let signs = self.server.roles.contains(&Role::Identity);
        let is_secret = identity.algorithm.public().is_none();
        anyhow::ensure!(
            signs || !is_secret || identity.share_secret,
            "identity.algorithm is HS256, and this process has no role identity: checking tokens \
             would take the secret that signs them. Set identity.algorithm to \"RS256\" for every \
             process of the deployment, or identity.share_secret to true if this one may have the \
             secret (docs/operations/identity-providers.md)"
        );
        Ok(())
    }

    /// The bounds of a ledger's connections.
    pub(crate) fn ledger_limits(&self) -> Limits {
        let ledger = &self.ledger;
        Limits {
            readers_max: ledger.readers_max,
            writers_max: ledger.writers_max,
            claimers_max: self.claimers(),
            acquire_timeout: Duration::from_millis(ledger.acquire_timeout_ms),
            statement_timeout: Duration::from_millis(ledger.statement_timeout_ms),
            connection_lifetime: Duration::from_secs(ledger.connection_lifetime_seconds),
        }
    }

    /// Connections that decide claims: a lane decides one batch at a time, and each decider that
    /// needs Redis has lanes of its own.
    fn claimers(&self) -> u32 {
        let deciders = if self.redis.is_set() { 3 } else { 1 };
        u32::try_from(self.issuance.lanes * deciders).unwrap_or(u32::MAX)
    }

    /// Whether this process may write to the journal: an event keeps the commit that it was made
    /// with, and whoever decides or rebuilds one of Kafka's writes there, or leaves nothing of it
    /// in doubt before a user is erased.
    pub(crate) fn writes_to_kafka(&self) -> bool {
        let has = |role| self.server.roles.contains(&role);
        self.kafka.is_set() && (has(Role::Issuance) || has(Role::Worker) || has(Role::Identity))
    }

    /// Whether this process needs the journal: to apply it, or to make the wins of new events
    /// durable.
    pub(crate) fn needs_kafka(&self) -> bool {
        let has = |role| self.server.roles.contains(&role);
        let promises = has(Role::Issuance) && self.claims.commit == Commit::Kafka;
        self.kafka.is_set() && (has(Role::Worker) || promises)
    }

    /// What cannot be served, each with the key that asks for it.
    pub(super) fn faults(&self) -> Vec<(String, String)> {
        let mut faults = self.missing_backends();
        faults.extend(self.server.faults());
        let mut refuse = |key: &str, sentence| faults.push((key.to_owned(), sentence));
        if let Err(error) = self.ledger_options(Purpose::Visit) {
            refuse("ledger.url", format!("cannot be used: {error}"));
        }
        for (key, number, min, max) in self.ledger.bounds() {
            if !(min..=max).contains(&number) {
                refuse(key, format!("must be from {min} to {max}"));
            }
        }
        let checked = [
            self.identity.check(),
            self.issuance.check(),
            self.limits.check(),
            self.redis.check(),
            self.kafka.check(),
        ];
        for checked in checked {
            faults.extend(checked.err().map(|invalid| by_key(&invalid.to_string())));
        }
        faults.extend(self.telemetry.faults());
        faults
    }

    /// Who decides and what holds a win may need what is not there: that must not be ignored.
    fn missing_backends(&self) -> Vec<(String, String)> {
        let is_embedded =
            self.ledger_options(Purpose::Visit).is_ok_and(|options| options.path().is_some());
        let (no_redis, no_kafka) = (!self.redis.is_set(), !self.kafka.is_set());
        let ClaimsConfig { strategy, commit } = self.claims;
        let decided = strategy != Strategy::Ledger;
        let held = commit != Commit::Ledger;
        let redis = "needs Redis: set redis.url";
        let server = "needs a ledger on PostgreSQL, MySQL or MariaDB: set ledger.url";
        let (strategy_key, commit_key) = ("claims.strategy", "claims.commit");
        let (by, to) = (strategy.as_str(), commit.as_str());
        let asked = [
            (strategy_key, decided && no_redis, format!("is {by}, which {redis}")),
            (
                strategy_key,
                strategy == Strategy::Redis && is_embedded,
                format!("is {by}, which {server}"),
            ),
            (
                commit_key,
                commit == Commit::Kafka && no_kafka,
                format!("is {to}, which needs Kafka: set kafka.brokers"),
            ),
            (commit_key, held && no_redis, format!("is {to}, which {redis}")),
            (commit_key, held && is_embedded, format!("is {to}, which {server}")),
            (
                "kafka.brokers",
                !no_kafka && is_embedded && !held,
                format!("is set, and what is in Kafka {server}"),
            ),
        ];
        let asked = asked.into_iter().filter(|(_, is_asked, _)| *is_asked);
        asked.map(|(key, _, sentence)| (key.to_owned(), sentence)).collect()
    }
}

impl ServerConfig {
    fn faults(&self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        let mut refuse = |key: &str, sentence| faults.push((key.to_owned(), sentence));
        if !is_host_and_port(&self.listen) {
            let found = &self.listen;
            refuse("server.listen", format!("must be HOST:PORT, as 127.0.0.1:8080, not {found:?}"));
        }
        if self.data_dir.as_os_str().is_empty() {
            refuse("server.data_dir", "must name a directory".to_owned());
        }
        if self.roles.is_empty() || self.roles.iter().any(|role| !Role::SERVED.contains(role)) {
            let sentence = "must be some of identity, catalog, issuance, wallet and worker: \
                            this version has no other role";
            refuse("server.roles", sentence.to_owned());
        }
        if !(1..=CONNECTIONS_MAX).contains(&self.connections_max) {
            refuse("server.connections_max", format!("must be from 1 to {CONNECTIONS_MAX}"));
        }
        if self.drain_delay_seconds > SECONDS_MAX {
            refuse("server.drain_delay_seconds", format!("must be from 0 to {SECONDS_MAX}"));
        }
        let seconds = [
            ("server.head_timeout_seconds", self.head_timeout_seconds),
            ("server.idle_timeout_seconds", self.idle_timeout_seconds),
            ("server.answer_timeout_seconds", self.answer_timeout_seconds),
            ("server.drain_deadline_seconds", self.drain_deadline_seconds),
        ];
        for (key, _) in seconds.iter().filter(|(_, value)| !(1..=SECONDS_MAX).contains(value)) {
            refuse(key, format!("must be from 1 to {SECONDS_MAX}"));
        }
        faults
    }
}

/// The key that a service's own sentence begins with, and the rest of it.
fn by_key(sentence: &str) -> (String, String) {
    let (key, rest) = sentence.split_once(' ').unwrap_or((sentence, ""));
    (key.to_owned(), rest.to_owned())
}

/// Whether the text is an address to listen on; whether the host exists is for binding to tell.
fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let bracketed = host.starts_with('[') && host.ends_with(']');
        !host.is_empty() && (bracketed || !host.contains(':')) && port.parse::<u16>().is_ok()
    })
}
