//! The rules of Firstcome, and nothing else.
//!
//! This crate does no I/O, is not async, reads no clock and draws no random number: time and
//! everything else that varies comes in as a value. Whoever decides a claim, whatever the
//! database, decides it by [`claim::decide`].
//!
//! Invariants that hold for every value of these types:
//! - a parsed value is valid: nobody checks an [`EventId`] or a [`UserId`] again;
//! - `issued <= quantity` in every [`EventRule`];
//! - a closed event stays closed;
//! - a [`Code`] belongs to exactly one (event number, sequence).
//!
//! Modules in reading order: [`limits`], [`invalid`], [`time`], [`id`], [`text`], [`number`],
//! [`coupon`], [`event`], [`claim`], [`code`], [`pseudonym`], [`redemption`].

pub mod claim;
pub mod code;
pub mod coupon;
pub mod event;
pub mod id;
pub mod invalid;
pub mod limits;
pub mod number;
pub mod pseudonym;
pub mod redemption;
pub mod text;
pub mod time;

pub use claim::{Decided, Verdict, decide};
pub use code::{Code, CodeKey};
pub use coupon::{Benefit, Conditions, CouponDraft, Validity};
pub use event::{Action, Commit, EventRule, EventState, Strategy, Window, WrongState};
pub use id::{
    AccountId, ClientId, CouponId, EventId, EventNo, IssuedCouponId, RedemptionId, UserId,
};
pub use invalid::Invalid;
pub use number::{Amount, Days, MinOrderAmount, Percent, Quantity, Sequence};
pub use pseudonym::{PseudonymKey, is_pseudonym};
pub use redemption::{
    Attempt, IssuedRule, IssuedState, NotRedeemed, Order, OrderItem, Redeemed, Redemption, Unmet,
    redeem,
};
pub use text::{Currency, Email, Label, Name, OrderId, Password};
pub use time::{Clock, Timestamp};
