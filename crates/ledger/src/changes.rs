//! The trail of admins' changes: who changed what and when, written in the transaction of the
//! change itself, and never changed afterwards.
//!
//! It holds nothing that tells who a person is but user ids: no address, and of an issued coupon
//! not its holder.

use firstcome_core::{
    Benefit, ClientId, CouponDraft, EventState, IssuedState, Label, Redemption, Timestamp, UserId,
    Validity,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::entity::change::{ActiveModel, Column, Entity, Model};
use crate::records::sound;
use crate::{
    AccountRecord, ClientRecord, CouponRecord, EventRecord, IssuedCouponRecord, Ledger, LedgerError,
};

/// The actor of what is changed without a token.
const OPERATOR: &str = "firstcome";

/// Who changes something, and by which call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// Whose token it is.
    pub actor: UserId,
    /// What is done, in a word: `create`, `change`, `pause`, …
    pub action: &'static str,
    /// The id of the request.
    pub request_id: String,
}

impl By {
    /// This user, by a call with this id.
    #[must_use]
    pub fn new(actor: UserId, action: &'static str, request_id: &str) -> Self {
        Self { actor, action, request_id: request_id.to_owned() }
    }

    /// Whoever runs the binary on its data: by its start, or by a command.
    ///
    /// # Panics
    /// Never: the name is a user id.
    #[must_use]
    pub fn operator(action: &'static str) -> Self {
        let actor = UserId::parse(OPERATOR).expect("visible ASCII");
        Self { actor, action, request_id: Uuid::new_v4().simple().to_string() }
    }
}

/// What can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// A coupon.
    Coupon,
    /// An event.
    Event,
    /// A client of the token endpoint.
    Client,
    /// Somebody with an account or with issued coupons.
    User,
    /// An issued coupon.
    IssuedCoupon,
    /// A redemption.
    Redemption,
}

impl Resource {
    /// Every resource, in the order of the contract.
    pub const ALL: [Self; 6] =
        [Self::Coupon, Self::Event, Self::Client, Self::User, Self::IssuedCoupon, Self::Redemption];

    /// The word in JSON and SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Coupon => "coupon",
            Self::Event => "event",
            Self::Client => "client",
            Self::User => "user",
            Self::IssuedCoupon => "issued_coupon",
            Self::Redemption => "redemption",
        }
    }

    /// The resource with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|resource| resource.as_str() == word)
    }
}

/// A change.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangeRecord {
    /// Its id; later changes have greater ones.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: UserId,
    /// What was done, in a word.
    pub action: String,
    /// What was changed.
    pub resource: Resource,
    /// Which.
    pub resource_id: String,
    /// What of it could be changed, as it was; none where it was made.
    pub before: Option<Value>,
    /// The same as it became; none where it was removed.
    pub after: Option<Value>,
    /// The id of the request.
    pub request_id: String,
}

/// Which changes to list, newest first.
#[derive(Debug, Clone, Default)]
pub struct ChangeQuery {
    /// Only those by this user.
    pub actor: Option<String>,
    /// Only those of such a resource.
    pub resource: Option<Resource>,
    /// Only those of the resource with this id.
    pub resource_id: Option<String>,
    /// Only those after this one in the list.
    pub after: Option<Uuid>,
    /// At most so many.
    pub limit: u64,
}

/// A change to be written.
pub(crate) struct Changed {
    pub(crate) resource: Resource,
    pub(crate) resource_id: String,
    pub(crate) before: Option<Value>,
    pub(crate) after: Option<Value>,
}

impl Changed {
    /// A coupon was made, or changed.
    pub(crate) fn coupon(before: Option<&CouponRecord>, after: &CouponRecord) -> Self {
        Self {
            resource: Resource::Coupon,
            resource_id: after.id.to_string(),
            before: before.map(of_coupon),
            after: Some(of_coupon(after)),
        }
    }

    /// An event was made, or changed.
    pub(crate) fn event(before: Option<&EventRecord>, after: &EventRecord, now: Timestamp) -> Self {
        Self {
            resource: Resource::Event,
            resource_id: after.id.to_string(),
            before: before.map(|before| of_event(before, now)),
            after: Some(of_event(after, now)),
        }
    }

    /// A client was made, or deleted.
    pub(crate) fn client(
        before: Option<&ClientRecord>,
        after: Option<&ClientRecord>,
        id: ClientId,
    ) -> Self {
        let of = |client: &ClientRecord| json!({"name": client.name, "scope": client.scope});
        Self {
            resource: Resource::Client,
            resource_id: id.to_string(),
            before: before.map(of),
            after: after.map(of),
        }
    }

    /// An issued coupon was taken back.
    pub(crate) fn revoked(before: &IssuedCouponRecord, now: Timestamp, reason: &Label) -> Self {
        let IssuedCouponRecord { event_id, sequence, .. } = before;
        let of = |state: IssuedState| -> Value {
            json!({"event_id": event_id, "sequence": sequence, "state": state})
        };
        let mut after = of(IssuedState::Revoked);
        after["reason"] = json!(reason);
        Self {
            resource: Resource::IssuedCoupon,
            resource_id: before.id.to_string(),
            before: Some(of(before.state(now))),
            after: Some(after),
        }
    }

    /// A use was taken back.
    pub(crate) fn cancelled(redemption: &Redemption) -> Self {
        let of = |state: &str| {
            let Redemption { issued_coupon_id, order_id, .. } = redemption;
            json!({"issued_coupon_id": issued_coupon_id, "order_id": order_id, "state": state})
        };
        Self {
            resource: Resource::Redemption,
            resource_id: redemption.id.to_string(),
            before: Some(of("redeemed")),
            after: Some(of("cancelled")),
        }
    }

    /// An account was made, or given another scope.
    pub(crate) fn account(before: Option<&str>, after: &AccountRecord) -> Self {
        let of = |scope: &str| json!({"scope": scope});
        Self {
            resource: Resource::User,
            resource_id: after.id.to_string(),
            before: before.map(of),
            after: Some(of(&after.scope)),
        }
    }

    /// A user was erased; an account's scope is told, nobody else has one.
    pub(crate) fn erased(user: &UserId, scope: Option<&str>) -> Self {
        Self {
            resource: Resource::User,
            resource_id: user.as_str().to_owned(),
            before: Some(json!({"scope": scope})),
            after: None,
        }
    }
}

impl Ledger {
    /// The same ledger for a call whose changes are told in the trail.
    #[must_use]
    pub fn by(&self, by: By) -> Self {
        Self { by: Some(by.into()), ..self.clone() }
    }

    /// Writes a change to the trail, within its transaction, if it is made [by](Self::by) somebody
    /// of whom that is told.
    pub(crate) async fn tell(
        &self,
        db: &impl ConnectionTrait,
        changed: Changed,
    ) -> Result<(), LedgerError> {
        let Some(by) = &self.by else { return Ok(()) };
        let text = |value: Option<Value>| value.map(|value| value.to_string());
        let row = ActiveModel {
            id: Set(Uuid::now_v7()),
            at: Set(self.inner.clock.now().as_micros()),
            actor: Set(by.actor.as_str().to_owned()),
            action: Set(by.action.to_owned()),
            resource: Set(changed.resource.as_str().to_owned()),
            resource_id: Set(changed.resource_id),
            was: Set(text(changed.before)),
            became: Set(text(changed.after)),
            request_id: Set(by.request_id.clone()),
        };
        Entity::insert(row).exec_without_returning(db).await?;
        Ok(())
    }

    /// A page of the changes.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn changes(&self, query: &ChangeQuery) -> Result<Vec<ChangeRecord>, LedgerError> {
        let mut select = Entity::find();
        if let Some(actor) = &query.actor {
            select = select.filter(Column::Actor.eq(actor));
        }
        if let Some(resource) = query.resource {
            select = select.filter(Column::Resource.eq(resource.as_str()));
        }
        if let Some(id) = &query.resource_id {
            select = select.filter(Column::ResourceId.eq(id));
        }
        if let Some(after) = query.after {
            select = select.filter(Column::Id.lt(after));
        }
        let rows = select.order_by_desc(Column::Id).limit(query.limit).all(self.reader()).await?;
        rows.into_iter().map(ChangeRecord::try_from).collect()
    }
}

impl TryFrom<Model> for ChangeRecord {
    type Error = LedgerError;

    fn try_from(row: Model) -> Result<Self, LedgerError> {
        let value = |text: Option<String>| text.map(|text| serde_json::from_str(&text)).transpose();
        Ok(Self {
            id: row.id,
            at: Timestamp::from_micros(row.at),
            actor: sound(UserId::parse(&row.actor), "changes.actor")?,
            action: row.action,
            resource: sound(Resource::parse(&row.resource).ok_or(()), "changes.resource")?,
            resource_id: row.resource_id,
            before: sound(value(row.was), "changes.was")?,
            after: sound(value(row.became), "changes.became")?,
            request_id: row.request_id,
        })
    }
}

/// What an admin writes of a coupon.
fn of_coupon(coupon: &CouponRecord) -> Value {
    let CouponDraft { name, benefit, conditions, validity } = &coupon.draft;
    let benefit = match benefit {
        Benefit::Amount { amount, currency } => {
            json!({"type": "amount", "amount": amount, "currency": currency})
        }
        Benefit::Percent { percent, max_amount, currency } => json!({
            "type": "percent", "percent": percent, "max_amount": max_amount, "currency": currency,
        }),
    };
    let validity = match validity {
        Validity::Period { from, until } => json!({"type": "period", "from": from, "until": until}),
        Validity::Days(days) => json!({"type": "days", "days": days}),
    };
    json!({
        "name": name,
        "benefit": benefit,
        "conditions": {
            "min_order_amount": conditions.min_order_amount,
            "product_ids": conditions.product_ids,
            "category_ids": conditions.category_ids,
        },
        "validity": validity,
    })
}

/// What an admin writes of an event, and its state.
fn of_event(event: &EventRecord, now: Timestamp) -> Value {
    let state: EventState = event.rule.state(now);
    json!({
        "coupon_id": event.coupon_id,
        "name": event.name,
        "quantity": event.rule.quantity,
        "opens_at": event.rule.window.opens_at(),
        "closes_at": event.rule.window.closes_at(),
        "strategy": event.strategy,
        "state": state,
    })
}
