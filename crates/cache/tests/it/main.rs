//! Redis and the cache, against real servers.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod caching;
mod calls;
mod confirming;
mod crowds;
mod inspection;
mod kinds;
mod lateness;
mod outages;
mod refusals;
mod subscriptions;
mod support;
