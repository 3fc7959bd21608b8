//! Logs: on standard error, as readable lines or as JSON with the names of the Elastic Common
//! Schema (ECS). Answers to whoever runs a command go to standard output.

use std::io::IsTerminal as _;

use json_subscriber::JsonLayer;
use serde_json::json;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogFormat, TelemetryConfig};

/// The version of the schema that the names are from.
const ECS_VERSION: &str = "8.11.0";

/// Reads what is to be logged: a level, and levels for parts of the program.
///
/// # Errors
/// A sentence that names the part that is no level.
pub(crate) fn parse_level(text: &str) -> Result<Targets, String> {
    // A bare word that is no level would be read as the name of a part, and log nothing else.
    let levels = text.split(',').map(|part| part.rsplit_once('=').map_or(part, |(_, level)| level));
    for level in levels {
        if level.is_empty() || level.parse::<LevelFilter>().is_err() {
            return Err(format!("{level:?} is none of off, error, warn, info, debug and trace"));
        }
    }
    text.parse().map_err(|error| format!("{error}"))
}

/// Logs from here on.
///
/// # Errors
/// When the level cannot be read, or the process logs already.
pub(crate) fn init(config: &TelemetryConfig) -> anyhow::Result<()> {
    let levels = parse_level(&config.log_level).map_err(anyhow::Error::msg)?;
    let registry = tracing_subscriber::registry();
    match config.log_format {
        LogFormat::Text => {
            let lines = tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(std::io::stderr().is_terminal())
                .with_target(false);
            registry.with(lines.with_filter(levels)).try_init()?;
        }
        LogFormat::Json => registry.with(json_lines().with_filter(levels)).try_init()?,
    }
    Ok(())
}

/// One object a line. The fields of an event are named in ECS where it has a name for them.
fn json_lines<S>() -> JsonLayer<S, fn() -> std::io::Stderr>
where
    S: tracing::Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span>,
{
    let mut layer = JsonLayer::stderr();
    layer.with_timer("@timestamp", SystemTime);
    layer.with_level("log.level");
    layer.with_target("log.logger");
    layer.with_flattened_event();
    layer.add_static_field("ecs.version", json!(ECS_VERSION));
    layer.add_static_field("service.name", json!("firstcome"));
    layer.add_static_field("service.version", json!(env!("CARGO_PKG_VERSION")));
    layer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_is_none_is_refused() {
        for text in ["info", "off", "warn,firstcome_issuance=debug"] {
            assert!(parse_level(text).is_ok(), "{text}");
        }
        for text in ["", "inof", "info,", "info,firstcome_issuance", "firstcome_issuance=loud"] {
            assert!(parse_level(text).is_err(), "{text}");
        }
    }
}
