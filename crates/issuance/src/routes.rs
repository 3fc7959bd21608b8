//! Every call of the service.

use std::sync::Arc;

use firstcome_core::Clock;
use firstcome_ledger::Ledger;
use firstcome_web::{CursorKey, HasVerifier, Verifier};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::{IssuanceHandle, audit, claims, events, issued};

/// What the calls need. One pointer: a claim copies it.
#[derive(Clone)]
pub struct IssuanceState(Arc<Needed>);

struct Needed {
    issuance: IssuanceHandle,
    verifier: Arc<Verifier>,
    cursors: CursorKey,
}

/// The service's calls, and their part of the OpenAPI document.
pub fn calls() -> OpenApiRouter<IssuanceState> {
    OpenApiRouter::new()
        .routes(routes!(events::create))
        .routes(routes!(events::change))
        .routes(routes!(events::open))
        .routes(routes!(events::pause))
        .routes(routes!(events::resume))
        .routes(routes!(events::close))
        .routes(routes!(events::sync))
        .routes(routes!(audit::read))
        .routes(routes!(issued::list))
        .routes(routes!(claims::claim))
        .routes(routes!(claims::read_mine))
}

/// The service's calls with what they need.
pub fn router(state: IssuanceState) -> OpenApiRouter {
    calls().with_state(state)
}

impl IssuanceState {
    /// The service behind `issuance`, for callers whose tokens `verifier` knows; `cursors` signs
    /// the places in lists.
    #[must_use]
    pub fn new(issuance: IssuanceHandle, verifier: Arc<Verifier>, cursors: CursorKey) -> Self {
        Self(Arc::new(Needed { issuance, verifier, cursors }))
    }

    pub(crate) fn issuance(&self) -> &IssuanceHandle {
        &self.0.issuance
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        self.0.issuance.ledger()
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        self.0.issuance.clock()
    }

    pub(crate) fn cursors(&self) -> &CursorKey {
        &self.0.cursors
    }
}

impl HasVerifier for IssuanceState {
    fn verifier(&self) -> &Verifier {
        &self.0.verifier
    }
}
