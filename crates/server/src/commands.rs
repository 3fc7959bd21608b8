//! The commands beside `serve`. Each answers on standard output; its failures are the caller's.

mod audit;
mod copy;
mod journal;
mod keys;
mod sync;

use std::io::{BufRead as _, IsTerminal as _, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use firstcome_core::{Clock as _, Email, Password};
use firstcome_identity::{AdminChange, Identity, KeyUse, Mint, generate_password};
use firstcome_ledger::{EventQuery, EventRecord, Ledger, Purpose};
use firstcome_web::SystemClock;
use indicatif::{ProgressBar, ProgressIterator as _};

use crate::cli::{DataFlags, Seconds, ServeFlags, TokenFlags};
use crate::config::{Role, Settings};
use crate::document;
use crate::serve::make_private;

pub(crate) use audit::audit;
pub(crate) use copy::copy;
pub(crate) use journal::{forget_journal, inspect_journal, skip_record};
pub(crate) use keys::{list_keys, rotate_keys};
pub(crate) use sync::sync;

/// Events that are listed at once.
const PAGE_EVENTS: u64 = 200;

/// Brings the ledger's schema up, or says what that would do.
pub(crate) async fn migrate(
    flags: &DataFlags,
    dry_run: bool,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let settings = flags.load()?.settings;
    let options = settings.ledger_options(Purpose::Serve)?;
    let shown = options.shown();
    let pending = Ledger::pending_migrations(&options).await?;
    if !dry_run && !pending.is_empty() {
        make_private(&settings.server.data_dir)?;
        Ledger::migrate(&options).await?;
    }
    let did = if dry_run { "would apply" } else { "applied" };
    for migration in &pending {
        writeln!(out, "{did} {migration}")?;
    }
    if pending.is_empty() {
        writeln!(out, "the schema of {shown} is up to date")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the OpenAPI document of all roles.
pub(crate) fn openapi(out: &mut impl Write) -> anyhow::Result<ExitCode> {
    out.write_all(document::rendered(&Role::SERVED).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Prints every key, its value in force and its origin.
pub(crate) fn config_check(flags: &ServeFlags, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let configuration = flags.load()?;
    configuration.settings.check_secret()?;
    out.write_all(configuration.explain().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Makes an admin.
pub(crate) async fn add_admin(
    flags: &DataFlags,
    email: &str,
    password_stdin: bool,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let settings = flags.load()?.settings;
    let email = Email::parse(email).map_err(|invalid| anyhow::anyhow!("--email {invalid}"))?;
    let (password, is_made) = match settings.admin.password.clone() {
        _ if password_stdin => (password_from_stdin()?, false),
        Some(configured) => (configured, false),
        None => (generate_password()?, true),
    };
    let ledger = visit(&settings).await?;
    let clock = Arc::new(SystemClock::new());
    let keys = keys::open(&settings, KeyUse::Sign, clock.now())?;
    let identity = Identity::new(ledger.clone(), keys, &settings.identity, clock);
    let change = identity.add_admin(email.clone(), password.clone()).await?;
    ledger.close().await?;
    match change {
        AdminChange::Created if is_made => {
            writeln!(
                out,
                "{email} is an admin, password {} (shown only this once)",
                password.expose()
            )?;
        }
        AdminChange::Created | AdminChange::Promoted => writeln!(out, "{email} is an admin")?,
        AdminChange::Unchanged { same_password } if same_password || is_made => {
            writeln!(out, "{email} was an admin already; its password is what it was")?;
        }
        AdminChange::Unchanged { .. } => {
            anyhow::bail!("{email} is an admin already, with another password than the one given")
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn password_from_stdin() -> anyhow::Result<Password> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("cannot read standard input")?;
    Password::parse(line.trim_end_matches(['\r', '\n']))
        .map_err(|invalid| anyhow::anyhow!("the password on standard input {invalid}"))
}

/// Prints access tokens, one a line.
pub(crate) fn token(flags: &TokenFlags, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let settings = flags.flags.load()?.settings;
    let (name, now, Seconds(ttl)) = (flags.sub.as_str(), SystemClock::new().now(), flags.ttl);
    let keys = keys::open(&settings, KeyUse::Sign, now)?;
    keys.allow_for(&settings.identity, ttl)?;
    let mint = Mint::new(keys, &settings.identity);
    let tokens = mint
        .load_test_tokens(name, flags.count, flags.scope, now, ttl)
        .map_err(|invalid| anyhow::anyhow!("--sub with its highest number {invalid}"))?;
    for token in tokens.progress_with(bar(u64::from(flags.count.unwrap_or(1)))) {
        writeln!(out, "{token}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A bar on standard error while answers go elsewhere; it hides itself where that is no terminal.
fn bar(length: u64) -> ProgressBar {
    if std::io::stdout().is_terminal() { ProgressBar::hidden() } else { ProgressBar::new(length) }
}

/// Every event of which this holds, newest first.
async fn events_that(
    ledger: &Ledger,
    holds: impl Fn(&EventRecord) -> bool,
) -> anyhow::Result<Vec<EventRecord>> {
    let (mut events, mut after) = (Vec::new(), None);
    loop {
        let query = EventQuery { state: None, after, limit: PAGE_EVENTS };
        let page = ledger.events(&query).await?;
        let Some(last) = page.last() else { return Ok(events) };
        after = Some(last.id);
        events.extend(page.into_iter().filter(&holds));
    }
}

/// Opens the ledger beside a server that may be running on it.
async fn visit(settings: &Settings) -> anyhow::Result<Ledger> {
    let options = settings.ledger_options(Purpose::Visit)?;
    anyhow::ensure!(
        options.path().is_none_or(Path::exists),
        "there is no ledger at {}: `firstcome serve` or `firstcome migrate` makes one, \
         --data-dir names another place",
        options.shown()
    );
    Ok(Ledger::open(options, Arc::new(SystemClock::new())).await?)
}
