//! The environment variables that give a key its value.

use std::ffi::OsString;

/// Every variable of ours begins so; one that is not in the table is a mistake.
const PREFIX: &str = "FIRSTCOME_";
/// Those that begin so are the tests' own.
const TEST_PREFIX: &str = "FIRSTCOME_TEST_";
/// Names the file, as `--config` does.
pub(crate) const CONFIG_VARIABLE: &str = "FIRSTCOME_CONFIG";

/// The variables, each with the key that it gives.
/// Of two that give the same key the later one wins.
const VARIABLES: [(&str, Option<&str>); 13] = [
    (CONFIG_VARIABLE, None),
    ("FIRSTCOME_LISTEN", Some("server.listen")),
    ("FIRSTCOME_DATA_DIR", Some("server.data_dir")),
    ("FIRSTCOME_ROLES", Some("server.roles")),
    ("FIRSTCOME_LEDGER_URL", Some("ledger.url")),
    ("FIRSTCOME_STRATEGY", Some("claims.strategy")),
    ("FIRSTCOME_COMMIT", Some("claims.commit")),
    ("FIRSTCOME_REDIS_URL", Some("redis.url")),
    ("FIRSTCOME_KAFKA_BROKERS", Some("kafka.brokers")),
    ("FIRSTCOME_ADMIN_EMAIL", Some("admin.email")),
    ("FIRSTCOME_ADMIN_PASSWORD", Some("admin.password")),
    // OpenTelemetry's own name of the address, which platforms set for all their services.
    ("OTEL_EXPORTER_OTLP_ENDPOINT", Some("telemetry.otlp_endpoint")),
    ("FIRSTCOME_OTLP_ENDPOINT", Some("telemetry.otlp_endpoint")),
];

/// A variable that is set.
pub(super) struct Given {
    pub(super) name: &'static str,
    pub(super) key: Option<&'static str>,
    pub(super) text: String,
}

/// The variables of ours that are set and not empty; what is wrong with others joins `faults`.
pub(super) fn read(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    faults: &mut Vec<String>,
) -> Vec<Given> {
    let mut given = Vec::new();
    for (name, text) in variables {
        let Some(name) = name.to_str() else { continue };
        let known = VARIABLES.iter().find(|(known, _)| *known == name);
        let is_ours = name.starts_with(PREFIX) && !name.starts_with(TEST_PREFIX);
        if known.is_none() && !is_ours {
            continue;
        }
        let Some((name, key)) = known else {
            let known = VARIABLES.map(|(known, _)| known).join(", ");
            faults.push(format!("unknown environment variable {name}; there are {known}"));
            continue;
        };
        match text.into_string() {
            Ok(text) if text.is_empty() => {}
            Ok(text) => given.push(Given { name, key: *key, text }),
            Err(_) => faults.push(format!("environment {name} is not UTF-8")),
        }
    }
    given.sort_by_key(|given| VARIABLES.iter().position(|(name, _)| *name == given.name));
    given
}
