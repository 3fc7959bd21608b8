//! Redemptions: using an issued coupon, and taking the use back.

use firstcome_core::{
    Amount, Attempt, Currency, IssuedCouponId, NotRedeemed, OrderId, Redeemed, Redemption,
    RedemptionId, Timestamp, UserId, redeem,
};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter,
    QueryOrder,
};

use crate::changes::Changed;
use crate::coupons::signed;
use crate::entity::redemption::{ActiveModel, Column, Entity, Model};
use crate::entity::{coupon, issued_coupon};
use crate::holders::Wanted;
use crate::records::sound;
use crate::{CouponRecord, Ledger, LedgerError};

impl Ledger {
    /// Uses an issued coupon of this user for an order, by the rule of [`redeem`]; at most one
    /// order has it. Benefit and conditions are those that the coupon has now. None when the user
    /// has no such issued coupon.
    ///
    /// # Errors
    /// When the ledger does not answer; nothing was changed then, unless the commit itself failed:
    /// a retry of the same order finds out.
    pub async fn redeem(
        &self,
        user: UserId,
        attempt: Attempt,
    ) -> Result<Option<Result<Redeemed, NotRedeemed>>, LedgerError> {
        let ledger = self.clone();
        self.spawn(async move {
            let id = attempt.issued_coupon_id;
            ledger.settle_coupon(id).await?;
            let write = ledger.write().await?;
            let db = write.connection();
            let locked = ledger.lock_issued(db, Wanted::Of(&user), id).await?;
            let Some(locked) = locked else { return Ok(None) };
            let issued = &locked.record;
            let coupon = coupon::Entity::find_by_id(issued.coupon_id.as_uuid()).one(db).await?;
            let missing = || LedgerError::Corrupt("an issued coupon without a coupon".to_owned());
            let terms = CouponRecord::try_from(coupon.ok_or_else(missing)?)?.draft;
            let prior = of_issued(db, id).await?;
            let now = ledger.inner.clock.now();
            let rule = issued.rule();
            let outcome = redeem(&attempt, &rule, &terms.benefit, &terms.conditions, &prior, now);
            if let Ok(Redeemed::New(redemption)) = &outcome {
                Entity::insert(row(redemption)).exec_without_returning(db).await?;
                let used = issued_coupon::ActiveModel {
                    used_at: Set(Some(now.as_micros())),
                    ..<issued_coupon::ActiveModel as ActiveModelTrait>::default()
                };
                locked.change_unused(db, used).await?;
                write.commit().await?;
            }
            Ok(Some(outcome))
        })
        .await
    }

    /// Takes a use back: the coupon can be used again while it is valid. A redemption that is
    /// cancelled already stays as it is. None when there is no such redemption.
    ///
    /// # Errors
    /// When the ledger does not answer; nothing was changed then, unless the commit itself failed.
    pub async fn cancel_redemption(
        &self,
        id: RedemptionId,
    ) -> Result<Option<Redemption>, LedgerError> {
        let ledger = self.clone();
        self.spawn(async move {
            let write = ledger.write().await?;
            let db = write.connection();
            let find = || Entity::find_by_id(id.as_uuid()).one(db);
            let Some(row) = find().await? else { return Ok(None) };
            // Whoever redeems or cancels locks the issued coupon first.
            let issued = IssuedCouponId::from_uuid(row.issued_coupon_id);
            let locked = ledger.lock_issued(db, Wanted::Id(issued), issued).await?;
            let missing = || LedgerError::Corrupt("a redemption of no issued coupon".to_owned());
            let locked = locked.ok_or_else(missing)?;
            let Some(row) = find().await? else { return Ok(None) };
            let found = Redemption::try_from(row)?;
            if found.cancelled_at.is_some() {
                return Ok(Some(found));
            }
            let cancelled = Redemption { cancelled_at: Some(ledger.inner.clock.now()), ..found };
            let cancel = ActiveModel {
                cancelled_at: Set(cancelled.cancelled_at.map(Timestamp::as_micros)),
                ..<ActiveModel as ActiveModelTrait>::default()
            };
            let this = Column::Id.eq(id.as_uuid());
            Entity::update_many().set(cancel).filter(this).exec(db).await?;
            let unused = issued_coupon::ActiveModel {
                used_at: Set(None),
                ..<issued_coupon::ActiveModel as ActiveModelTrait>::default()
            };
            locked.change_used(db, unused).await?;
            ledger.tell(db, Changed::cancelled(&cancelled)).await?;
            write.commit().await?;
            Ok(Some(cancelled))
        })
        .await
    }
}

/// The redemption that has used this issued coupon.
pub(crate) async fn active(
    db: &impl ConnectionTrait,
    id: IssuedCouponId,
) -> Result<Redemption, LedgerError> {
    let all = of_issued(db, id).await?;
    let active = all.into_iter().find(|redemption| redemption.cancelled_at.is_none());
    active.ok_or_else(|| LedgerError::Corrupt("a used coupon without a redemption".to_owned()))
}

/// Every redemption of an issued coupon, cancelled ones included, oldest first.
async fn of_issued(
    db: &impl ConnectionTrait,
    id: IssuedCouponId,
) -> Result<Vec<Redemption>, LedgerError> {
    let select = Entity::find().filter(Column::IssuedCouponId.eq(id.as_uuid()));
    let rows = select.order_by_asc(Column::Id).all(db).await?;
    rows.into_iter().map(Redemption::try_from).collect()
}

fn row(redemption: &Redemption) -> ActiveModel {
    ActiveModel {
        id: Set(redemption.id.as_uuid()),
        issued_coupon_id: Set(redemption.issued_coupon_id.as_uuid()),
        order_id: Set(redemption.order_id.as_str().to_owned()),
        order_amount: Set(signed(redemption.order_amount.get())),
        discount_amount: Set(signed(redemption.discount_amount)),
        currency: Set(redemption.currency.as_str().to_owned()),
        redeemed_at: Set(redemption.redeemed_at.as_micros()),
        cancelled_at: Set(redemption.cancelled_at.map(Timestamp::as_micros)),
    }
}

impl TryFrom<Model> for Redemption {
    type Error = LedgerError;

    fn try_from(row: Model) -> Result<Self, LedgerError> {
        let order_amount = Amount::parse(row.order_amount.into());
        let what = "redemptions.discount_amount";
        Ok(Self {
            id: RedemptionId::from_uuid(row.id),
            issued_coupon_id: IssuedCouponId::from_uuid(row.issued_coupon_id),
            order_id: sound(OrderId::parse(&row.order_id), "redemptions.order_id")?,
            order_amount: sound(order_amount, "redemptions.order_amount")?,
            discount_amount: sound(u64::try_from(row.discount_amount), what)?,
            currency: sound(Currency::parse(&row.currency), "redemptions.currency")?,
            redeemed_at: Timestamp::from_micros(row.redeemed_at),
            cancelled_at: row.cancelled_at.map(Timestamp::from_micros),
        })
    }
}
