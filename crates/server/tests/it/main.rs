//! The product from the outside: the real binary over real HTTP, held against its contract.
//!
//! Each test has a server and a data directory of its own.

mod bad_input;
mod caching;
mod chance;
mod changes;
mod clients;
mod cluster;
mod connections;
mod contract;
mod databases;
mod document;
mod durability;
mod erasure;
mod full_disk;
mod generated_client;
mod idempotency;
mod journal;
mod keys;
mod ledger_copy;
mod lifecycle;
mod limits;
mod live_changes;
mod oauth;
mod out_of_reach;
mod promised;
mod providers;
mod readme;
mod rebuilds;
mod redemption;
mod roles;
mod scenario;
mod schemathesis;
mod shop;
mod shutdown;
mod slow_clients;
mod startup;
mod telemetry;
mod tokens;
