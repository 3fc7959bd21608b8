//! Redis, and the two-level cache on top of it.
//!
//! Modules in reading order: [`redis`] (connections and calls), [`breaker`] (failing at once).

pub mod breaker;
pub mod redis;
