//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use firstcome_core::{EventId, UserId};
use firstcome_identity::mint::parse_scope;
use firstcome_web::Scopes;

use crate::config::{ConfigError, Configuration, FlagValue};

/// Longest reason for skipping a record, in characters.
const REASON_MAX: usize = 500;

/// Issues limited coupons first come, first served, exactly.
#[derive(Debug, Parser)]
#[command(name = "firstcome", version, propagate_version = true, next_line_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the HTTP API; everything in one process, data in ./data, until Ctrl-C or SIGTERM
    Serve(ServeFlags),
    /// Bring the ledger's schema up to this version; `serve` does so by itself
    Migrate {
        /// Only say what would be applied
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        flags: DataFlags,
    },
    /// Count the invariants again from the ledger's rows, also while a server runs
    Audit(AuditFlags),
    /// Rebuild what Redis knows of events from the ledger, also while servers run
    Sync(SyncFlags),
    /// Look at the journal in Kafka, and see to a record that stops its partition
    Journal {
        #[command(subcommand)]
        command: JournalCommand,
    },
    /// Work on the ledger as a whole
    Ledger {
        #[command(subcommand)]
        command: LedgerCommand,
    },
    /// Print the OpenAPI document
    Openapi,
    /// Look at the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Manage accounts
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Sign access tokens with the deployment's own key, one a line, also while a server runs
    Token(TokenFlags),
    /// The keys that sign access tokens
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Show every key and what it does: a line with its id, its algorithm, and its state
    List(DataFlags),
    /// Make a new key, also while servers run: all of them learn of it, then it signs, and the old
    /// one checks until its last token has expired
    Rotate {
        /// When the new key begins to sign, as 90s, 30m, 2h or 7d from now; tokens are refused
        /// where it is not known by then [default: identity.jwks_max_age_seconds and 5 s]
        #[arg(long, value_name = "TIME", value_parser = seconds)]
        sign_after: Option<Seconds>,
        #[command(flatten)]
        flags: DataFlags,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum JournalCommand {
    /// Show how far each partition is applied, what stops one, and what was skipped; fails when a
    /// partition is stopped
    Inspect(InspectFlags),
    /// Go on without a record that stops its partition; the ledger keeps the record and the reason
    Skip(SkipFlags),
    /// Let the ledger have another topic, when nothing is left to be applied of this one and no
    /// event is open whose wins go there; end every process before
    Forget(ForgetFlags),
}

#[derive(Debug, Args)]
pub(crate) struct InspectFlags {
    /// Only this partition
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) partition: Option<i32>,
    /// Show records of the partition from this offset on [default: where it is applied to]
    #[arg(long, value_name = "O", requires = "partition",
        value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) offset: Option<i64>,
    /// Show so many records of each partition
    #[arg(long, value_name = "N", default_value = "1",
        value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) count: u16,
    #[command(flatten)]
    pub(crate) kafka: KafkaFlags,
}

#[derive(Debug, Args)]
pub(crate) struct SkipFlags {
    /// The partition that is stopped
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) partition: i32,
    /// The offset of the record that stops it
    #[arg(long, value_name = "O", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) offset: i64,
    /// Why it may be skipped, for whoever reads it later
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) kafka: KafkaFlags,
}

#[derive(Debug, Args)]
pub(crate) struct ForgetFlags {
    /// The topic that the ledger has
    #[arg(long, value_name = "NAME")]
    pub(crate) topic: String,
    /// The topic is gone, and what no worker has applied of it stays lost: do not look for it
    #[arg(long)]
    pub(crate) lost: bool,
    #[command(flatten)]
    pub(crate) kafka: KafkaFlags,
}

/// What the commands take that work on the journal.
#[derive(Debug, Args)]
pub(crate) struct KafkaFlags {
    /// Brokers of Kafka [env: FIRSTCOME_KAFKA_BROKERS]
    #[arg(long, value_name = "HOST:PORT,…")]
    kafka_brokers: Option<String>,
    #[command(flatten)]
    data: DataFlags,
}

impl KafkaFlags {
    /// The configuration with these flags on top.
    pub(crate) fn load(&self) -> Result<Configuration, ConfigError> {
        Configuration::load(self.data.config.as_deref(), std::env::vars_os(), self.given())
    }

    fn given(&self) -> Vec<FlagValue> {
        let mut flags = self.data.given();
        flags.extend(given([("--kafka-brokers", "kafka.brokers", &self.kafka_brokers)]));
        flags
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every key, its value in force and where it came from
    Check(ServeFlags),
}

#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Copy everything to another, empty ledger and verify every row; stop every server first
    Copy(CopyFlags),
}

#[derive(Debug, Args)]
pub(crate) struct CopyFlags {
    /// The ledger to copy, as sqlite:PATH, postgres://… or mysql://…
    #[arg(long, value_name = "URL")]
    pub(crate) from: String,
    /// Where to, in the same forms [default: the ledger that is configured]
    #[arg(long, value_name = "URL")]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) flags: DataFlags,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Make an admin, or make an admin of who has signed up
    AddAdmin {
        /// Who
        #[arg(long)]
        email: String,
        /// Read the password from standard input, up to the end of its first line. Otherwise it is
        /// FIRSTCOME_ADMIN_PASSWORD, or made and printed once
        #[arg(long)]
        password_stdin: bool,
        #[command(flatten)]
        flags: DataFlags,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SyncFlags {
    /// The event to rebuild [default: every one that Redis decides and that is not closed]
    #[arg(long, value_name = "ID", value_parser = event_id)]
    pub(crate) event: Option<EventId>,
    #[command(flatten)]
    pub(crate) flags: BesideFlags,
}

/// What a command takes that looks at the ledger and at what may have wins before it.
#[derive(Debug, Args)]
pub(crate) struct BesideFlags {
    /// Redis, as redis://user:password@host:6379 [env: FIRSTCOME_REDIS_URL]
    #[arg(long, value_name = "URL")]
    redis_url: Option<String>,
    #[command(flatten)]
    kafka: KafkaFlags,
}

impl BesideFlags {
    /// The configuration with these flags on top.
    pub(crate) fn load(&self) -> Result<Configuration, ConfigError> {
        let mut flags = self.kafka.given();
        flags.extend(given([("--redis-url", "redis.url", &self.redis_url)]));
        Configuration::load(self.kafka.data.config.as_deref(), std::env::vars_os(), flags)
    }
}

#[derive(Debug, Args)]
pub(crate) struct AuditFlags {
    /// The event to audit
    #[arg(long, value_name = "ID", value_parser = event_id, required_unless_present = "all")]
    pub(crate) event: Option<EventId>,
    /// Audit every event
    #[arg(long, conflicts_with = "event")]
    pub(crate) all: bool,
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) flags: BesideFlags,
}

#[derive(Debug, Args)]
pub(crate) struct TokenFlags {
    /// Whose token
    #[arg(long, value_name = "NAME", value_parser = user_id)]
    pub(crate) sub: UserId,
    /// This many tokens, for NAME-1 to NAME-N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: Option<u32>,
    /// What the tokens permit: user, admin, redeem, or several with blanks
    #[arg(long, default_value = "user", value_parser = parse_scope)]
    pub(crate) scope: Scopes,
    /// How long they are good, as 90s, 30m, 2h or 7d
    #[arg(long, default_value = "2h", value_parser = seconds)]
    pub(crate) ttl: Seconds,
    #[command(flatten)]
    pub(crate) flags: DataFlags,
}

/// A length of time in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seconds(pub(crate) u32);

/// What every command takes that works on the data.
#[derive(Debug, Args)]
pub(crate) struct DataFlags {
    /// A configuration file; config/default.toml explains every key [env: FIRSTCOME_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of everything that is kept [default: ./data] [env: FIRSTCOME_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// The ledger, as sqlite:PATH, postgres://… or mysql://… [default: ledger.db in the data
    /// directory] [env: FIRSTCOME_LEDGER_URL]
    #[arg(long, value_name = "URL")]
    ledger_url: Option<String>,
}

/// What `serve` takes. A flag outranks its environment variable, that the file, and that the
/// default.
#[derive(Debug, Args)]
pub(crate) struct ServeFlags {
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:8080] [env: FIRSTCOME_LISTEN]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    #[command(flatten)]
    data: DataFlags,
    /// A service to run: identity, catalog, issuance, wallet or worker; repeatable [default: all]
    /// [env: FIRSTCOME_ROLES, with commas]
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Who decides the claims of new events: ledger, redis_lock or redis [default: ledger]
    /// [env: FIRSTCOME_STRATEGY]
    #[arg(long)]
    strategy: Option<String>,
    /// What must hold a won claim of the strategy redis before its answer: ledger, kafka or
    /// redis_stream [default: ledger] [env: FIRSTCOME_COMMIT]
    #[arg(long)]
    commit: Option<String>,
    /// Redis, as redis://…, redis+sentinel://…/MASTER or redis+cluster://… (rediss… for TLS):
    /// decides claims, and keeps what processes read of coupons and events [default: none]
    /// [env: FIRSTCOME_REDIS_URL]
    #[arg(long, value_name = "URL")]
    redis_url: Option<String>,
    /// Brokers of Kafka, which keeps won claims for the workers [default: none]
    /// [env: FIRSTCOME_KAFKA_BROKERS]
    #[arg(long, value_name = "HOST:PORT,…")]
    kafka_brokers: Option<String>,
    /// The form of the log on standard error: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// What is logged: error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

impl DataFlags {
    fn given(&self) -> Vec<FlagValue> {
        given([
            ("--data-dir", "server.data_dir", &self.data_dir),
            ("--ledger-url", "ledger.url", &self.ledger_url),
        ])
    }

    /// The configuration with these flags on top.
    pub(crate) fn load(&self) -> Result<Configuration, ConfigError> {
        Configuration::load(self.config.as_deref(), std::env::vars_os(), self.given())
    }
}

impl ServeFlags {
    /// The configuration with these flags on top.
    pub(crate) fn load(&self) -> Result<Configuration, ConfigError> {
        let roles = Some(self.roles.join(",")).filter(|_| !self.roles.is_empty());
        let mut flags = self.data.given();
        flags.extend(given([
            ("--listen", "server.listen", &self.listen),
            ("--role", "server.roles", &roles),
            ("--strategy", "claims.strategy", &self.strategy),
            ("--commit", "claims.commit", &self.commit),
            ("--redis-url", "redis.url", &self.redis_url),
            ("--kafka-brokers", "kafka.brokers", &self.kafka_brokers),
            ("--log-format", "telemetry.log_format", &self.log_format),
            ("--log-level", "telemetry.log_level", &self.log_level),
        ]));
        Configuration::load(self.data.config.as_deref(), std::env::vars_os(), flags)
    }
}

/// The flags that are there, each with the key that it gives.
fn given<const N: usize>(
    flags: [(&'static str, &'static str, &Option<String>); N],
) -> Vec<FlagValue> {
    let there = |(flag, key, text): (_, _, &Option<String>)| {
        text.clone().map(|text| FlagValue { flag, key, text })
    };
    flags.into_iter().filter_map(there).collect()
}

fn event_id(text: &str) -> Result<EventId, &'static str> {
    EventId::parse(text).ok_or("an event's id is a UUID in its canonical form")
}

fn user_id(text: &str) -> Result<UserId, String> {
    UserId::parse(text).map_err(|invalid| invalid.to_string())
}

fn reason(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    match text.chars().count() {
        1..=REASON_MAX if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        _ => Err("a reason has 1 to 500 characters, and no line breaks"),
    }
}

fn seconds(text: &str) -> Result<Seconds, &'static str> {
    const HINT: &str = "write a number with s, m, h or d, as 90s, 30m, 2h or 7d";
    let unit_at = text.len().saturating_sub(1);
    let (number, unit) = text.split_at_checked(unit_at).ok_or(HINT)?;
    let unit_seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(HINT),
    };
    let number: u32 = number.parse().map_err(|_| HINT)?;
    number
        .checked_mul(unit_seconds)
        .filter(|seconds| *seconds > 0)
        .map(Seconds)
        .ok_or("the length of time is out of range")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn refusal(arguments: &[&str]) -> String {
        let arguments = ["firstcome"].iter().chain(arguments);
        Cli::try_parse_from(arguments).expect_err("a refusal").to_string()
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_unknown_flag_is_named() {
        assert!(refusal(&["serve", "--lissten", "x"]).contains("'--lissten'"));
        assert!(refusal(&["token", "--subject", "x"]).contains("'--subject'"));
        assert!(refusal(&["serv"]).contains("'serv'"));
    }

    #[test]
    fn an_audit_names_an_event_or_all() {
        assert!(refusal(&["audit"]).contains("--event"));
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        assert!(refusal(&["audit", "--all", "--event", id]).contains("cannot be used with"));
        assert!(refusal(&["audit", "--event", "7"]).contains("canonical"));
    }

    #[test]
    fn a_length_of_time_has_a_unit() {
        let cases =
            [("90s", Some(90)), ("30m", Some(1_800)), ("2h", Some(7_200)), ("7d", Some(604_800))];
        for (text, expected) in cases {
            assert_eq!(seconds(text).ok(), expected.map(Seconds), "{text}");
        }
        for text in ["", "s", "2", "0h", "-1h", "1.5h", "2 h", "2시", "99999d"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
