//! Copying a ledger whole, from one database to another.
//!
//! The source is at rest or read at one moment; the target is empty, and all of it is written in
//! one transaction, which is committed only after every row was read back and found the same.
//!
//! In reading order: this file, [`ends`] (how source and target are opened), [`tables`] (the rows).

mod ends;
mod tables;

use std::sync::Arc;

use firstcome_core::Clock;

use crate::{Ledger, LedgerError, LedgerOptions};

use ends::{End, Source, Target, refuse_changes};
use tables::{TABLES, Table};

/// How far a copy has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyProgress {
    /// The table at work.
    pub table: &'static str,
    /// Rows that are done; each is copied once and verified once.
    pub rows_done: u64,
    /// Rows to do: twice those of the source.
    pub rows_total: u64,
}

/// What a copy did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyReport {
    /// Every table, in the order of copying.
    pub tables: Vec<CopiedTable>,
}

/// What a copy did with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopiedTable {
    /// Its name.
    pub name: &'static str,
    /// Rows that were written to the target.
    pub copied: u64,
    /// Rows that were read back from the target and are those of the source, column by column.
    pub verified: u64,
}

/// Who hears of the progress.
type Tell<'a> = &'a mut (dyn FnMut(u64) + Send);

impl Ledger {
    /// Copies everything from one ledger to another, secrets and numbers included, so that codes,
    /// cursors and verdicts are the same there. The target is made and migrated, and must be empty.
    ///
    /// An embedded source is held as a serving process holds it, migrated, and settled first. On a
    /// server nothing holds other processes off: all that serve from the source must be stopped.
    ///
    /// # Errors
    /// When source or target cannot be used; [`LedgerError::CopySame`],
    /// [`LedgerError::CopyInUse`], [`LedgerError::CopyTargetNotEmpty`],
    /// [`LedgerError::CopySourceChanged`] and [`LedgerError::CopyDiffers`]. No row is kept in the
    /// target then, unless its commit itself failed.
    pub async fn copy(
        from: &LedgerOptions,
        to: &LedgerOptions,
        clock: Arc<dyn Clock>,
        mut progress: impl FnMut(CopyProgress) + Send,
    ) -> Result<CopyReport, LedgerError> {
        if from.place.is_same(&to.place) {
            return Err(LedgerError::CopySame { at: from.shown() });
        }
        let source = Source::open(from, clock).await?;
        let copied = copy_from(source.end(), from, to, &mut progress).await;
        // All that counts was settled when it was opened.
        source.close().await.ok();
        copied
    }
}

async fn copy_from(
    source: End<'_>,
    from: &LedgerOptions,
    to: &LedgerOptions,
    progress: &mut (dyn FnMut(CopyProgress) + Send),
) -> Result<CopyReport, LedgerError> {
    let target = Target::open(to).await?;
    let filled = match fill(&source, &target, progress).await {
        Ok(report) => refuse_changes(from, &report.tables).await.map(|()| report),
        Err(error) => Err(error),
    };
    match filled {
        Ok(report) => target.commit().await.map(|()| report),
        Err(error) => {
            target.abandon().await;
            Err(error)
        }
    }
}

/// Writes every row of the source to the target and verifies it, within the target's transaction.
async fn fill(
    from: &End<'_>,
    target: &Target,
    progress: &mut (dyn FnMut(CopyProgress) + Send),
) -> Result<CopyReport, LedgerError> {
    let to = target.end();
    for table in TABLES {
        if table.count(&to).await? > 0 {
            return Err(to.not_empty(table.name()));
        }
    }
    let mut rows_total = 0;
    for table in TABLES {
        rows_total += 2 * table.count(from).await?;
    }
    let mut rows_done = 0;
    let mut tell = |table, rows| {
        rows_done += rows;
        progress(CopyProgress { table, rows_done, rows_total });
    };
    let mut tables = Vec::with_capacity(TABLES.len());
    for table in TABLES {
        let name = table.name();
        let copied = table.copy(from, &to, &mut |rows| tell(name, rows)).await?;
        tables.push(CopiedTable { name, copied, verified: 0 });
    }
    target.complete().await?;
    for (table, done) in TABLES.iter().zip(&mut tables) {
        let name = table.name();
        done.verified = table.verify(from, &to, &mut |rows| tell(name, rows)).await?;
        refuse_other_count(*table, done, table.count(&to).await?)?;
    }
    Ok(CopyReport { tables })
}

/// Refuses a table whose rows, counted by the target itself, are not those that were verified.
fn refuse_other_count(
    table: &dyn Table,
    done: &CopiedTable,
    counted: u64,
) -> Result<(), LedgerError> {
    if counted == done.copied && counted == done.verified {
        return Ok(());
    }
    let CopiedTable { copied, verified, .. } = done;
    Err(LedgerError::CopyDiffers {
        table: table.name(),
        row: "count".to_owned(),
        what: format!("{copied} rows were copied, {verified} verified, and {counted} are there"),
    })
}
