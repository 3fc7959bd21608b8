//! The writer's connection, and the write-ahead log beneath it.
//!
//! SQLite would copy the log to the database file within a claim's commit; here a connection of
//! its own does, so that no claim waits for it. A log that has been copied whole is written again
//! from its beginning, into the space that it has: a file that does not grow costs an fsync half
//! of one that does, because the file system has nothing to note about it. So the log is given
//! space before there is need for it, and is cut only when it has become much longer.

use std::fs::OpenOptions;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use super::ClaimWriter;
use crate::LedgerError;

/// Pages in the writer's cache, in KiB (the minus sign is SQLite's way to say KiB).
const CACHE_KIB: i64 = -32_768;
/// How long a statement waits for another process that writes the same file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes that the log is given in advance: some 400,000 claims of users with short ids.
const LOG_BYTES: u64 = 64 << 20;
/// Bytes from which it is cut when there is time.
const LOG_BYTES_MAX: u64 = 512 << 20;
/// Bytes of a page, as SQLite makes them.
const PAGE_BYTES: u64 = 4_096;
/// Bytes that it is given at once, so that a claim waits a few milliseconds at most.
const LOG_STEP_BYTES: usize = 1 << 20;

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

/// Copies the whole log and cuts it, as at a stop.
pub(crate) fn checkpoint(path: &Path) -> Result<(), LedgerError> {
    checkpoint_as(&connect(path)?, "TRUNCATE").map(|_| ())
}

/// Runs a checkpoint of this mode. Answers how many bytes of the log are not copied.
fn checkpoint_as(db: &Connection, mode: &str) -> Result<u64, LedgerError> {
    let pages = db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        let (in_log, copied): (i64, i64) = (row.get(1)?, row.get(2)?);
        Ok(in_log - copied)
    })?;
    Ok(u64::try_from(pages).unwrap_or(0) * PAGE_BYTES)
}

/// Copies the log while the process serves; a connection of its own.
pub(super) struct Copier {
    db: Connection,
    log: PathBuf,
}

impl Copier {
    /// Connects.
    pub(super) fn open(database: &Path) -> Result<Self, LedgerError> {
        let db = connect(database)?;
        // Whoever is in the way is waited for by the next copy, not by this one.
        db.busy_timeout(Duration::ZERO)?;
        Ok(Self { db, log: log_of(database) })
    }

    /// Bytes of the log that are not copied.
    pub(super) fn uncopied(&self) -> Result<u64, LedgerError> {
        checkpoint_as(&self.db, "NOOP")
    }

    /// Copies what can be copied beside readers and the writer. If that is all, the next writer
    /// begins the log again.
    pub(super) fn copy(&self) -> Result<(), LedgerError> {
        checkpoint_as(&self.db, "PASSIVE").map(|_| ())
    }

    /// The same, while nobody writes; a log that has become too long is cut. Answers whether it
    /// was.
    pub(super) fn copy_and_cut(&self) -> Result<bool, LedgerError> {
        let length = || std::fs::metadata(&self.log).map_or(0, |metadata| metadata.len());
        let too_long = length() > LOG_BYTES_MAX;
        checkpoint_as(&self.db, if too_long { "TRUNCATE" } else { "PASSIVE" })?;
        Ok(too_long && length() == 0)
    }
}

impl ClaimWriter {
    /// Gives the log a piece of the space that it should have. Answers whether it has it all.
    ///
    /// # Errors
    /// When the disk is full; that does no harm.
    pub(crate) fn lengthen_log(&mut self, database: &Path) -> Result<bool, LedgerError> {
        // SQLite writes to the log under this lock alone, and takes zeros for its end.
        let _lock = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let path = log_of(database);
        lengthen(&path).map_err(|cause| LedgerError::Io { path, cause })
    }
}

fn lengthen(log: &Path) -> io::Result<bool> {
    let mut file = OpenOptions::new().write(true).open(log)?;
    let length = file.metadata()?.len();
    if length >= LOG_BYTES {
        return Ok(true);
    }
    file.seek(SeekFrom::End(0))?;
    file.write_all(&vec![0; LOG_STEP_BYTES])?;
    file.sync_all()?;
    Ok(false)
}

fn log_of(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    path.into()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn rows(db: &Connection) -> i64 {
        db.query_row("SELECT count(*) FROM won", [], |row| row.get(0)).expect("a count")
    }

    fn insert(db: &Connection) {
        db.execute("INSERT INTO won (code) VALUES (randomblob(100))", []).expect("it is inserted");
    }

    /// What a process that starts after a crash at this moment would find.
    fn after_crash(path: &Path) -> i64 {
        let directory = TempDir::new().expect("a directory");
        let copy = directory.path().join("ledger.db");
        std::fs::copy(path, &copy).expect("the database is copied");
        std::fs::copy(log_of(path), log_of(&copy)).expect("the log is copied");
        let db = connect(&copy).expect("it opens");
        let sound: String =
            db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a check");
        assert_eq!(sound, "ok");
        rows(&db)
    }

    #[test]
    fn the_log_is_given_its_space_keeps_what_it_has_and_is_written_again_in_place() {
        let directory = TempDir::new().expect("a directory");
        let path = directory.path().join("ledger.db");
        let db = connect(&path).expect("it opens");
        db.execute_batch("CREATE TABLE won (code BLOB)").expect("a table");
        insert(&db);
        let steps = LOG_BYTES / LOG_STEP_BYTES as u64 + 1;
        let long = (0..steps).any(|_| lengthen(&log_of(&path)).expect("there is space"));
        assert!(long, "a step adds nothing");
        let length = || std::fs::metadata(log_of(&path)).expect("the log").len();
        let given = length();
        assert!(given >= LOG_BYTES && given < LOG_BYTES + 2 * LOG_STEP_BYTES as u64);
        assert_eq!(after_crash(&path), 1);
        insert(&db);
        assert_eq!(after_crash(&path), 2);
        let copier = Copier::open(&path).expect("it opens");
        assert_ne!(copier.uncopied().expect("a number"), 0);
        assert!(!copier.copy_and_cut().expect("it is copied"), "it is not too long");
        assert_eq!(copier.uncopied().expect("a number"), 0);
        // From the beginning: what the log had before is no longer read, also after a crash.
        insert(&db);
        assert_eq!(after_crash(&path), 3);
        assert_eq!((rows(&db), length()), (3, given));
    }
}
