//! The wallet over real HTTP, on a real ledger.

mod coupons;
mod document;
mod order_input;
mod redemptions;
mod support;
