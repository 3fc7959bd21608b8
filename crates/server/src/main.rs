//! The binary: command line, configuration, composition of the services, telemetry, shutdown. It
//! has no rules of its own.
//!
//! Modules in reading order: `cli`, `config`, `serve` with `services`, `redis`, `kafka`,
//! `operations`, `document`, `banner`, `files` and `stop`, `commands`, `logs`, `measures`,
//! `traces`.

mod banner;
mod cli;
mod commands;
mod config;
mod document;
mod files;
mod kafka;
mod logs;
mod measures;
mod operations;
mod redis;
mod serve;
mod services;
mod stop;
mod traces;

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use firstcome_web::with_causes;

use cli::{Cli, Command, ConfigCommand, JournalCommand, KeysCommand, LedgerCommand, UserCommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long work on blocking threads may go on after everything else has ended.
const BLOCKING_MAX: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(code) => code,
        // Who reads the answer has read enough, as `head` does.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // There is nowhere else to say that standard error is closed.
            let _ = writeln!(std::io::stderr(), "firstcome: {}", with_causes(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(answer(command));
    runtime.shutdown_timeout(BLOCKING_MAX);
    done
}

async fn answer(command: Command) -> anyhow::Result<ExitCode> {
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let code = match &command {
        Command::Serve(flags) => serve::serve(flags.load()?.settings, &mut out).await,
        Command::Migrate { dry_run, flags } => commands::migrate(flags, *dry_run, &mut out).await,
        Command::Audit(flags) => commands::audit(flags, &mut out).await,
        Command::Sync(flags) => commands::sync(flags, &mut out).await,
        Command::Journal { command: JournalCommand::Inspect(flags) } => {
            commands::inspect_journal(flags, &mut out).await
        }
        Command::Journal { command: JournalCommand::Skip(flags) } => {
            commands::skip_record(flags, &mut out).await
        }
        Command::Journal { command: JournalCommand::Forget(flags) } => {
            commands::forget_journal(flags, &mut out).await
        }
        Command::Ledger { command: LedgerCommand::Copy(flags) } => {
            commands::copy(flags, &mut out).await
        }
        Command::Openapi => commands::openapi(&mut out),
        Command::Config { command: ConfigCommand::Check(flags) } => {
            commands::config_check(flags, &mut out)
        }
        Command::User { command: UserCommand::AddAdmin { email, password_stdin, flags } } => {
            commands::add_admin(flags, email, *password_stdin, &mut out).await
        }
        Command::Token(flags) => commands::token(flags, &mut out),
        Command::Keys { command: KeysCommand::List(flags) } => commands::list_keys(flags, &mut out),
        Command::Keys { command: KeysCommand::Rotate { sign_after, flags } } => {
            commands::rotate_keys(flags, *sign_after, &mut out)
        }
    }?;
    out.flush()?;
    Ok(code)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
