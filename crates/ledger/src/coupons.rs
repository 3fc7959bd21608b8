//! Coupons: reading them, making them, changing them.

use firstcome_core::{Benefit, CouponDraft, CouponId, Label, Timestamp, Validity};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};

use crate::changes::Changed;
use crate::entity::coupon::{ActiveModel, Column, Entity};
use crate::write::Transaction;
use crate::{CouponRecord, Ledger, LedgerError, Made, Once, OnceKey};

impl Ledger {
    /// The coupon with this id.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn coupon(&self, id: CouponId) -> Result<Option<CouponRecord>, LedgerError> {
        let row = Entity::find_by_id(id.as_uuid()).one(self.reader()).await?;
        row.map(CouponRecord::try_from).transpose()
    }

    /// A page of at most `limit` coupons, newest first, from below `after`.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn coupons(
        &self,
        after: Option<CouponId>,
        limit: u64,
    ) -> Result<Vec<CouponRecord>, LedgerError> {
        let mut select = Entity::find();
        if let Some(after) = after {
            select = select.filter(Column::Id.lt(after.as_uuid()));
        }
        let rows = select.order_by_desc(Column::Id).limit(limit).all(self.reader()).await?;
        rows.into_iter().map(CouponRecord::try_from).collect()
    }

    /// Makes a coupon.
    ///
    /// # Errors
    /// When the ledger does not answer; [`LedgerError::Duplicate`] when the id is taken.
    pub async fn create_coupon(
        &self,
        id: CouponId,
        draft: CouponDraft,
    ) -> Result<CouponRecord, LedgerError> {
        let ledger = self.clone();
        self.spawn(async move {
            let write = ledger.write().await?;
            let made = ledger.insert_coupon(write.connection(), id, draft).await?;
            write.commit().await?;
            Ok(made)
        })
        .await
    }

    /// Makes a coupon; for a key once, and keeps the answer.
    ///
    /// # Errors
    /// When the ledger does not answer; nothing was made then, unless the commit itself failed: a
    /// retry with the key finds out.
    pub async fn create_coupon_once(
        &self,
        key: Option<OnceKey>,
        id: CouponId,
        draft: CouponDraft,
        answer: impl FnOnce(CouponRecord) -> Made + Send + 'static,
    ) -> Result<Once, LedgerError> {
        self.once(key, move |ledger, db| {
            let made = ledger.insert_coupon(db, id, draft);
            Box::pin(async move { Ok(Some(answer(made.await?))) })
        })
        .await
    }

    async fn insert_coupon(
        &self,
        db: &Transaction,
        id: CouponId,
        draft: CouponDraft,
    ) -> Result<CouponRecord, LedgerError> {
        let now = self.inner.clock.now();
        let made = CouponRecord { id, draft, version: 1, created_at: now, updated_at: now };
        let row = ActiveModel {
            id: Set(id.as_uuid()),
            created_at: Set(now.as_micros()),
            ..written(&made)
        };
        Entity::insert(row).exec_without_returning(db).await?;
        self.tell(db, Changed::coupon(None, &made)).await?;
        Ok(made)
    }

    /// Changes a coupon: `change` sees it as it is and answers what it shall be, or refuses.
    /// Coupons that are issued already keep their dates; every later claim meets the change, as
    /// does every later redemption. None when there is no such coupon.
    ///
    /// # Errors
    /// When the ledger does not answer; nothing was changed then, unless the commit itself failed.
    pub async fn change_coupon<F, E>(
        &self,
        id: CouponId,
        change: F,
    ) -> Result<Option<Result<CouponRecord, E>>, LedgerError>
    where
        F: FnOnce(&CouponRecord) -> Result<CouponDraft, E> + Send + 'static,
        E: Send + 'static,
    {
        let ledger = self.clone();
        self.spawn(async move {
            let write = ledger.write().await?;
            let found = Entity::find_by_id(id.as_uuid()).lock_exclusive();
            let found = found.one(write.connection()).await?;
            let Some(before) = found.map(CouponRecord::try_from).transpose()? else {
                return Ok(None);
            };
            let draft = match change(&before) {
                Ok(draft) => draft,
                Err(refusal) => return Ok(Some(Err(refusal))),
            };
            let updated_at = ledger.inner.clock.now();
            let version = before.version + 1;
            let after = CouponRecord { draft, version, updated_at, ..before.clone() };
            Entity::update_many()
                .set(written(&after))
                .filter(Column::Id.eq(id.as_uuid()))
                .exec(write.connection())
                .await?;
            ledger.tell(write.connection(), Changed::coupon(Some(&before), &after)).await?;
            // What decides claims keeps each coupon's validity beside its events.
            write.commit_all_events().await?;
            Ok(Some(Ok(after)))
        })
        .await
    }
}

/// The columns that a change writes.
pub(crate) fn written(coupon: &CouponRecord) -> ActiveModel {
    let (amount, percent, max_amount, currency) = match &coupon.draft.benefit {
        Benefit::Amount { amount, currency } => (Some(signed(amount.get())), None, None, currency),
        Benefit::Percent { percent, max_amount, currency } => {
            let percent = i32::try_from(percent.get()).expect("at most 100");
            let max_amount = max_amount.map(|amount| signed(amount.get()));
            (None, Some(percent), max_amount, currency)
        }
    };
    let (valid_from, valid_until, valid_days) = match coupon.draft.validity {
        Validity::Period { from, until } => (Some(from), Some(until), None),
        Validity::Days(days) => {
            (None, None, Some(i32::try_from(days.get()).expect("at most 3,650")))
        }
    };
    let conditions = &coupon.draft.conditions;
    ActiveModel {
        id: NotSet,
        name: Set(coupon.draft.name.as_str().to_owned()),
        amount: Set(amount),
        percent: Set(percent),
        max_amount: Set(max_amount),
        currency: Set(currency.as_str().to_owned()),
        min_order_amount: Set(signed(conditions.min_order_amount.get())),
        product_ids: Set(json(&conditions.product_ids)),
        category_ids: Set(json(&conditions.category_ids)),
        valid_from: Set(valid_from.map(Timestamp::as_micros)),
        valid_until: Set(valid_until.map(Timestamp::as_micros)),
        valid_days: Set(valid_days),
        version: Set(signed(coupon.version)),
        created_at: NotSet,
        updated_at: Set(coupon.updated_at.as_micros()),
    }
}

/// A number of the product as SQL's integer.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("amounts and versions stay far below 2^63")
}

fn json(labels: &[Label]) -> String {
    serde_json::to_string(labels).expect("texts serialize")
}
