//! The tables, one module each. Times are microseconds since the epoch; ids are UUIDs.

#![expect(unreachable_pub, reason = "sea-orm derives public items; this module is the crate's own")]

pub(crate) mod account;
pub(crate) mod change;
pub(crate) mod client;
pub(crate) mod coupon;
pub(crate) mod event;
pub(crate) mod idempotency_key;
pub(crate) mod issued_coupon;
pub(crate) mod journal_position;
pub(crate) mod journal_skip;
pub(crate) mod redemption;
pub(crate) mod secret;
pub(crate) mod session;
