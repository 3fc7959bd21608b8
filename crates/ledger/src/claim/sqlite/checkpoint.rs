//! The writer's connection, and copying the write-ahead log to the database file.
//!
//! SQLite would copy it within a claim's commit; here a connection of its own does, so that no
//! claim waits for it.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use crate::LedgerError;

/// Pages in the writer's cache, in KiB (the minus sign is SQLite's way to say KiB).
const CACHE_KIB: i64 = -32_768;
/// How long a statement waits for another process that writes the same file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// How thoroughly to copy.
#[derive(Debug, Clone, Copy)]
pub(super) enum CheckpointMode {
    /// What can be copied beside readers and the writer.
    Passive,
    /// All of it; the file is empty afterwards.
    Truncate,
}

/// Opens a connection that waits for the disk at each commit.
pub(super) fn connect(path: &Path) -> Result<Connection, LedgerError> {
    let db = Connection::open(path)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", "ON")?;
    db.pragma_update(None, "wal_autocheckpoint", 0)?;
    db.pragma_update(None, "cache_size", CACHE_KIB)?;
    db.set_prepared_statement_cache_capacity(32);
    Ok(db)
}

/// Copies the whole log, as at a stop.
pub(crate) fn checkpoint(path: &Path) -> Result<(), LedgerError> {
    checkpoint_as(path, CheckpointMode::Truncate)
}

pub(super) fn checkpoint_as(path: &Path, mode: CheckpointMode) -> Result<(), LedgerError> {
    let db = connect(path)?;
    let word = match mode {
        CheckpointMode::Passive => "PASSIVE",
        CheckpointMode::Truncate => "TRUNCATE",
    };
    db.query_row(&format!("PRAGMA wal_checkpoint({word})"), [], |_| Ok(()))?;
    Ok(())
}
