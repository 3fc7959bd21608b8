//! Redis, and the two-level cache on top of it.
//!
//! A value is kept in the process for 10 s, and in Redis for 30 min. It is read from the ledger
//! once for all who ask at the same time.
//!
//! Invariants:
//! - no answer is older than 10 s, counted from its reading of the ledger at whatever level it is
//!   found, whatever messages are lost, unless it was read for who asked;
//! - what was changed shows at once in the process that changed it, and in all that hear of it;
//! - a late older value never replaces a newer one, at either level;
//! - Redis is never a reason to fail, and delays a read by its answer's bound at most.
//!
//! Modules in reading order: [`redis`] (connections and calls), [`breaker`] (failing at once),
//! `cache` (one kind of value), `caches` (what all kinds share), `level_two` (the values in Redis),
//! `news` (what processes tell each other), `metrics`.

pub mod breaker;
mod cache;
mod caches;
mod level_two;
mod metrics;
mod news;
pub mod redis;

pub use cache::Cache;
pub use caches::Caches;
