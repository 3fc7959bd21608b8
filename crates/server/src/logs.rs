//! Logs: on standard error, as readable lines or as JSON with the names of the Elastic Common
//! Schema (ECS). Answers to whoever runs a command go to standard output.

use std::io::IsTerminal as _;
use std::panic::{Location, PanicHookInfo};

use firstcome_web::{Trace, current_request_id};
use json_subscriber::JsonLayer;
use serde_json::json;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::set_global_default;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::config::{LogFormat, TelemetryConfig};

/// The version of the schema that the names are from.
const ECS_VERSION: &str = "8.11.0";
/// The fields of every line that belongs to a request.
const REQUEST_ID: &str = "http.request.id";
const TRACE_ID: &str = "trace.id";
const SPAN_ID: &str = "span.id";

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

/// Logs from here on, what panics too.
///
/// # Errors
/// When the level cannot be read, or the process logs already.
pub(crate) fn init(config: &TelemetryConfig) -> anyhow::Result<()> {
    let levels = parse_level(&config.log_level).map_err(anyhow::Error::msg)?;
    let registry = tracing_subscriber::registry();
    // What libraries say by the `log` crate is left out: its lines have no names of fields.
    match config.log_format {
        LogFormat::Text => {
            let lines = tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(std::io::stderr().is_terminal())
                .with_target(false)
                .fmt_fields(OfRequest(DefaultFields::new()));
            set_global_default(registry.with(lines.with_filter(levels)))?;
        }
        LogFormat::Json => set_global_default(registry.with(json_lines().with_filter(levels)))?,
    }
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// One line for a panic, wherever it is caught.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location();
    tracing::error!(
        error.message = panic.payload_as_str().unwrap_or("without a message"),
        "error.type" = "panic",
        log.origin.file.name = place.map(Location::file),
        log.origin.file.line = place.map(Location::line),
        "panicked"
    );
}

/// One object a line. The fields of an event are named in ECS where it has a name for them.
fn json_lines<S>() -> JsonLayer<S, fn() -> std::io::Stderr>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    let mut layer = JsonLayer::stderr();
    layer.with_timer("@timestamp", SystemTime);
    layer.with_level("log.level");
    layer.with_target("log.logger");
    layer.with_flattened_event();
    layer.add_static_field("ecs.version", json!(ECS_VERSION));
    layer.add_static_field("service.name", json!(env!("CARGO_PKG_NAME")));
    layer.add_static_field("service.version", json!(env!("CARGO_PKG_VERSION")));
    layer.add_dynamic_field(REQUEST_ID, |_, _| current_request_id());
    layer.add_dynamic_field(TRACE_ID, |_, _| Trace::current().map(|trace| trace.trace_id()));
    layer.add_dynamic_field(SPAN_ID, |_, _| Trace::current().map(|trace| trace.span_id()));
    layer
}

/// The fields of a readable line, and those of the request that it belongs to.
struct OfRequest(DefaultFields);

impl<'writer> FormatFields<'writer> for OfRequest {
    fn format_fields<R: RecordFields>(
        &self,
        mut writer: Writer<'writer>,
        fields: R,
    ) -> std::fmt::Result {
        self.0.format_fields(writer.by_ref(), fields)?;
        if let Some(id) = current_request_id() {
            write!(writer, " {REQUEST_ID}={id}")?;
        }
        if let Some(trace) = Trace::current() {
            write!(writer, " {TRACE_ID}={} {SPAN_ID}={}", trace.trace_id(), trace.span_id())?;
        }
        Ok(())
    }
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
