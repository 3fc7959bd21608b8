//! `firstcome keys`: what signs the access tokens.

use std::io::Write;
use std::process::ExitCode;

use firstcome_core::{Clock as _, Timestamp};
use firstcome_identity::{KeyRing, KeyState, KeyUse, ListedKey, keys};
use firstcome_web::SystemClock;

use crate::cli::{DataFlags, Seconds};
use crate::config::Settings;
use crate::serve::make_private;

/// The deployment's keys.
pub(super) fn open(
    settings: &Settings,
    purpose: KeyUse,
    now: Timestamp,
) -> anyhow::Result<KeyRing> {
    if purpose == KeyUse::Sign {
        make_private(&settings.server.data_dir)?;
    }
    Ok(keys::open(&settings.server.data_dir, &settings.identity, purpose, now)?)
}

/// Shows every key and what it does.
pub(crate) fn list_keys(flags: &DataFlags, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let settings = flags.load()?.settings;
    let now = SystemClock::new().now();
    for key in open(&settings, KeyUse::Look, now)?.list(now) {
        writeln!(out, "{}", told(&key))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Adds a key, which signs once every process and everybody who keeps the public keys knows it.
pub(crate) fn rotate_keys(
    flags: &DataFlags,
    sign_after: Option<Seconds>,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let settings = flags.load()?.settings;
    let (data_dir, config) = (&settings.server.data_dir, &settings.identity);
    make_private(data_dir)?;
    let lead_seconds = sign_after.map(|Seconds(seconds)| seconds);
    let made = keys::rotate(data_dir, config, lead_seconds, SystemClock::new().now())?;
    writeln!(out, "{}", told(&made))?;
    Ok(ExitCode::SUCCESS)
}

/// A key as a line.
fn told(key: &ListedKey) -> String {
    let at = |seconds: i64| Timestamp::from_micros(seconds.saturating_mul(1_000_000));
    let state = match key.state {
        KeyState::Coming { signs_from } => format!("signs from {}", at(signs_from)),
        KeyState::Signing => "signs".to_owned(),
        KeyState::Checking { until } => format!("checks until {}", at(until)),
        KeyState::Ended => "has ended".to_owned(),
    };
    format!("{}  {}  {state}", key.id, key.algorithm.name())
}
