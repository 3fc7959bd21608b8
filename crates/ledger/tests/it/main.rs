//! The ledger on real databases: SQLite, PostgreSQL and MariaDB.

mod accounts;
mod applying;
mod audit;
mod changes;
mod claims;
mod clients;
mod clock;
mod copy;
mod coupons;
mod erasure;
mod events;
mod faults;
mod idempotency;
mod issued;
mod listing;
mod opening;
mod recording;
mod redemptions;
mod roles;
mod sessions;
mod support;
mod together;
