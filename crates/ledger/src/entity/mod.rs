//! The tables, one module each. Times are microseconds since the epoch; ids are UUIDs.

pub(crate) mod account;
pub(crate) mod coupon;
pub(crate) mod event;
pub(crate) mod issued_coupon;
pub(crate) mod redemption;
pub(crate) mod secret;
pub(crate) mod session;
