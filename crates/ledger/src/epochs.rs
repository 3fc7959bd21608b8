//! Epochs: by whose word an event's coupons are issued, where a decider beside the ledger has it.
//!
//! Whoever rebuilds what a decider knows begins an epoch first. From then on the ledger
//! [records](Ledger::record_wins) nothing by the word of an older one, so that what the ledger
//! holds now is all that there is to know.

use std::collections::HashMap;

use firstcome_core::{
    Commit, EventId, EventNo, IssuedCouponId, Sequence, Strategy, Timestamp, UserId, Validity,
};
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QueryResult, QuerySelect,
};

use crate::entity::{event, issued_coupon};
use crate::records::{self, signed_no, sound};
use crate::{Engine, EventRecord, IssuedCouponRecord, JournalWin, Ledger, LedgerError};

/// Who holds which place of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Winner {
    /// The user, or the pseudonym of one who was erased.
    pub user_id: UserId,
    /// Their place in line.
    pub sequence: Sequence,
}

/// What an event goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The epoch.
    pub epoch: u64,
    /// The epoch before which wins that follow in the journal are void.
    pub fence: u64,
    /// Whether it was paused or closed by hand.
    pub stopped: bool,
    /// Its version.
    pub version: u64,
    /// The version of its coupon.
    pub coupon_version: u64,
    /// Whether the journal that was asked about is the one that the ledger has.
    pub has_journal: bool,
}

impl Ledger {
    /// Begins the epoch that follows this one, and the event as it is then. Waits for what is being
    /// recorded; what comes later by the word of an older epoch is refused. None when there is no
    /// such event, or it goes by another epoch already.
    ///
    /// The new epoch is above every one that its decider `knew`: a ledger that was restored from a
    /// backup may have forgotten some.
    ///
    /// With the number of the journal's partitions it pins the event to one, if it is in none: its
    /// number by that, which never changes again.
    ///
    /// # Errors
    /// When the ledger does not answer. It may have begun then: begin the one after it.
    pub async fn begin_epoch(
        &self,
        id: EventId,
        after: u64,
        knew: u64,
        partitions: Option<u32>,
    ) -> Result<Option<EventRecord>, LedgerError> {
        let ledger = self.clone();
        self.spawn(async move {
            if matches!(ledger.inner.engine, Engine::Embedded(_)) {
                return Err(LedgerError::NotShared);
            }
            let write = ledger.write().await?;
            let found = event::Entity::find().filter(event::Column::Id.eq(id.as_uuid()));
            let Some(row) = found.lock_exclusive().one(write.connection()).await? else {
                return Ok(None);
            };
            let mut record = EventRecord::try_from(row)?;
            if record.epoch != after {
                return Ok(None);
            }
            record.epoch = Ord::max(record.epoch, knew) + 1;
            if let (None, Some(partitions)) = (record.partition, partitions) {
                record.partition = Some(pinned(record.no, partitions));
            }
            let epoch = sound(i64::try_from(record.epoch), "events.epoch")?;
            event::Entity::update_many()
                .col_expr(event::Column::Epoch, epoch.into())
                .col_expr(event::Column::JournalPartition, record.partition.into())
                .filter(event::Column::Id.eq(id.as_uuid()))
                .exec(write.connection())
                .await?;
            write.commit_event(id).await?;
            Ok(Some(record))
        })
        .await
    }

    /// Tells how many winners of an event its decider knows again, for whoever reads the event;
    /// none when it is rebuilt. No version tells of it.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn tell_sync(&self, id: EventId, copied: Option<u32>) -> Result<(), LedgerError> {
        let write = self.write().await?;
        let told_at = copied.map(|_| self.clock().now().as_micros());
        event::Entity::update_many()
            .col_expr(event::Column::SyncCopied, copied.map(i64::from).into())
            .col_expr(event::Column::SyncToldAt, told_at.into())
            .filter(event::Column::Id.eq(id.as_uuid()))
            .exec(write.connection())
            .await?;
        write.commit().await
    }

    /// The epoch that an event goes by at present; none when there is no such event.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn epoch(&self, id: EventId) -> Result<Option<u64>, LedgerError> {
        let epoch = event::Entity::find()
            .select_only()
            .column(event::Column::Epoch)
            .filter(event::Column::Id.eq(id.as_uuid()))
            .into_tuple::<i64>()
            .one(self.reader())
            .await?;
        epoch.map(|epoch| sound(u64::try_from(epoch), "events.epoch")).transpose()
    }

    /// What each of these events goes by at present that there is, in one read that misses nothing
    /// that was committed before it; and whether the ledger has this journal, and no other.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn standings(
        &self,
        ids: &[EventId],
        journal: Option<&str>,
    ) -> Result<HashMap<EventId, Standing>, LedgerError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let ids = ids.iter().map(|id| id.as_uuid());
        // No join: by the statistics of a table that had one row, one that reads all events is as
        // good, and PostgreSQL keeps the plan.
        let coupon_version = Query::select()
            .column("version")
            .from("coupons")
            .and_where(Expr::col(("coupons", "id")).equals(("events", "coupon_id")))
            .take();
        let mut query = Query::select()
            .columns(["id", "epoch", "fence", "paused", "closed", "version"])
            .expr_as(Expr::SubQuery(None, Box::new(coupon_version.into())), "coupon_version")
            .from("events")
            .and_where(Expr::col("id").is_in(ids))
            .take();
        if let Some(journal) = journal {
            let is_other = Expr::case(Expr::col("journal").eq(journal), 0_i64).finally(1_i64);
            let others = Query::select().expr(is_other.max()).from("journal_positions").take();
            query.expr_as(Expr::SubQuery(None, Box::new(others.into())), "others");
        }
        let rows = self.reader().query_all(&query).await?;
        let standing = |row: &QueryResult| {
            let number = |column| -> Result<u64, LedgerError> {
                sound(u64::try_from(row.try_get::<i64>("", column)?), column)
            };
            let is = |column| row.try_get::<bool>("", column);
            let id = EventId::from_uuid(row.try_get("", "id")?);
            let standing = Standing {
                epoch: number("epoch")?,
                fence: number("fence")?,
                stopped: is("paused")? || is("closed")?,
                version: number("version")?,
                coupon_version: number("coupon_version")?,
                has_journal: journal.is_some()
                    && row.try_get::<Option<i64>>("", "others")? == Some(0),
            };
            Ok((id, standing))
        };
        rows.iter().map(standing).collect()
    }

    /// How long coupons of an event are valid that are issued now, and the version of the coupon
    /// that says so.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn validity_of(&self, event: &EventRecord) -> Result<(Validity, u64), LedgerError> {
        let coupon = self.coupon(event.coupon_id).await?;
        let coupon =
            coupon.ok_or_else(|| LedgerError::Corrupt("an event without its coupon".to_owned()))?;
        Ok((coupon.draft.validity, coupon.version))
    }

    /// What the winner holds, or will when the win is applied.
    #[must_use]
    pub fn coupon_of(&self, event: &EventRecord, win: &JournalWin) -> IssuedCouponRecord {
        IssuedCouponRecord {
            id: IssuedCouponId::derive(event.id, &win.user_id),
            event_id: event.id,
            coupon_id: event.coupon_id,
            user_id: win.user_id.clone(),
            sequence: win.sequence,
            code: self.inner.keys.codes.code(event.no, win.sequence),
            issued_at: win.issued_at,
            valid_from: win.valid_from,
            expires_at: win.expires_at,
            used_at: None,
            revoked_at: None,
        }
    }

    /// Events of this strategy and one of these commits that were not over at this moment, or were
    /// changed since, newest first, at most so many: those that another decider than the ledger may
    /// still have something of.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn events_decided_by(
        &self,
        strategy: Strategy,
        commits: &[Commit],
        since: Timestamp,
        limit: u64,
    ) -> Result<Vec<EventRecord>, LedgerError> {
        let since = since.as_micros();
        let by_window = event::Column::Closed.eq(false).and(event::Column::ClosesAt.gt(since));
        // Closed by hand, or by a window whose end was moved into the past.
        let by_change = event::Column::UpdatedAt.gt(since);
        let rows = event::Entity::find()
            .filter(event::Column::Strategy.eq(strategy.as_str()))
            .filter(event::Column::CommitTo.is_in(commits.iter().map(|commit| commit.as_str())))
            .filter(by_window.or(by_change))
            .order_by_desc(event::Column::Id)
            .limit(limit)
            .all(self.reader());
        rows.await?.into_iter().map(EventRecord::try_from).collect()
    }

    /// The highest partition of a journal that an event is in.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn highest_partition(&self) -> Result<Option<i32>, LedgerError> {
        let highest = event::Entity::find()
            .select_only()
            .expr(event::Column::JournalPartition.max())
            .into_tuple::<Option<i32>>();
        Ok(highest.one(self.reader()).await?.flatten())
    }

    /// What this user would stand under, had they been erased.
    #[must_use]
    pub fn pseudonym_of(&self, user: &UserId) -> UserId {
        self.inner.keys.pseudonyms.of(user)
    }

    /// What these users hold of an event, in their order, also those who were erased since.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn held_of(
        &self,
        event: &EventRecord,
        users: &[UserId],
    ) -> Result<Vec<Option<IssuedCouponRecord>>, LedgerError> {
        let names = users.iter().map(|user| user.as_str().to_owned()).collect();
        let mut held = self.held_under(event, names).await?;
        let id = |user| IssuedCouponId::derive(event.id, user);
        let missing = users.iter().filter(|user| !held.contains_key(&id(user)));
        let names: Vec<String> =
            missing.map(|user| self.pseudonym_of(user).as_str().to_owned()).collect();
        if !names.is_empty() {
            held.extend(self.held_under(event, names).await?);
        }
        Ok(users.iter().map(|user| held.get(&id(user)).cloned()).collect())
    }

    async fn held_under(
        &self,
        event: &EventRecord,
        names: Vec<String>,
    ) -> Result<HashMap<IssuedCouponId, IssuedCouponRecord>, LedgerError> {
        let rows = issued_coupon::Entity::find()
            .filter(issued_coupon::Column::EventNo.eq(signed_no(event.no)))
            .filter(issued_coupon::Column::UserId.is_in(names))
            .all(self.reader())
            .await?;
        let codes = &self.inner.keys.codes;
        let record = |row| {
            let record = records::issued_coupon(&row, event.id, event.coupon_id, codes)?;
            Ok((record.id, record))
        };
        rows.into_iter().map(record).collect()
    }

    /// The winners of an event with the next sequences after this one (0 for the first), at most so
    /// many, in their order.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn winners_after(
        &self,
        event: EventNo,
        sequence: u32,
        limit: u64,
    ) -> Result<Vec<Winner>, LedgerError> {
        let rows = issued_coupon::Entity::find()
            .select_only()
            .columns([issued_coupon::Column::UserId, issued_coupon::Column::Sequence])
            .filter(issued_coupon::Column::EventNo.eq(signed_no(event)))
            .filter(issued_coupon::Column::Sequence.gt(sequence))
            .order_by_asc(issued_coupon::Column::Sequence)
            .limit(limit)
            .into_tuple::<(String, i64)>()
            .all(self.reader())
            .await?;
        let winner = |(user, sequence): (String, i64)| {
            Ok(Winner {
                user_id: sound(UserId::parse(&user), "issued_coupons.user_id")?,
                sequence: sound(Sequence::parse(sequence.into()), "issued_coupons.sequence")?,
            })
        };
        rows.into_iter().map(winner).collect()
    }
}

/// The partition of an event among so many.
fn pinned(event: EventNo, partitions: u32) -> i32 {
    let partition = event.get() % u64::from(partitions);
    i32::try_from(partition).expect("Kafka numbers partitions by 31 bits")
}
