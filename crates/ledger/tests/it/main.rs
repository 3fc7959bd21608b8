//! The ledger on real databases: SQLite, PostgreSQL and MariaDB.

mod accounts;
mod audit;
mod claims;
mod clients;
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
mod sessions;
mod support;
mod together;
