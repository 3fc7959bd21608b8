//! What other tests stand on, on real servers.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod commit_faults;
mod database;
mod database_server;
mod proxy;
