//! The two ends of a copy: a source that stands still, a target in one transaction.

use std::fs::File;
use std::sync::Arc;

use firstcome_core::Clock;
use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    IsolationLevel, TransactionTrait,
};

use super::CopiedTable;
use super::tables::TABLES;
use crate::claim::sqlite::{blocking, checkpoint};
use crate::embedded::{self, Embedded};
use crate::in_time::Trouble;
use crate::migration::LIST_ALL;
use crate::open::Place;
use crate::server::{Address, Session};
use crate::write::Write;
use crate::{LedgerError, LedgerOptions, Limits, Purpose};

/// Makes PostgreSQL read by the keys, whatever its statistics say of tables that were empty a
/// moment ago.
const BY_KEY_ON_POSTGRES: &str = "SET LOCAL enable_seqscan = off; \
                                  SET LOCAL enable_bitmapscan = off; \
                                  SET LOCAL enable_sort = off";
/// Makes PostgreSQL number events after the highest there is; the other databases do by themselves.
const NUMBERS_ON_POSTGRES: &str = "SELECT setval(pg_get_serial_sequence('events', 'no'), max(no)) \
                                   FROM events HAVING count(*) > 0";

/// Where the rows of one end are read or written.
pub(super) struct End<'a> {
    pub(super) db: &'a DatabaseTransaction,
    place: &'a Place,
}

impl End<'_> {
    /// Says which database it was that did not do its work.
    pub(super) fn fault(&self, error: DbErr) -> LedgerError {
        self.place.fault(error.into())
    }

    /// The refusal of a target that has rows in this table.
    pub(super) fn not_empty(&self, table: &'static str) -> LedgerError {
        LedgerError::CopyTargetNotEmpty { at: self.place.shown(), table }
    }

    /// What it means that rows of this table could not be written.
    pub(super) fn not_written(&self, error: DbErr, table: &'static str) -> LedgerError {
        match self.fault(error) {
            // It was empty: somebody else is writing there.
            LedgerError::Duplicate => self.not_empty(table),
            other => other,
        }
    }
}

/// What is copied.
pub(super) struct Source {
    place: Place,
    held: Held,
}

/// What makes a source stand still.
enum Held {
    /// The lock of the data keeps servers out, and an open transaction whoever else would write.
    Embedded { ledger: Arc<Embedded>, turn: Write },
    /// A transaction sees one moment; what is written after it is found out before the end.
    Server { db: DatabaseConnection, snapshot: DatabaseTransaction },
}

impl Source {
    pub(super) async fn open(
        options: &LedgerOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, LedgerError> {
        let place = options.place.clone();
        let held = match &place {
            Place::File(path) => {
                let missing = |cause| LedgerError::Io { path: path.clone(), cause };
                std::fs::metadata(path).map_err(missing)?;
                let opened = Embedded::open(path, Purpose::Serve, 1, clock).await;
                let (ledger, _) = opened.map_err(|error| in_use(&place, error))?;
                let turn = ledger.write_settled().await.map_err(|error| place.fault(error))?;
                Held::Embedded { ledger, turn }
            }
            Place::Server(address) => {
                address.check(&options.limits).await?;
                address.bring_up(&options.limits, Purpose::Visit).await?;
                let (db, snapshot) = moment(address, &options.limits).await?;
                Held::Server { db, snapshot }
            }
        };
        Ok(Self { place, held })
    }

    pub(super) const fn end(&self) -> End<'_> {
        let db = match &self.held {
            Held::Embedded { turn, .. } => turn.connection().inner(),
            Held::Server { snapshot, .. } => snapshot,
        };
        End { db, place: &self.place }
    }

    pub(super) async fn close(self) -> Result<(), LedgerError> {
        match self.held {
            Held::Embedded { ledger, turn } => {
                drop(turn);
                ledger.close().await
            }
            Held::Server { db, snapshot, .. } => {
                drop(snapshot);
                Ok(db.close().await?)
            }
        }
    }
}

/// Refuses a source that has other rows by now than were copied.
pub(super) async fn refuse_changes(
    source: &LedgerOptions,
    copied: &[CopiedTable],
) -> Result<(), LedgerError> {
    let Place::Server(address) = &source.place else { return Ok(()) };
    let (db, now) = moment(address, &source.limits).await?;
    let end = End { db: &now, place: &source.place };
    for (table, copied) in TABLES.iter().zip(copied) {
        if table.count(&end).await? != copied.copied {
            let (at, table) = (source.shown(), table.name());
            return Err(LedgerError::CopySourceChanged { at, table });
        }
    }
    drop(now);
    db.close().await.ok();
    Ok(())
}

/// Says what to do about a process that holds the lock of the data.
fn in_use(place: &Place, error: LedgerError) -> LedgerError {
    match error {
        LedgerError::InUse { .. } => LedgerError::CopyInUse { at: place.shown() },
        other => other,
    }
}

/// A transaction that sees the database as it is at one moment.
async fn moment(
    address: &Address,
    limits: &Limits,
) -> Result<(DatabaseConnection, DatabaseTransaction), LedgerError> {
    let fault = |error: DbErr| address.unusable(error.into());
    let db = address.pool(Session::Migrate, 1, limits, &Trouble::default());
    let (isolation, access) = (IsolationLevel::RepeatableRead, AccessMode::ReadOnly);
    let moment = db.begin_with_config(Some(isolation), Some(access)).await.map_err(fault)?;
    read_by_key(&moment).await.map_err(fault)?;
    Ok((db, moment))
}

/// What is copied to.
pub(super) struct Target {
    place: Place,
    db: DatabaseConnection,
    transaction: DatabaseTransaction,
    /// The lock of an embedded ledger's data.
    _lock: Option<File>,
}

impl Target {
    /// Makes and migrates the target, and begins the one transaction.
    pub(super) async fn open(options: &LedgerOptions) -> Result<Self, LedgerError> {
        let place = options.place.clone();
        let fault = |error: DbErr| place.fault(error.into());
        let (db, lock) = match &place {
            Place::File(path) => {
                let prepared = embedded::prepare(path).await;
                let (db, lock) = prepared.map_err(|error| in_use(&place, error))?;
                (db, Some(lock))
            }
            Place::Server(address) => {
                let limits = &options.limits;
                address.check(limits).await?;
                address.bring_up(limits, Purpose::Serve).await?;
                (address.pool(Session::Migrate, 1, limits, &Trouble::default()), None)
            }
        };
        let begun = db.begin_with_options(embedded::immediate()).await;
        let transaction = begun.map_err(fault)?;
        read_by_key(&transaction).await.map_err(fault)?;
        Ok(Self { place, db, transaction, _lock: lock })
    }

    pub(super) const fn end(&self) -> End<'_> {
        End { db: &self.transaction, place: &self.place }
    }

    /// Does what follows from the rows: the next event gets a number of its own, and on a server
    /// every winner is listed by holder.
    pub(super) async fn complete(&self) -> Result<(), LedgerError> {
        let statements: &[&str] = match self.transaction.get_database_backend() {
            DbBackend::Postgres => &[NUMBERS_ON_POSTGRES, LIST_ALL],
            DbBackend::Sqlite => &[],
            _ => &[LIST_ALL],
        };
        for statement in statements {
            let done = self.transaction.execute_unprepared(statement).await;
            done.map_err(|error| self.place.fault(error.into()))?;
        }
        Ok(())
    }

    /// Keeps what was written.
    pub(super) async fn commit(self) -> Result<(), LedgerError> {
        let place = self.place;
        self.transaction.commit().await.map_err(|error| place.fault(error.into()))?;
        // It is kept: what follows only tidies up.
        self.db.close().await.ok();
        if let Place::File(path) = place {
            blocking(move || checkpoint(&path)).await.ok();
        }
        Ok(())
    }

    /// Keeps nothing of what was written.
    pub(super) async fn abandon(self) {
        // A transaction that cannot be rolled back ends with its connection.
        self.transaction.rollback().await.ok();
        self.db.close().await.ok();
    }
}

async fn read_by_key(db: &DatabaseTransaction) -> Result<(), DbErr> {
    if db.get_database_backend() == DbBackend::Postgres {
        db.execute_unprepared(BY_KEY_ON_POSTGRES).await?;
    }
    Ok(())
}
