//! Catalog: what there is to claim. Coupons are made, read and changed here; events are read.
//!
//! Invariants:
//! - anybody reads, from the cache where there is one, only an admin writes;
//! - a change is made to the version that its author saw, or not at all;
//! - an answer has exactly the members of its shape, defaults spelled out.
//!
//! Modules in reading order: [`coupons`] and [`events`] (the calls), `draft` (what an admin
//! writes), `view` (what everybody reads), `kinds` (schemas of both), `error`.

pub mod coupons;
mod draft;
mod error;
pub mod events;
mod kinds;
mod view;

use std::sync::Arc;

use firstcome_cache::Cache;
use firstcome_core::Clock;
use firstcome_ledger::{CouponRecord, EventRecord, Ledger};
use firstcome_web::{CursorKey, HasVerifier, Verifier};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use error::CatalogError;

/// What the service needs; cheap to clone.
#[derive(Clone)]
pub struct Catalog {
    /// Where coupons and events are.
    pub ledger: Ledger,
    /// Coupons that were read a short while ago.
    pub coupons: Cache<CouponRecord>,
    /// Events that were read a short while ago; how many they issued may lag behind.
    pub events: Cache<EventRecord>,
    /// What tells the state of an event.
    pub clock: Arc<dyn Clock>,
    /// What signs the cursors of lists.
    pub cursors: CursorKey,
    /// What checks tokens.
    pub verifier: Arc<Verifier>,
}

impl HasVerifier for Catalog {
    fn verifier(&self) -> &Verifier {
        &self.verifier
    }
}

/// The service's calls, and their part of the OpenAPI document.
pub fn calls() -> OpenApiRouter<Catalog> {
    OpenApiRouter::new()
        .routes(routes!(coupons::create, coupons::list))
        .routes(routes!(coupons::read, coupons::change))
        .routes(routes!(events::list))
        .routes(routes!(events::read))
}

/// The service's calls with what they need.
pub fn router(catalog: Catalog) -> OpenApiRouter {
    calls().with_state(catalog)
}
