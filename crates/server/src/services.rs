//! The services that a process runs, each with what it needs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use firstcome_cache::{Cache, Caches};
use firstcome_catalog::Catalog;
use firstcome_core::Clock;
use firstcome_identity::{Identity, KeyRing, KeyUse, Trust, keys, providers::OwnKeys};
use firstcome_issuance::journal::Journal;
use firstcome_issuance::{
    Beside, ClaimCall, Issuance, IssuanceHandle, IssuanceState, NotDrained, Worker,
};
use firstcome_ledger::{CouponRecord, EventRecord, Ledger};
use firstcome_wallet::Wallet;
use firstcome_web::{CursorKey, Front, Verifier};
use tokio::task::{JoinHandle, JoinSet};
use utoipa::openapi::OpenApi;

use crate::config::{Role, Settings};
use crate::redis;

/// The secret of the ledger that signs cursors.
const CURSOR_SECRET: &str = "cursor";

/// What all services of a process share.
pub(crate) struct Services {
    ledger: Ledger,
    /// The decider's: what people see of an event is what claims meet.
    clock: Arc<dyn Clock>,
    reads: Reads,
    cursors: CursorKey,
    verifier: Arc<Verifier>,
    /// None without the role.
    identity: Option<Identity>,
    /// Keeps the keys up to date.
    _keys: JoinSet<()>,
    issuance: IssuanceHandle,
    running: Issuance,
    /// Where there is a journal, with the role.
    worker: Option<Worker>,
    /// Writes what only Redis has, where there is a Redis, with the role.
    carrier: Option<JoinHandle<()>>,
}

/// What was read of the ledger a short while ago.
struct Reads {
    coupons: Cache<CouponRecord>,
    events: Cache<EventRecord>,
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
    /// When the keys cannot be had, or the ledger does not answer.
    pub(crate) async fn start(
        settings: &Settings,
        ledger: Ledger,
        caches: &Caches,
        journal: Option<&Journal>,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let own = own_keys(settings, clock.as_ref())?;
        let ring = if let OwnKeys::Ring(ring) = &own { Some(ring.clone()) } else { None };
        let config = &settings.identity;
        let trust = Trust::new(config, own, Arc::clone(&clock));
        let trust = trust.context("cannot make a client for the keys of other providers")?;
        let verifier = Arc::clone(&trust.verifier);
        let secret = ledger.secret(CURSOR_SECRET).await.context("cannot read the ledger")?;
        let cursors = CursorKey::new(&secret);
        let signs = settings.server.roles().contains(&Role::Identity);
        let identity = ring.filter(|_| signs).map(|ring: KeyRing| {
            let identity = Identity::new(ledger.clone(), ring, config, clock);
            identity.accepting(Arc::clone(&verifier)).with_cursors(cursors.clone())
        });
        let clock = ledger.clock();
        let roles = settings.server.roles();
        let beside = redis::decider(settings, &ledger).await?;
        let beside = beside.map(|redis| Beside {
            redis,
            journal: journal.cloned(),
            default: settings.claims.strategy,
            commit: settings.claims.commit,
            // The others may lack what that takes.
            keeps: [Role::Issuance, Role::Worker].iter().any(|role| roles.contains(role)),
        });
        let (running, issuance) =
            Issuance::start(ledger.clone(), beside, &settings.issuance, Arc::clone(&clock))
                .context("cannot start the lanes")?;
        let coupons =
            caches.of("coupon", |coupon: &CouponRecord| (coupon.id.as_uuid(), coupon.version));
        let events = caches.of("event", |event: &EventRecord| (event.id.as_uuid(), event.version));
        let issuance = issuance.telling(events.clone());
        let reads = Reads { coupons, events };
        let _keys = trust.keep_up();
        let works = roles.contains(&Role::Worker);
        let journal = journal.filter(|_| works).cloned();
        let worker = journal.map(|journal| Worker::start(ledger.clone(), journal));
        let carrier = if works { issuance.carry() } else { None };
        Ok(Self {
            ledger,
            clock,
            reads,
            cursors,
            verifier,
            identity,
            _keys,
            issuance,
            running,
            worker,
            carrier,
        })
    }

    /// The accounts and tokens, where this process has them.
    pub(crate) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
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
            Role::Identity => match self.identity.clone() {
                Some(identity) => {
                    firstcome_identity::router(identity.beside(self.issuance.promised()))
                }
                None => return Router::new(),
            },
            Role::Catalog => {
                let Reads { coupons, events } = &self.reads;
                let (coupons, events) = (coupons.clone(), events.clone());
                firstcome_catalog::router(Catalog {
                    ledger,
                    coupons,
                    events,
                    clock,
                    cursors,
                    verifier,
                })
            }
            Role::Issuance => {
                let state = IssuanceState::new(self.issuance.clone(), verifier, cursors);
                firstcome_issuance::router(state)
            }
            Role::Wallet => {
                let promised = self.issuance.promised();
                firstcome_wallet::router(Wallet { ledger, promised, clock, cursors, verifier })
            }
            Role::Worker | Role::Notify | Role::Console | Role::Gateway => return Router::new(),
        };
        calls.into()
    }

    /// Answers every claim that was accepted, then ends.
    ///
    /// # Errors
    /// [`NotDrained`] when that takes longer than the deadline.
    pub(crate) async fn shutdown(self, deadline: Duration) -> Result<(), NotDrained> {
        let worker = async {
            if let Some(worker) = self.worker
                && let Err(late) = worker.shutdown(deadline).await
            {
                // The ledger knows what was applied: the next worker goes on there.
                tracing::warn!("{late}");
            }
        };
        let (drained, ()) = tokio::join!(self.running.shutdown(deadline), worker);
        if let Some(carrier) = self.carrier {
            // What Redis still has, the next one writes.
            carrier.abort();
        }
        drained
    }
}

/// What our own tokens are signed and checked with: who has the role identity signs; the others
/// check, by the same file or by what another process publishes.
fn own_keys(settings: &Settings, clock: &dyn Clock) -> anyhow::Result<OwnKeys> {
    let (config, data_dir) = (&settings.identity, &settings.server.data_dir);
    let purpose = if settings.server.roles().contains(&Role::Identity) {
        KeyUse::Sign
    } else {
        KeyUse::Check
    };
    if purpose == KeyUse::Check
        && config.algorithm.public().is_some()
        && !config.keys_url.is_empty()
    {
        return Ok(OwnKeys::From(config.keys_url.clone()));
    }
    Ok(OwnKeys::Ring(keys::open(data_dir, config, purpose, clock.now())?))
}
