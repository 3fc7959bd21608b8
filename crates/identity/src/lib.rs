//! Identity: who a shopper, an admin or a client is. Accounts are made here, passwords checked, and
//! access tokens signed.
//!
//! Invariants:
//! - a password is kept as its argon2id hash only, a refresh token and the secret of a client as
//!   their SHA-256 only;
//! - a refresh token buys once; one that comes again ends its session;
//! - a log-in does the same work whether or not the e-mail address has an account;
//! - hashing is bounded: so many at once, so many waiting, the rest refused;
//! - nobody becomes an admin without having shown the account's own password;
//! - no secret is in a `Debug`, a log line or an error;
//! - whoever checks tokens knows a key before anybody signs with it, until the last token that it
//!   has signed has expired.
//!
//! Modules in reading order: [`config`], [`keys`] (what signs our tokens), [`providers`] (whose
//! tokens are accepted beside them), [`mint`] (access tokens), [`passwords`], [`accounts`]
//! (sign-up, `/v1/me`), [`erasure`], [`sessions`] (log-in, log-out), [`clients`], [`oauth`] (the
//! token endpoint, the published keys), [`admins`], [`changes`] (the trail of theirs), `turns`,
//! `error`, `metrics`.

pub mod accounts;
pub mod admins;
pub mod changes;
pub mod clients;
pub mod config;
pub mod erasure;
mod error;
pub mod keys;
mod metrics;
pub mod mint;
pub mod oauth;
pub mod passwords;
pub mod providers;
pub mod sessions;
mod turns;

use std::sync::Arc;

use firstcome_core::Clock;
use firstcome_ledger::{Ledger, Promised};
use firstcome_web::{CursorKey, HasVerifier, Verifier};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use admins::{AdminChange, FirstAdmin, generate_password};
pub use config::IdentityConfig;
pub use error::IdentityError;
pub use keys::{KeyFileError, KeyRing, KeyState, KeyUse, ListedKey};
pub use metrics::describe_metrics;
pub use mint::{Grant, Mint};
pub use providers::{ProviderConfig, Trust};

use passwords::Passwords;
use turns::Turns;

/// Refreshes that write at once: in the embedded ledger, a batch of claims waits behind no more.
const REFRESHES_AT_ONCE: usize = 4;

/// The service; cheap to clone.
#[derive(Clone)]
pub struct Identity {
    ledger: Ledger,
    promised: Promised,
    clock: Arc<dyn Clock>,
    verifier: Arc<Verifier>,
    keys: KeyRing,
    jwks_max_age_seconds: u32,
    mint: Arc<Mint>,
    passwords: Arc<Passwords>,
    refreshes: Turns,
    cursors: CursorKey,
    access_token_lifetime_seconds: u32,
    refresh_token_lifetime_seconds: u32,
}

impl Identity {
    /// The service on this ledger, signing with these keys, and accepting what they have signed.
    #[must_use]
    pub fn new(
        ledger: Ledger,
        keys: impl Into<KeyRing>,
        config: &IdentityConfig,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let keys = keys.into();
        Self {
            ledger,
            promised: Promised::default(),
            verifier: Arc::new(config.verifier(&keys, Vec::new(), Arc::clone(&clock))),
            clock,
            mint: Arc::new(Mint::new(keys.clone(), config)),
            keys,
            jwks_max_age_seconds: config.jwks_max_age_seconds,
            passwords: Arc::new(Passwords::new(config)),
            refreshes: Turns::new(REFRESHES_AT_ONCE),
            cursors: CursorKey::new(&rand::random()),
            access_token_lifetime_seconds: config.access_token_lifetime_seconds,
            refresh_token_lifetime_seconds: config.refresh_token_lifetime_seconds,
        }
    }

    /// The same, accepting what this verifier accepts.
    #[must_use]
    pub fn accepting(self, verifier: Arc<Verifier>) -> Self {
        Self { verifier, ..self }
    }

    /// Beside what was promised and may not be in the ledger yet: who is erased is erased from that
    /// too.
    #[must_use]
    pub fn beside(self, promised: Promised) -> Self {
        Self { promised, ..self }
    }

    /// With cursors that are good at other processes too; otherwise they are this one's own.
    #[must_use]
    pub fn with_cursors(self, cursors: CursorKey) -> Self {
        Self { cursors, ..self }
    }
}

impl HasVerifier for Identity {
    fn verifier(&self) -> &Verifier {
        &self.verifier
    }
}

/// The service's calls, and their part of the OpenAPI document.
pub fn calls() -> OpenApiRouter<Identity> {
    OpenApiRouter::new()
        .routes(routes!(accounts::sign_up))
        .routes(routes!(accounts::me, erasure::erase_me))
        .routes(routes!(erasure::erase_user))
        .routes(routes!(sessions::log_in))
        .routes(routes!(sessions::log_out))
        .routes(routes!(clients::create, clients::list))
        .routes(routes!(clients::delete))
        .routes(routes!(changes::list))
        .routes(routes!(oauth::token))
        .routes(routes!(oauth::jwks))
}

/// The service's calls with what they need.
pub fn router(identity: Identity) -> OpenApiRouter {
    calls().with_state(identity)
}
