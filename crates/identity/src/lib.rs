//! Identity: who a shopper or an admin is. Accounts are made here, passwords checked, and access
//! tokens signed.
//!
//! Invariants:
//! - a password is kept as its argon2id hash only, a refresh token as its SHA-256 only;
//! - a log-in does the same work whether or not the e-mail address has an account;
//! - hashing is bounded: so many at once, so many waiting, the rest refused;
//! - nobody becomes an admin without having shown the account's own password;
//! - no secret is in a `Debug`, a log line or an error;
//! - whoever checks tokens knows a key before anybody signs with it, until the last token that it
//!   has signed has expired.
//!
//! Modules in reading order: [`config`], [`keys`] (what signs our tokens), [`providers`] (whose
//! tokens are accepted beside them), [`mint`] (access tokens), [`passwords`], [`accounts`] (sign-up, `/v1/me`), [`sessions`] (log-in), [`oauth`] (the
//! token endpoint, the published keys), [`admins`], `error`, `metrics`.

pub mod accounts;
pub mod admins;
pub mod config;
mod error;
pub mod keys;
mod metrics;
pub mod mint;
pub mod oauth;
pub mod passwords;
pub mod providers;
pub mod sessions;

use std::sync::Arc;

use firstcome_core::Clock;
use firstcome_ledger::Ledger;
use firstcome_web::{HasVerifier, Verifier};
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

/// The service; cheap to clone.
#[derive(Clone)]
pub struct Identity {
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    verifier: Arc<Verifier>,
    keys: KeyRing,
    jwks_max_age_seconds: u32,
    mint: Arc<Mint>,
    passwords: Arc<Passwords>,
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
            verifier: Arc::new(config.verifier(&keys, Vec::new(), Arc::clone(&clock))),
            clock,
            mint: Arc::new(Mint::new(keys.clone(), config)),
            keys,
            jwks_max_age_seconds: config.jwks_max_age_seconds,
            passwords: Arc::new(Passwords::new(config)),
            access_token_lifetime_seconds: config.access_token_lifetime_seconds,
            refresh_token_lifetime_seconds: config.refresh_token_lifetime_seconds,
        }
    }

    /// The same, accepting what this verifier accepts.
    #[must_use]
    pub fn accepting(mut self, verifier: Arc<Verifier>) -> Self {
        self.verifier = verifier;
        self
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
        .routes(routes!(accounts::me))
        .routes(routes!(sessions::log_in))
        .routes(routes!(oauth::token))
        .routes(routes!(oauth::jwks))
}

/// The service's calls with what they need.
pub fn router(identity: Identity) -> OpenApiRouter {
    calls().with_state(identity)
}
