//! Redis, and the two-level cache on top of it.
//!
//! Modules in reading order: [`redis`] (connections and calls).

pub mod redis;
