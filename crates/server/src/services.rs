//! The services that a process runs, each with what it needs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use firstcome_catalog::Catalog;
use firstcome_core::Clock;
use firstcome_identity::Identity;
use firstcome_issuance::{ClaimCall, Issuance, IssuanceHandle, IssuanceState, NotDrained};
use firstcome_ledger::Ledger;
use firstcome_wallet::Wallet;
use firstcome_web::{CursorKey, Front, TokenKey, Verifier};
use utoipa::openapi::OpenApi;

use crate::config::{Role, Settings};

/// The secret of the ledger that signs cursors.
const CURSOR_SECRET: &str = "cursor";

/// What all services of a process share.
pub(crate) struct Services {
    ledger: Ledger,
    /// The decider's: what people see of an event is what claims meet.
    clock: Arc<dyn Clock>,
    cursors: CursorKey,
    verifier: Arc<Verifier>,
    identity: Identity,
    issuance: IssuanceHandle,
    running: Issuance,
}

/// The part of the OpenAPI document that a role serves; empty for a role that this version lacks.
pub(crate) fn document(role: Role) -> OpenApi {
    match role {
        Role::Identity => firstcome_identity::calls().into_openapi(),
        Role::Catalog => firstcome_catalog::calls().into_openapi(),
        Role::Issuance => firstcome_issuance::calls().into_openapi(),
        Role::Wallet => firstcome_wallet::calls().into_openapi(),
        Role::Worker | Role::Notify | Role::Console | Role::Gateway => OpenApi::default(),
    }
}

impl Services {
    /// Makes the services. After the recorder of the metrics was installed: they keep handles.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub(crate) async fn start(
        settings: &Settings,
        ledger: Ledger,
        key: TokenKey,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let secret = ledger.secret(CURSOR_SECRET).await.context("cannot read the ledger")?;
        let verifier = Arc::new(settings.identity.verifier(&key, Arc::clone(&clock)));
        let cursors = CursorKey::new(&secret);
        let identity = Identity::new(ledger.clone(), key, &settings.identity, clock)
            .with_cursors(cursors.clone());
        let clock = ledger.clock();
        let (running, issuance) =
            Issuance::start(ledger.clone(), &settings.issuance, Arc::clone(&clock))
                .context("cannot start the lanes")?;
        Ok(Self { ledger, clock, cursors, verifier, identity, issuance, running })
    }

    /// The accounts and tokens.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The claim, to be put before the router, where these roles have it.
    pub(crate) fn front(&self, roles: &[Role]) -> Option<Front<ClaimCall>> {
        let (issuance, verifier) = (self.issuance.clone(), Arc::clone(&self.verifier));
        let state = IssuanceState::new(issuance, verifier, self.cursors.clone());
        roles.contains(&Role::Issuance).then(|| firstcome_issuance::front(state))
    }

    /// The calls of these roles.
    pub(crate) fn router(&self, roles: &[Role]) -> Router {
        roles.iter().fold(Router::new(), |router, role| router.merge(self.calls_of(*role)))
    }

    fn calls_of(&self, role: Role) -> Router {
        let (ledger, clock) = (self.ledger.clone(), Arc::clone(&self.clock));
        let (cursors, verifier) = (self.cursors.clone(), Arc::clone(&self.verifier));
        let calls = match role {
            Role::Identity => firstcome_identity::router(self.identity.clone()),
            Role::Catalog => {
                firstcome_catalog::router(Catalog { ledger, clock, cursors, verifier })
            }
            Role::Issuance => {
                let state = IssuanceState::new(self.issuance.clone(), verifier, cursors);
                firstcome_issuance::router(state)
            }
            Role::Wallet => firstcome_wallet::router(Wallet { ledger, clock, cursors, verifier }),
            Role::Worker | Role::Notify | Role::Console | Role::Gateway => return Router::new(),
        };
        calls.into()
    }

    /// Answers every claim that was accepted, then ends.
    ///
    /// # Errors
    /// [`NotDrained`] when that takes longer than the deadline.
    pub(crate) async fn shutdown(self, deadline: Duration) -> Result<(), NotDrained> {
        self.running.shutdown(deadline).await
    }
}
