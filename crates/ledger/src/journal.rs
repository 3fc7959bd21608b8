//! Journals of won claims outside the ledger: what is in them, and how far they are applied.
//!
//! A journal has partitions, and a partition has records, each at an offset. The ledger keeps the
//! offset of the first record that is not applied, and [applies](Ledger::apply) records in the
//! transaction that moves it: whoever applies a stretch that does not begin there changes nothing.

use firstcome_core::{EventId, Sequence, Timestamp, UserId};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::entity::{journal_position, journal_skip};
use crate::{ClaimError, Engine, Ledger, LedgerError};

/// Most records of a stretch.
pub const STRETCH_RECORDS_MAX: usize = 5_000;

/// A won claim, as it was told to the winner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalWin {
    /// The event.
    pub event_id: EventId,
    /// The epoch of the event in which it was won.
    pub epoch: u64,
    /// Who won.
    pub user_id: UserId,
    /// Their place in line.
    pub sequence: Sequence,
    /// When, by the decider's clock.
    pub issued_at: Timestamp,
    /// From when the coupon can be used.
    pub valid_from: Timestamp,
    /// The first moment at which it can be used no more.
    pub expires_at: Timestamp,
}

/// A record of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalRecord {
    /// A won claim.
    Win(JournalWin),
    /// Wins of the event that follow and are of an older epoch than this one are void: nobody was
    /// told of them.
    Fence {
        /// The event.
        event_id: EventId,
        /// The epoch that counts from here on.
        epoch: u64,
    },
}

/// A stretch of one partition of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch<'a> {
    /// The journal's name, of at most 255 characters.
    pub journal: &'a str,
    /// The partition.
    pub partition: i32,
    /// The offset that follows what is applied.
    pub from: i64,
    /// The offset after its last record.
    pub to: i64,
}

/// What became of a stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It is applied, and durable. Of its wins:
    Done {
        /// So many were written.
        written: u32,
        /// So many were there already.
        known: u32,
        /// So many are void, and nobody was told of them.
        void: u32,
    },
    /// The partition is applied to another offset than the stretch begins with; nothing was
    /// written.
    Elsewhere {
        /// The offset that follows what is applied; none where the partition was never begun.
        next: Option<i64>,
    },
    /// A record cannot be applied. Nothing was written; all that precedes it can be applied.
    Stopped {
        /// Its offset.
        offset: i64,
        /// Why.
        why: Unappliable,
    },
}

/// Why a record cannot be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unappliable {
    /// There is no such event.
    #[error("the ledger has no such event")]
    EventNotFound,
    /// The event is pinned to another partition, or to none.
    #[error("{}", not_pinned_here(*pinned))]
    Partition {
        /// The one that it is pinned to.
        pinned: Option<i32>,
    },
    /// It goes by an epoch that the ledger never began.
    #[error(
        "its epoch is later than the event's, which is {current}, as after a restore of the ledger \
         to an earlier moment"
    )]
    Epoch {
        /// The present one.
        current: u64,
    },
    /// Its place in line is somebody else's.
    #[error("its place in line is another user's")]
    Sequence,
    /// The user has another place in line.
    #[error("its user has another place in line")]
    User,
    /// There would be more than the quantity.
    #[error("the event has issued its whole quantity")]
    Quantity,
}

fn not_pinned_here(pinned: Option<i32>) -> String {
    match pinned {
        Some(pinned) => format!("the wins of its event belong into partition {pinned}"),
        None => "its event keeps its wins in no journal".to_owned(),
    }
}

/// A record that is not applied, by somebody's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedRecord {
    /// The journal's name.
    pub journal: String,
    /// The partition.
    pub partition: i32,
    /// The record's offset.
    pub offset: i64,
    /// Why it was skipped.
    pub reason: String,
    /// The record as it is in the journal, of at most 16 MiB. An erasure empties it: it finds a
    /// user by their id behind a byte with its length.
    pub record: Vec<u8>,
    /// When it was skipped.
    pub skipped_at: Timestamp,
}

impl JournalRecord {
    /// The event that it is of.
    #[must_use]
    pub const fn event_id(&self) -> EventId {
        match self {
            Self::Win(win) => win.event_id,
            Self::Fence { event_id, .. } => *event_id,
        }
    }
}

impl Ledger {
    /// Applies the records of a stretch, at most [`STRETCH_RECORDS_MAX`], each with its offset, in
    /// their order: durable when this returns. To apply them again changes nothing.
    ///
    /// # Errors
    /// [`ClaimError::Unavailable`]: nothing was written. [`ClaimError::InDoubt`]: the
    /// [position](Self::journal_position) tells whether it was. An embedded ledger applies no
    /// journal.
    pub async fn apply(
        &self,
        stretch: Stretch<'_>,
        records: &[(i64, JournalRecord)],
    ) -> Result<Applied, ClaimError> {
        assert!(records.len() <= STRETCH_RECORDS_MAX, "a stretch is bounded");
        assert!(stretch.from < stretch.to, "a stretch goes forward");
        assert!(
            records.is_sorted_by(|(one, _), (next, _)| one < next)
                && records.iter().all(|(at, _)| (stretch.from..stretch.to).contains(at)),
            "records stand in their order within the stretch"
        );
        match &self.inner.engine {
            Engine::Embedded(_) => Err(ClaimError::Unavailable(LedgerError::NotShared)),
            Engine::Server(server) => server.claims.apply(&stretch, records).await,
        }
    }

    /// The offset that follows what is applied of a partition; none where it was never begun.
    ///
    /// # Errors
    /// When the ledger does not answer. [`LedgerError::OtherJournal`], where it was never begun,
    /// and another journal was.
    pub async fn journal_position(
        &self,
        journal: &str,
        partition: i32,
    ) -> Result<Option<i64>, LedgerError> {
        let next = journal_position::Entity::find()
            .select_only()
            .column(journal_position::Column::NextOffset)
            .filter(journal_position::Column::Journal.eq(journal))
            .filter(journal_position::Column::JournalPartition.eq(partition))
            .into_tuple::<i64>();
        if let Some(next) = next.one(self.reader()).await? {
            return Ok(Some(next));
        }
        match self.other_journal(journal).await? {
            Some(other) => Err(LedgerError::OtherJournal(other)),
            None => Ok(None),
        }
    }

    /// The same of every partition that was begun, in the order of the partitions.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn journal_positions(&self, journal: &str) -> Result<Vec<(i32, i64)>, LedgerError> {
        let next = journal_position::Entity::find()
            .select_only()
            .columns([
                journal_position::Column::JournalPartition,
                journal_position::Column::NextOffset,
            ])
            .filter(journal_position::Column::Journal.eq(journal))
            .order_by_asc(journal_position::Column::JournalPartition)
            .into_tuple::<(i32, i64)>();
        Ok(next.all(self.reader()).await?)
    }

    /// Another journal than this one that the ledger has.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn other_journal(&self, journal: &str) -> Result<Option<String>, LedgerError> {
        let other = journal_position::Entity::find()
            .select_only()
            .column(journal_position::Column::Journal)
            .filter(journal_position::Column::Journal.ne(journal))
            .order_by_asc(journal_position::Column::Journal)
            .into_tuple::<String>();
        Ok(other.one(self.reader()).await?)
    }

    /// Makes this a journal of the ledger, with each partition applied to the offset beside it; how
    /// far others are applied stays. One that another process has just taken stays as it is.
    ///
    /// # Errors
    /// When the ledger does not answer; a retry is safe. An embedded ledger applies no journal.
    pub async fn take_journal(
        &self,
        journal: &str,
        positions: &[(i32, i64)],
    ) -> Result<(), LedgerError> {
        self.refuse_embedded()?;
        let position = |&(partition, next_offset): &(i32, i64)| journal_position::ActiveModel {
            journal: Set(journal.to_owned()),
            journal_partition: Set(partition),
            next_offset: Set(next_offset),
        };
        let positions: Vec<_> = positions.iter().map(position).collect();
        let ledger = self.clone();
        let taken = self.spawn(async move {
            let write = ledger.write().await?;
            let insert = journal_position::Entity::insert_many(positions);
            insert.exec_without_returning(write.connection()).await?;
            write.commit().await
        });
        match taken.await {
            Err(LedgerError::Duplicate) => Ok(()),
            taken => taken,
        }
    }

    /// Forgets how far a journal is applied, which is told for each partition: from then on it is
    /// not the ledger's.
    ///
    /// # Errors
    /// When the ledger does not answer. An embedded ledger applies no journal.
    pub async fn forget_journal(&self, journal: &str) -> Result<Vec<(i32, i64)>, LedgerError> {
        self.refuse_embedded()?;
        let (ledger, name) = (self.clone(), journal.to_owned());
        let forgotten = self.spawn(async move {
            let write = ledger.write().await?;
            let of_journal = journal_position::Column::Journal.eq(name);
            let positions = journal_position::Entity::find()
                .filter(of_journal.clone())
                .order_by_asc(journal_position::Column::JournalPartition)
                .lock_exclusive()
                .all(write.connection())
                .await?;
            journal_position::Entity::delete_many()
                .filter(of_journal)
                .exec(write.connection())
                .await?;
            write.commit().await?;
            Ok(positions)
        });
        let positions = forgotten.await?.into_iter();
        Ok(positions.map(|it| (it.journal_partition, it.next_offset)).collect())
    }

    /// Begins a partition of the ledger's journal at its first offset, if it was never begun; the
    /// offset that follows what is applied.
    ///
    /// # Errors
    /// As [`journal_position`](Self::journal_position)'s, and [`LedgerError::NoJournal`] where the
    /// journal was not [taken](Self::take_journal); a retry is safe. An embedded ledger applies no
    /// journal.
    pub async fn begin_journal(&self, journal: &str, partition: i32) -> Result<i64, LedgerError> {
        self.refuse_embedded()?;
        if let Some(next) = self.journal_position(journal, partition).await? {
            return Ok(next);
        }
        if self.journal_positions(journal).await?.is_empty() {
            return Err(LedgerError::NoJournal(journal.to_owned()));
        }
        self.take_journal(journal, &[(partition, 0)]).await?;
        // Another process may have begun it just now, and applied something.
        let next = self.journal_position(journal, partition).await?;
        next.ok_or_else(|| LedgerError::NoJournal(journal.to_owned()))
    }

    /// Moves the position of a partition past one record that cannot be applied, and keeps what it
    /// was and why it was skipped; of one that was skipped before, what is told now. False, and
    /// nothing is written, where the partition is applied to another offset than the record's: also
    /// when the answer to this call was lost before.
    ///
    /// # Errors
    /// When the ledger does not answer. An embedded ledger applies no journal.
    pub async fn skip_record(&self, skip: SkippedRecord) -> Result<bool, LedgerError> {
        self.refuse_embedded()?;
        let ledger = self.clone();
        self.spawn(async move {
            let write = ledger.write().await?;
            let moved = journal_position::Entity::update_many()
                .col_expr(journal_position::Column::NextOffset, (skip.offset + 1).into())
                .filter(journal_position::Column::Journal.eq(&skip.journal))
                .filter(journal_position::Column::JournalPartition.eq(skip.partition))
                .filter(journal_position::Column::NextOffset.eq(skip.offset))
                .exec(write.connection())
                .await?;
            if moved.rows_affected == 0 {
                return Ok(false);
            }
            let row = journal_skip::ActiveModel {
                journal: Set(skip.journal),
                journal_partition: Set(skip.partition),
                record_offset: Set(skip.offset),
                reason: Set(skip.reason),
                record: Set(skip.record),
                skipped_at: Set(skip.skipped_at.as_micros()),
            };
            // It may have been skipped before the journal was forgotten, and taken again.
            let again = OnConflict::columns([
                journal_skip::Column::Journal,
                journal_skip::Column::JournalPartition,
                journal_skip::Column::RecordOffset,
            ])
            .update_columns([
                journal_skip::Column::Reason,
                journal_skip::Column::Record,
                journal_skip::Column::SkippedAt,
            ])
            .to_owned();
            let insert = journal_skip::Entity::insert(row).on_conflict(again);
            insert.exec_without_returning(write.connection()).await?;
            write.commit().await?;
            Ok(true)
        })
        .await
    }

    /// The records of a journal that were skipped, in the order of partitions and offsets.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn skipped_records(&self, journal: &str) -> Result<Vec<SkippedRecord>, LedgerError> {
        let rows = journal_skip::Entity::find()
            .filter(journal_skip::Column::Journal.eq(journal))
            .order_by_asc(journal_skip::Column::JournalPartition)
            .order_by_asc(journal_skip::Column::RecordOffset)
            .all(self.reader());
        let skipped = |row: journal_skip::Model| SkippedRecord {
            journal: row.journal,
            partition: row.journal_partition,
            offset: row.record_offset,
            reason: row.reason,
            record: row.record,
            skipped_at: Timestamp::from_micros(row.skipped_at),
        };
        Ok(rows.await?.into_iter().map(skipped).collect())
    }

    fn refuse_embedded(&self) -> Result<(), LedgerError> {
        match &self.inner.engine {
            Engine::Embedded(_) => Err(LedgerError::NotShared),
            Engine::Server(_) => Ok(()),
        }
    }
}
