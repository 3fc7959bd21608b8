//! What can go wrong with the ledger.

use std::path::PathBuf;
use std::sync::Arc;

use sea_orm::DbErr;

/// The ledger could not be opened, or could not answer.
///
/// An error names its cause in its own sentence, and has no source beside: whoever prints the chain
/// would print the cause twice.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The address names a database that this build does not speak.
    #[error(
        "the ledger URL {url:?} is not supported: it must begin with sqlite: (as \
         sqlite:./data/ledger.db), postgres:// or mysql:// (as \
         postgres://user:password@host:5432/firstcome)"
    )]
    UnsupportedUrl {
        /// The address, without its password.
        url: String,
    },
    /// The address names a database that this build speaks, but not rightly.
    #[error("the ledger URL {url:?} cannot be used: {reason}")]
    Url {
        /// The address, without its password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The database is there, but cannot be the ledger, or does not let us in.
    #[error("the ledger at {at} cannot be used: {reason}")]
    Refused {
        /// The address, without its password.
        at: String,
        /// What is wrong, and what to do about it.
        reason: String,
    },
    /// A migration could not be applied.
    #[error(
        "the schema of {at} is half migrated: {migration} could not be applied ({reason}). If an \
         earlier migration was interrupted, restore the database from a backup, or make a new \
         one where nothing is lost; then run `firstcome migrate`"
    )]
    HalfMigrated {
        /// The address, without its password.
        at: String,
        /// The migration.
        migration: String,
        /// What the database said.
        reason: String,
    },
    /// Another process migrates, and has not ended.
    #[error(
        "another process migrates the ledger and has not ended in {seconds} s: let it end, or \
         stop it, and start again"
    )]
    MigrationLocked {
        /// How long was waited.
        seconds: u32,
    },
    /// Another process serves from the same data.
    #[error(
        "the data of {path} is in use by another firstcome process: stop that one, or choose \
         another directory with --data-dir"
    )]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// The directory or file cannot be made or written.
    #[error("cannot open the ledger at {path}: {cause}")]
    Io {
        /// What could not be opened.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The file is there, but is no ledger that can be read.
    #[error(
        "the ledger at {path} cannot be used: {reason}. Restore it from a backup, or choose \
         another directory with --data-dir"
    )]
    Unusable {
        /// The database file.
        path: PathBuf,
        /// What the database said.
        reason: String,
    },
    /// A newer binary has changed the schema.
    #[error(
        "the ledger's schema is newer than this binary (it has {newest}, which this binary does \
         not know): start the newer version of firstcome again"
    )]
    NewerSchema {
        /// The newest migration that was applied.
        newest: String,
    },
    /// The schema is older than this binary, and migrating was not asked for.
    #[error("the ledger's schema lacks {missing}: run `firstcome migrate` first")]
    OlderSchema {
        /// The first migration that is missing.
        missing: String,
    },
    /// Source and target of a copy are one.
    #[error("{at} is source and target of the copy: name another ledger with --to")]
    CopySame {
        /// The path, or the address without its password.
        at: String,
    },
    /// A process serves from the source or the target of a copy.
    #[error("the ledger at {at} is in use by another firstcome process: stop it, and copy again")]
    CopyInUse {
        /// The path.
        at: String,
    },
    /// The target of a copy has rows.
    #[error(
        "the ledger at {at} is not empty (there are {table}), and nothing was copied: name a new \
         database, or a file that does not exist yet"
    )]
    CopyTargetNotEmpty {
        /// The path, or the address without its password.
        at: String,
        /// A table that has rows.
        table: &'static str,
    },
    /// The source of a copy was written to meanwhile.
    #[error(
        "the ledger at {at} was changed while it was copied (its {table}), and nothing was kept \
         of the copy: stop every process that serves from it, and copy again"
    )]
    CopySourceChanged {
        /// The address, without its password.
        at: String,
        /// A table that has other rows by now.
        table: &'static str,
    },
    /// The target of a copy does not have what the source has.
    #[error(
        "the copy is not what the source is, and nothing was kept of it: in {table}, row {row} \
         {what}"
    )]
    CopyDiffers {
        /// The table.
        table: &'static str,
        /// The key of the first row that differs.
        row: String,
        /// What is other there.
        what: String,
    },
    /// The row would break a constraint; who asked decides what that means.
    #[error("the ledger refused a duplicate")]
    Duplicate,
    /// A row holds what the rules do not allow.
    #[error("the ledger holds a row that breaks its own rules: {0}")]
    Corrupt(String),
    /// The database did not answer as it should.
    #[error("the ledger did not answer: {0}")]
    Database(DbErr),
    /// The embedded database did not answer as it should.
    #[error("the ledger did not answer: {0}")]
    Embedded(rusqlite::Error),
    /// A database server did not answer as it should.
    #[error("the ledger did not answer: {0}")]
    Driver(sqlx::Error),
    /// A database server did not answer in time.
    #[error("the ledger did not answer in time")]
    Late,
    /// A database server could not be reached a moment ago.
    #[error("the ledger cannot be reached")]
    Unreachable,
    /// Another decider has the word on an event.
    #[error(transparent)]
    DecidedElsewhere(#[from] DecidedElsewhere),
    /// An embedded ledger decides by itself alone.
    #[error(
        "the embedded ledger takes no other decider's word: for the strategy redis, put the ledger \
         on PostgreSQL, MySQL or MariaDB (--ledger-url)"
    )]
    NotShared,
    /// Wins were promised that are not in the ledger yet.
    #[error("the ledger is behind what was promised: {0}")]
    Behind(String),
    /// Wins of the ledger's events are in a journal of this name, and no other is applied.
    #[error("wins of this ledger's events are in the topic {0}: set kafka.topic to that")]
    OtherJournal(String),
    /// The ledger has no journal of this name.
    #[error("the topic {0} is not this ledger's: no process that started has taken it")]
    NoJournal(String),
    /// What several asked for together has failed, for this reason.
    #[error(transparent)]
    Shared(Arc<LedgerError>),
    /// A thread of the ledger ended early: the process is stopping.
    #[error("the ledger is closing")]
    Closing,
}

impl From<DbErr> for LedgerError {
    fn from(error: DbErr) -> Self {
        match error.sql_err() {
            Some(sea_orm::SqlErr::UniqueConstraintViolation(_)) => Self::Duplicate,
            _ => Self::Database(error),
        }
    }
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Embedded(error)
    }
}

impl From<sqlx::Error> for LedgerError {
    fn from(error: sqlx::Error) -> Self {
        Self::Driver(error)
    }
}

/// Another decider has the word on an event, and the ledger decides nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the event is decided in Redis, and this process was given none: set --redis-url to that of \
     the deployment"
)]
pub struct DecidedElsewhere;

/// A batch of claims has no verdicts.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Nothing of the batch was written; a retry is safe and may win.
    #[error("no claim of the batch was decided: {0}")]
    Unavailable(LedgerError),
    /// Whether the batch was written is not known; a retry finds out.
    #[error("it is not known whether the batch was committed: {0}")]
    InDoubt(LedgerError),
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let cause = || std::io::Error::other("the cause");
        let io = LedgerError::Io { path: "ledger.db".into(), cause: cause() };
        let driver = LedgerError::from(sqlx::Error::Io(cause()));
        let database = LedgerError::from(DbErr::Custom("the cause".to_owned()));
        let embedded = rusqlite::Error::InvalidParameterName("the cause".to_owned());
        for error in [io, driver, database, LedgerError::from(embedded)] {
            assert_eq!(error.to_string().matches("the cause").count(), 1, "{error}");
            assert!(error.source().is_none(), "{error}: a chain would tell it twice");
            let doubt = ClaimError::InDoubt(error);
            assert_eq!(doubt.to_string().matches("the cause").count(), 1, "{doubt}");
            assert!(doubt.source().is_none(), "{doubt}: a chain would tell it twice");
        }
    }
}
