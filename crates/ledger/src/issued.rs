//! Issued coupons: the holder's, the event's, and taking one back.
//!
//! Every read settles first what it is about to read, so that it sees each won claim.

use firstcome_core::{
    Code, CouponId, EventId, EventNo, IssuedCouponId, IssuedState, Label, Redemption, Sequence,
    Timestamp, UserId,
};
use futures_util::{Stream, stream};
use sea_orm::sea_query::{Condition, Expr, ExprTrait, IntoCondition};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect, Select,
};

use crate::changes::Changed;
use crate::coupons::signed;
use crate::entity::issued_coupon::{ActiveModel, Column, Entity};
use crate::holders::{Row, Wanted, wanted, with_event};
use crate::records;
use crate::{IssuedCouponRecord, Ledger, LedgerError, redemptions};

/// Rows that a stream reads at once; bounds its memory.
const STREAM_ROWS: u64 = 1_000;

/// Which of a user's issued coupons to list, newest first.
#[derive(Debug, Clone)]
pub struct IssuedQuery {
    /// Whose.
    pub user_id: UserId,
    /// Only those in this state at `now`.
    pub state: Option<IssuedState>,
    /// When the states are told.
    pub now: Timestamp,
    /// Only those after this place in the list.
    pub after: Option<IssuedPlace>,
    /// At most so many.
    pub limit: u64,
}

/// The place of an issued coupon in the list of its holder's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IssuedPlace {
    /// When it was issued.
    pub issued_at: Timestamp,
    /// Which, of those issued at that moment.
    pub id: IssuedCouponId,
}

impl Ledger {
    /// The issued coupon of this user with this id.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn issued_coupon_of(
        &self,
        user: &UserId,
        id: IssuedCouponId,
    ) -> Result<Option<IssuedCouponRecord>, LedgerError> {
        self.settle_user(user).await?;
        let db = self.reader();
        let theirs = wanted(db.get_database_backend(), Wanted::Of(user));
        self.find_one(theirs.filter(Column::Id.eq(id.as_uuid()))).await
    }

    /// What this user has won of this event.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn issued_coupon_claimed(
        &self,
        event: EventId,
        user: &UserId,
    ) -> Result<Option<IssuedCouponRecord>, LedgerError> {
        self.settle_user(user).await?;
        let backend = self.reader().get_database_backend();
        self.find_one(wanted(backend, Wanted::Claimed(event, user))).await
    }

    /// The issued coupon with this code.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn issued_coupon_by_code(
        &self,
        code: Code,
    ) -> Result<Option<IssuedCouponRecord>, LedgerError> {
        let Some((event, sequence)) = self.inner.keys.codes.place(code) else { return Ok(None) };
        let place = with_event()
            .filter(Column::EventNo.eq(signed(event.get())))
            .filter(Column::Sequence.eq(sequence.get()));
        if let Some(found) = self.find_one(place.clone()).await? {
            return Ok(Some(found));
        }
        self.settle_event(event).await?;
        self.find_one(place).await
    }

    /// A page of a user's issued coupons.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn issued_coupons_of(
        &self,
        query: &IssuedQuery,
    ) -> Result<Vec<IssuedCouponRecord>, LedgerError> {
        self.settle_user(&query.user_id).await?;
        let mut filter = Condition::all();
        if let Some(state) = query.state {
            filter = filter.add(in_state(state, query.now));
        }
        if let Some(after) = query.after {
            let issued_at = after.issued_at.as_micros();
            let older = Column::IssuedAt.lt(issued_at).or(Column::Id.lt(after.id.as_uuid()));
            filter = filter.add(Column::IssuedAt.lte(issued_at)).add(older);
        }
        let backend = self.reader().get_database_backend();
        let select = wanted(backend, Wanted::Of(&query.user_id))
            .filter(filter)
            .order_by_desc(Column::IssuedAt)
            .order_by_desc(Column::Id)
            .limit(query.limit);
        self.find_all(select).await
    }

    /// A page of at most `limit` of what an event has issued, by sequence, from above `after`.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn issued_coupons_of_event(
        &self,
        event: EventNo,
        after: Option<Sequence>,
        limit: u64,
    ) -> Result<Vec<IssuedCouponRecord>, LedgerError> {
        self.settle_event(event).await?;
        self.find_all(by_sequence(event, after, limit)).await
    }

    /// All that an event has issued by now, by sequence, in chunks: however many, the memory is
    /// that of one chunk. No read lasts longer than a chunk.
    pub fn issued_coupons_stream(
        &self,
        event: EventNo,
    ) -> impl Stream<Item = Result<Vec<IssuedCouponRecord>, LedgerError>> + Send + use<> {
        let ledger = self.clone();
        stream::try_unfold(Reading::NotBegun, move |reading| {
            let ledger = ledger.clone();
            async move {
                let after = match reading {
                    Reading::NotBegun => {
                        ledger.settle_event(event).await?;
                        None
                    }
                    Reading::After(sequence) => Some(sequence),
                    Reading::Ended => return Ok(None),
                };
                let chunk = ledger.find_all(by_sequence(event, after, STREAM_ROWS)).await?;
                let next = match chunk.last() {
                    Some(last) if chunk.len() as u64 == STREAM_ROWS => {
                        Reading::After(last.sequence)
                    }
                    Some(_) => Reading::Ended,
                    None => return Ok(None),
                };
                Ok(Some((chunk, next)))
            }
        })
    }

    /// Takes an issued coupon back for good; one that is taken back already stays as it is. None
    /// when there is no such coupon; refused with the redemption when it is used.
    ///
    /// # Errors
    /// When the ledger does not answer; nothing was changed then, unless the commit itself failed.
    pub async fn revoke(
        &self,
        id: IssuedCouponId,
        reason: Label,
    ) -> Result<Option<Result<IssuedCouponRecord, Redemption>>, LedgerError> {
        let ledger = self.clone();
        self.spawn(async move {
            ledger.settle_coupon(id).await?;
            let write = ledger.write().await?;
            let db = write.connection();
            let locked = ledger.lock_issued(db, Wanted::Id(id), id).await?;
            let Some(locked) = locked else { return Ok(None) };
            let now = ledger.inner.clock.now();
            match locked.record.state(now) {
                IssuedState::Revoked => return Ok(Some(Ok(locked.record))),
                IssuedState::Used => {
                    return Ok(Some(Err(redemptions::active(db, id).await?)));
                }
                IssuedState::Issued | IssuedState::Expired => {}
            }
            let revoked = ActiveModel {
                revoked_at: Set(Some(now.as_micros())),
                revoke_reason: Set(Some(reason.as_str().to_owned())),
                ..<ActiveModel as ActiveModelTrait>::default()
            };
            locked.change_unused(db, revoked).await?;
            ledger.tell(db, Changed::revoked(&locked.record, now, &reason)).await?;
            write.commit().await?;
            Ok(Some(Ok(IssuedCouponRecord { revoked_at: Some(now), ..locked.record })))
        })
        .await
    }

    /// The issued coupon with this id among those that are wanted; nobody else changes it until the
    /// transaction ends.
    pub(crate) async fn lock_issued(
        &self,
        db: &impl ConnectionTrait,
        among: Wanted<'_>,
        id: IssuedCouponId,
    ) -> Result<Option<Locked>, LedgerError> {
        let found = wanted(db.get_database_backend(), among).filter(Column::Id.eq(id.as_uuid()));
        let Some(found) = found.into_model::<Row>().one(db).await? else { return Ok(None) };
        let place = (found.issued.event_no, found.issued.sequence);
        // The row alone: its event's is what claims wait for.
        let row = Entity::find_by_id(place).lock_exclusive().one(db).await?;
        let gone = || LedgerError::Corrupt("an issued coupon has gone".to_owned());
        let record = self.record(&Row { issued: row.ok_or_else(gone)?, ..found })?;
        Ok(Some(Locked { place, record }))
    }

    async fn find_one(
        &self,
        select: Select<Entity>,
    ) -> Result<Option<IssuedCouponRecord>, LedgerError> {
        let found = select.into_model::<Row>().one(self.reader()).await?;
        found.map(|row| self.record(&row)).transpose()
    }

    async fn find_all(
        &self,
        select: Select<Entity>,
    ) -> Result<Vec<IssuedCouponRecord>, LedgerError> {
        let rows = select.into_model::<Row>().all(self.reader()).await?;
        rows.iter().map(|row| self.record(row)).collect()
    }

    fn record(&self, row: &Row) -> Result<IssuedCouponRecord, LedgerError> {
        let event_id = EventId::from_uuid(row.event_id);
        let coupon_id = CouponId::from_uuid(row.coupon_id);
        records::issued_coupon(&row.issued, event_id, coupon_id, &self.inner.keys.codes)
    }
}

/// An issued coupon within the transaction that has locked it.
pub(crate) struct Locked {
    place: (i64, i64),
    pub(crate) record: IssuedCouponRecord,
}

impl Locked {
    /// Changes its row, which was seen to be neither used nor revoked.
    pub(crate) async fn change_unused(
        &self,
        db: &impl ConnectionTrait,
        changed: ActiveModel,
    ) -> Result<(), LedgerError> {
        let unused = Column::UsedAt.is_null().and(Column::RevokedAt.is_null());
        self.change(db, changed, unused).await
    }

    /// Changes its row, which was seen to be used.
    pub(crate) async fn change_used(
        &self,
        db: &impl ConnectionTrait,
        changed: ActiveModel,
    ) -> Result<(), LedgerError> {
        self.change(db, changed, Column::UsedAt.is_not_null()).await
    }

    async fn change(
        &self,
        db: &impl ConnectionTrait,
        changed: ActiveModel,
        seen: Expr,
    ) -> Result<(), LedgerError> {
        let (event_no, sequence) = self.place;
        let changed = Entity::update_many()
            .set(changed)
            .filter(Column::EventNo.eq(event_no))
            .filter(Column::Sequence.eq(sequence))
            .filter(seen)
            .exec(db)
            .await?;
        assert!(changed.rows_affected == 1, "it was seen so within the same transaction");
        Ok(())
    }
}

/// How far a stream has come.
enum Reading {
    NotBegun,
    After(Sequence),
    Ended,
}

fn by_sequence(event: EventNo, after: Option<Sequence>, limit: u64) -> Select<Entity> {
    let event = Column::EventNo.eq(signed(event.get()));
    let above = Column::Sequence.gt(after.map_or(0, Sequence::get));
    with_event().filter(event.and(above)).order_by_asc(Column::Sequence).limit(limit)
}

/// [`firstcome_core::IssuedRule::state`] in SQL.
fn in_state(state: IssuedState, now: Timestamp) -> Condition {
    let unused = || Condition::all().add(Column::UsedAt.is_null()).add(Column::RevokedAt.is_null());
    match state {
        IssuedState::Revoked => Column::RevokedAt.is_not_null().into_condition(),
        IssuedState::Used => {
            let used = Condition::all().add(Column::UsedAt.is_not_null());
            used.add(Column::RevokedAt.is_null())
        }
        IssuedState::Expired => unused().add(Column::ExpiresAt.lte(now.as_micros())),
        IssuedState::Issued => unused().add(Column::ExpiresAt.gt(now.as_micros())),
    }
}
