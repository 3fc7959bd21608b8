//! The catalog over real HTTP, on a real ledger.

mod coupon_input;
mod coupons;
mod document;
mod events;
mod support;
