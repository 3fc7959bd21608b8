//! Events: reading them, making them, changing them.

use std::sync::Arc;

use firstcome_core::{Commit, CouponId, EventId, EventRule, EventState, Name, Strategy, Timestamp};
use sea_orm::sea_query::{Condition, Expr, ExprTrait};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};

use uuid::Uuid;

use crate::changes::Changed;
use crate::claim::sqlite::IssuedCounts;
use crate::entity::event::{ActiveModel, Column, Entity};
use crate::records::{event_no, sound};
use crate::write::Transaction;
use crate::{Engine, EventRecord, Ledger, LedgerError, Made, Once, OnceKey};

/// Ids that are asked for at once.
const IDS_MAX: usize = 1_000;

/// An event to be made.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Its id.
    pub id: EventId,
    /// The coupon that it issues; it must exist.
    pub coupon_id: CouponId,
    /// What people call it.
    pub name: Name,
    /// Its quantity and window; nothing issued.
    pub rule: EventRule,
    /// Who decides its claims.
    pub strategy: Strategy,
    /// What must hold a won claim before its answer: the ledger, unless Redis decides.
    pub commit: Commit,
}

/// Which events to list, newest first.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    /// Only those in this state.
    pub state: Option<EventState>,
    /// Only those after this one in the list.
    pub after: Option<EventId>,
    /// At most so many.
    pub limit: u64,
}

impl Ledger {
    /// The event with this id, with what it has issued by now.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn event(&self, id: EventId) -> Result<Option<EventRecord>, LedgerError> {
        let counts = self.issued_live();
        let row = Entity::find().filter(Column::Id.eq(id.as_uuid())).one(self.reader());
        row.await?.map(|row| live(row.try_into()?, &counts)).transpose()
    }

    /// A page of events. Which are sold out may lag behind by what is not settled yet.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn events(&self, query: &EventQuery) -> Result<Vec<EventRecord>, LedgerError> {
        let mut select = Entity::find();
        if let Some(state) = query.state {
            select = select.filter(in_state(state, self.inner.clock.now()));
        }
        if let Some(after) = query.after {
            select = select.filter(Column::Id.lt(after.as_uuid()));
        }
        let counts = self.issued_live();
        let rows = select.order_by_desc(Column::Id).limit(query.limit).all(self.reader());
        rows.await?.into_iter().map(|row| live(row.try_into()?, &counts)).collect()
    }

    /// The versions of those of these events that have issued all that they have.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn sold_out_versions(
        &self,
        ids: &[EventId],
    ) -> Result<Vec<(EventId, u64)>, LedgerError> {
        let counts = self.issued_live();
        let mut versions = Vec::with_capacity(ids.len());
        for ids in ids.chunks(IDS_MAX) {
            let rows = Entity::find()
                .select_only()
                .columns([Column::Id, Column::Version])
                .columns([Column::No, Column::Issued, Column::Quantity])
                .filter(Column::Id.is_in(ids.iter().map(|id| id.as_uuid())))
                .into_tuple::<(Uuid, i64, i64, i64, i64)>()
                .all(self.reader());
            for (id, version, no, issued, quantity) in rows.await? {
                let live = counts.get(&event_no(no)?).map_or(0, |count| i64::from(*count));
                if Ord::max(issued, live) >= quantity {
                    let version = sound(u64::try_from(version), "events.version")?;
                    versions.push((EventId::from_uuid(id), version));
                }
            }
        }
        Ok(versions)
    }

    /// Makes an event; none when there is no such coupon.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn create_event(&self, new: NewEvent) -> Result<Option<EventRecord>, LedgerError> {
        let ledger = self.clone();
        self.spawn(async move {
            let write = ledger.write().await?;
            let Some(made) = ledger.insert_event(write.connection(), new).await? else {
                return Ok(None);
            };
            write.commit().await?;
            Ok(Some(made))
        })
        .await
    }

    /// Makes an event; for a key once, and keeps the answer.
    ///
    /// # Errors
    /// When the ledger does not answer; nothing was made then, unless the commit itself failed: a
    /// retry with the key finds out.
    pub async fn create_event_once(
        &self,
        key: Option<OnceKey>,
        new: NewEvent,
        answer: impl FnOnce(EventRecord) -> Made + Send + 'static,
    ) -> Result<Once, LedgerError> {
        self.once(key, move |ledger, db| {
            let made = ledger.insert_event(db, new);
            Box::pin(async move { Ok(made.await?.map(answer)) })
        })
        .await
    }

    async fn insert_event(
        &self,
        db: &Transaction,
        new: NewEvent,
    ) -> Result<Option<EventRecord>, LedgerError> {
        assert!(
            new.commit == Commit::Ledger || new.strategy == Strategy::Redis,
            "what the ledger decides it commits too"
        );
        let coupon = crate::entity::coupon::Entity::find_by_id(new.coupon_id.as_uuid());
        if coupon.one(db).await?.is_none() {
            return Ok(None);
        }
        let now = self.inner.clock.now();
        let made = Entity::insert(row(&new, now)).exec_with_returning(db).await?;
        let made = EventRecord::try_from(made)?;
        self.tell(db, Changed::event(None, &made, now)).await?;
        Ok(Some(made))
    }

    /// Changes an event: `change` sees it as it is, with everything issued so far, and answers
    /// what it shall be, or refuses. No claim is decided in between, and every claim afterwards
    /// meets the change. Version and time of change are kept here; what `change` writes into id,
    /// number, coupon, strategy, commit, partition, epoch, fence and issued is ignored. None when
    /// there is no such event.
    ///
    /// # Errors
    /// When the ledger does not answer; nothing was changed then, unless the commit itself failed.
    pub async fn change_event<F, E>(
        &self,
        id: EventId,
        change: F,
    ) -> Result<Option<Result<EventRecord, E>>, LedgerError>
    where
        F: FnOnce(EventRecord) -> Result<EventRecord, E> + Send + 'static,
        E: Send + 'static,
    {
        let ledger = self.clone();
        self.spawn(async move {
            let write = ledger.write().await?;
            let counts = ledger.issued_live();
            // On a server no claim of the event is decided until this is committed.
            let found = Entity::find().filter(Column::Id.eq(id.as_uuid())).lock_exclusive();
            let Some(row) = found.one(write.connection()).await? else { return Ok(None) };
            let before = live(row.try_into()?, &counts)?;
            let (version, issued) = (before.version, before.rule.issued);
            let after = match change(before.clone()) {
                Ok(after) => after,
                Err(refusal) => return Ok(Some(Err(refusal))),
            };
            assert!(after.rule.quantity.get() >= issued, "a quantity never falls below issued");
            let rule = EventRule { issued, ..after.rule };
            let updated_at = ledger.inner.clock.now();
            let after = EventRecord { version: version + 1, updated_at, rule, ..after };
            Entity::update_many()
                .set(changed(&after))
                .filter(Column::Id.eq(id.as_uuid()))
                .exec(write.connection())
                .await?;
            let told = Changed::event(Some(&before), &after, updated_at);
            ledger.tell(write.connection(), told).await?;
            write.commit_event(id).await?;
            Ok(Some(Ok(after)))
        })
        .await
    }
}

impl Ledger {
    /// What memory knows of claims that the tables do not show yet; nothing on a server.
    fn issued_live(&self) -> Arc<IssuedCounts> {
        match &self.inner.engine {
            Engine::Embedded(embedded) => embedded.issued_live.snapshot(),
            Engine::Server(_) => Arc::default(),
        }
    }
}

/// The record with what memory knew of its claims before it was read.
fn live(mut record: EventRecord, counts: &IssuedCounts) -> Result<EventRecord, LedgerError> {
    if let Some(issued) = counts.get(&record.no) {
        record.rule.issued = Ord::max(record.rule.issued, *issued);
    }
    if record.rule.issued > record.rule.quantity.get() {
        return Err(LedgerError::Corrupt("an event issued more than it has".to_owned()));
    }
    Ok(record)
}

fn row(new: &NewEvent, now: Timestamp) -> ActiveModel {
    ActiveModel {
        no: NotSet,
        id: Set(new.id.as_uuid()),
        coupon_id: Set(new.coupon_id.as_uuid()),
        name: Set(new.name.as_str().to_owned()),
        quantity: Set(new.rule.quantity.get().into()),
        issued: Set(0),
        opens_at: Set(new.rule.window.opens_at().as_micros()),
        closes_at: Set(new.rule.window.closes_at().as_micros()),
        opened_early: Set(new.rule.opened_early),
        paused: Set(new.rule.paused),
        closed: Set(new.rule.closed),
        strategy: Set(new.strategy.as_str().to_owned()),
        commit_to: Set(new.commit.as_str().to_owned()),
        journal_partition: Set(None),
        // The ledger decides what has no epoch.
        epoch: Set(i64::from(new.strategy == Strategy::Redis)),
        fence: Set(0),
        sync_copied: Set(None),
        sync_told_at: Set(None),
        version: Set(1),
        erased: Set(0),
        created_at: Set(now.as_micros()),
        updated_at: Set(now.as_micros()),
    }
}

/// The columns that a change writes.
fn changed(after: &EventRecord) -> ActiveModel {
    let version = i64::try_from(after.version).expect("one by one, it stays below 2^63");
    ActiveModel {
        name: Set(after.name.as_str().to_owned()),
        quantity: Set(after.rule.quantity.get().into()),
        opens_at: Set(after.rule.window.opens_at().as_micros()),
        closes_at: Set(after.rule.window.closes_at().as_micros()),
        opened_early: Set(after.rule.opened_early),
        paused: Set(after.rule.paused),
        closed: Set(after.rule.closed),
        version: Set(version),
        updated_at: Set(after.updated_at.as_micros()),
        ..<ActiveModel as sea_orm::ActiveModelTrait>::default()
    }
}

/// [`EventRule::state`] in SQL.
fn in_state(state: EventState, now: Timestamp) -> Condition {
    let now = now.as_micros();
    let closed = || Condition::any().add(Column::Closed.eq(true)).add(Column::ClosesAt.lte(now));
    let paused = || Condition::all().add(Column::Paused.eq(true));
    let scheduled =
        || Condition::all().add(Column::OpensAt.gt(now)).add(Column::OpenedEarly.eq(false));
    let sold_out =
        || Condition::all().add(Expr::col(Column::Issued).gte(Expr::col(Column::Quantity)));
    let not_closed = Condition::all().add(closed().not());
    match state {
        EventState::Closed => closed(),
        EventState::Paused => not_closed.add(paused()),
        EventState::Scheduled => not_closed.add(paused().not()).add(scheduled()),
        EventState::SoldOut => {
            not_closed.add(paused().not()).add(scheduled().not()).add(sold_out())
        }
        EventState::Open => {
            not_closed.add(paused().not()).add(scheduled().not()).add(sold_out().not())
        }
    }
}
