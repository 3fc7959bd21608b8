//! The ledger on real databases: SQLite, PostgreSQL and MariaDB.

mod accounts;
mod audit;
mod claims;
mod clock;
mod copy;
mod coupons;
mod events;
mod faults;
mod issued;
mod listing;
mod opening;
mod redemptions;
mod roles;
mod support;
mod together;
