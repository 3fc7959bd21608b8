//! The ledger on a real database file.

mod accounts;
mod audit;
mod claims;
mod coupons;
mod events;
mod issued;
mod opening;
mod redemptions;
mod support;
