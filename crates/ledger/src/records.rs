//! Rows in the words of the product: what the services see of the ledger.
//!
//! Below it, `rows` writes them as rows again.

mod rows;

use firstcome_core::{
    Benefit, Code, CodeKey, Commit, Conditions, CouponDraft, CouponId, EventId, EventNo, EventRule,
    IssuedCouponId, IssuedRule, IssuedState, Label, Name, Sequence, Strategy, Timestamp, UserId,
    Validity,
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::LedgerError;
use crate::entity::{coupon, event, issued_coupon};

/// How long what was told of a rebuilding is worth showing; it is told anew each second or sooner.
const SYNC_TOLD_FOR_SECONDS: u64 = 30;

/// A coupon. Its JSON is its row, checked like one when it is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "coupon::Model", into = "coupon::Model")]
pub struct CouponRecord {
    /// Its id.
    pub id: CouponId,
    /// What an admin wrote.
    pub draft: CouponDraft,
    /// Grows by one with each change; the `ETag`.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// An event. Its JSON is its row, checked like one when it is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "event::Model", into = "event::Model")]
pub struct EventRecord {
    /// The ledger's own number of it.
    pub no: EventNo,
    /// Its id.
    pub id: EventId,
    /// The coupon that it issues.
    pub coupon_id: CouponId,
    /// What people call it.
    pub name: Name,
    /// What decides its claims.
    pub rule: EventRule,
    /// Who decides its claims.
    pub strategy: Strategy,
    /// What must hold a won claim before its answer.
    pub commit: Commit,
    /// The journal's partition that its wins are in, once it is pinned to one.
    pub partition: Option<i32>,
    /// By whose word its coupons are issued, where a decider beside the ledger has it.
    pub epoch: u64,
    /// The epoch before which wins that follow in the journal are void. It follows the journal, and
    /// no version tells of it.
    pub fence: u64,
    /// How far the rebuilding of what its decider knows is, as last told.
    pub sync: Option<SyncProgress>,
    /// Whether some of its winners stand there under a pseudonym.
    pub has_erased: bool,
    /// Grows by one with each change by an admin, not with claims; the `ETag`.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When an admin last changed it.
    pub updated_at: Timestamp,
}

/// How far the rebuilding of what a decider beside the ledger knows of an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncProgress {
    /// Winners that were copied to the decider.
    pub copied: u32,
    /// When this was so.
    pub told_at: Timestamp,
}

impl EventRecord {
    /// Winners that its decider knows again, while it is being rebuilt. What was told last by who
    /// went away in the middle is no progress after a while.
    #[must_use]
    pub fn copied_by_sync(&self, now: Timestamp) -> Option<u32> {
        let SyncProgress { copied, told_at } = self.sync?;
        (told_at.seconds_until(now) <= SYNC_TOLD_FOR_SECONDS).then_some(copied)
    }
}

/// An issued coupon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedCouponRecord {
    /// Its id.
    pub id: IssuedCouponId,
    /// The event that issued it.
    pub event_id: EventId,
    /// The benefit.
    pub coupon_id: CouponId,
    /// Who holds it.
    pub user_id: UserId,
    /// Its place in line.
    pub sequence: Sequence,
    /// Its code.
    pub code: Code,
    /// When it was won.
    pub issued_at: Timestamp,
    /// From when it can be used.
    pub valid_from: Timestamp,
    /// The first moment at which it can be used no more.
    pub expires_at: Timestamp,
    /// When it was used, if it is.
    pub used_at: Option<Timestamp>,
    /// When it was revoked, if it is.
    pub revoked_at: Option<Timestamp>,
}

impl IssuedCouponRecord {
    /// What decides its use.
    #[must_use]
    pub fn rule(&self) -> IssuedRule {
        let Self { valid_from, expires_at, used_at, revoked_at, .. } = *self;
        IssuedRule { valid_from, expires_at, used_at, revoked_at }
    }

    /// Its state at `now`.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> IssuedState {
        self.rule().state(now)
    }
}

/// Reads a row's number into a rule's type; a row that breaks the rules is reported, not used.
pub(crate) fn sound<T, E>(value: Result<T, E>, what: &str) -> Result<T, LedgerError> {
    value.map_err(|_| LedgerError::Corrupt(format!("{what} is out of its range")))
}

/// The columns of an event and of its coupon that decide claims.
pub(crate) struct EventColumns {
    pub(crate) no: i64,
    pub(crate) id: Uuid,
    pub(crate) coupon_id: Uuid,
    pub(crate) quantity: i64,
    pub(crate) issued: i64,
    pub(crate) opens_at: i64,
    pub(crate) closes_at: i64,
    pub(crate) opened_early: bool,
    pub(crate) paused: bool,
    pub(crate) closed: bool,
    pub(crate) valid_from: Option<i64>,
    pub(crate) valid_until: Option<i64>,
    pub(crate) valid_days: Option<i64>,
    pub(crate) version: i64,
    pub(crate) erased: i64,
    pub(crate) epoch: i64,
}

/// The number of an event as SQL has it.
pub(crate) fn signed_no(event: EventNo) -> i64 {
    i64::try_from(event.get()).expect("36 bits")
}

pub(crate) fn event_no(no: i64) -> Result<EventNo, LedgerError> {
    let number = u64::try_from(no).ok().and_then(EventNo::new);
    number.ok_or_else(|| LedgerError::Corrupt("events.no is out of its range".to_owned()))
}

impl TryFrom<event::Model> for EventRecord {
    type Error = LedgerError;

    fn try_from(row: event::Model) -> Result<Self, LedgerError> {
        let opens_at = Timestamp::from_micros(row.opens_at);
        let closes_at = Timestamp::from_micros(row.closes_at);
        let quantity = firstcome_core::Quantity::parse(row.quantity.into());
        let strategy = Strategy::parse(&row.strategy).ok_or(());
        let commit = Commit::parse(&row.commit_to).ok_or(());
        Ok(Self {
            no: event_no(row.no)?,
            id: EventId::from_uuid(row.id),
            coupon_id: CouponId::from_uuid(row.coupon_id),
            name: sound(Name::parse(&row.name), "events.name")?,
            rule: EventRule {
                quantity: sound(quantity, "events.quantity")?,
                issued: sound(u32::try_from(row.issued), "events.issued")?,
                window: sound(firstcome_core::Window::new(opens_at, closes_at), "the window")?,
                opened_early: row.opened_early,
                paused: row.paused,
                closed: row.closed,
            },
            strategy: sound(strategy, "events.strategy")?,
            commit: sound(commit, "events.commit_to")?,
            partition: row.journal_partition,
            epoch: sound(u64::try_from(row.epoch), "events.epoch")?,
            fence: sound(u64::try_from(row.fence), "events.fence")?,
            sync: match (row.sync_copied, row.sync_told_at) {
                (Some(copied), Some(told_at)) => Some(SyncProgress {
                    copied: sound(u32::try_from(copied), "events.sync_copied")?,
                    told_at: Timestamp::from_micros(told_at),
                }),
                _ => None,
            },
            has_erased: row.erased > 0,
            version: sound(u64::try_from(row.version), "events.version")?,
            created_at: Timestamp::from_micros(row.created_at),
            updated_at: Timestamp::from_micros(row.updated_at),
        })
    }
}

impl TryFrom<coupon::Model> for CouponRecord {
    type Error = LedgerError;

    fn try_from(row: coupon::Model) -> Result<Self, LedgerError> {
        let benefit = benefit(&row)?;
        let validity = validity(row.valid_from, row.valid_until, row.valid_days.map(i64::from))?;
        let minimum = firstcome_core::MinOrderAmount::parse(row.min_order_amount.into());
        Ok(Self {
            id: CouponId::from_uuid(row.id),
            draft: CouponDraft {
                name: sound(Name::parse(&row.name), "coupons.name")?,
                benefit,
                conditions: Conditions {
                    min_order_amount: sound(minimum, "coupons.min_order_amount")?,
                    product_ids: labels(&row.product_ids)?,
                    category_ids: labels(&row.category_ids)?,
                },
                validity,
            },
            version: sound(u64::try_from(row.version), "coupons.version")?,
            created_at: Timestamp::from_micros(row.created_at),
            updated_at: Timestamp::from_micros(row.updated_at),
        })
    }
}

fn benefit(row: &coupon::Model) -> Result<Benefit, LedgerError> {
    let currency = sound(firstcome_core::Currency::parse(&row.currency), "coupons.currency")?;
    let amount = |number: i64, what| sound(firstcome_core::Amount::parse(number.into()), what);
    match (row.amount, row.percent) {
        (Some(number), None) => {
            Ok(Benefit::Amount { amount: amount(number, "coupons.amount")?, currency })
        }
        (None, Some(percent)) => Ok(Benefit::Percent {
            percent: sound(firstcome_core::Percent::parse(percent.into()), "coupons.percent")?,
            max_amount: row
                .max_amount
                .map(|number| amount(number, "coupons.max_amount"))
                .transpose()?,
            currency,
        }),
        _ => Err(LedgerError::Corrupt("a coupon's benefit".to_owned())),
    }
}

/// The validity in the three columns of a coupon that hold it.
pub(crate) fn validity(
    from: Option<i64>,
    until: Option<i64>,
    days: Option<i64>,
) -> Result<Validity, LedgerError> {
    match (from, until, days) {
        (Some(from), Some(until), None) => {
            let (from, until) = (Timestamp::from_micros(from), Timestamp::from_micros(until));
            sound(Validity::period(from, until), "a coupon's period")
        }
        (None, None, Some(days)) => {
            let days = firstcome_core::Days::parse(days.into());
            Ok(Validity::Days(sound(days, "coupons.valid_days")?))
        }
        _ => Err(LedgerError::Corrupt("a coupon's validity".to_owned())),
    }
}

fn labels(json: &str) -> Result<Vec<Label>, LedgerError> {
    let texts: Vec<String> = sound(serde_json::from_str(json), "a list of ids")?;
    texts.iter().map(|text| sound(Label::parse(text), "an id in a list")).collect()
}

/// A row of `issued_coupons` beside what its event says of it.
pub(crate) fn issued_coupon(
    row: &issued_coupon::Model,
    event_id: EventId,
    coupon_id: CouponId,
    key: &CodeKey,
) -> Result<IssuedCouponRecord, LedgerError> {
    let sequence = sound(Sequence::parse(row.sequence.into()), "issued_coupons.sequence")?;
    Ok(IssuedCouponRecord {
        id: IssuedCouponId::from_uuid(row.id),
        event_id,
        coupon_id,
        user_id: sound(UserId::parse(&row.user_id), "issued_coupons.user_id")?,
        sequence,
        code: key.code(event_no(row.event_no)?, sequence),
        issued_at: Timestamp::from_micros(row.issued_at),
        valid_from: Timestamp::from_micros(row.valid_from),
        expires_at: Timestamp::from_micros(row.expires_at),
        used_at: row.used_at.map(Timestamp::from_micros),
        revoked_at: row.revoked_at.map(Timestamp::from_micros),
    })
}
