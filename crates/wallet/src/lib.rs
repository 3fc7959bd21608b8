//! Wallet: what was won. A shopper reads and redeems its issued coupons; the checkout redeems by
//! code and cancels; an admin revokes.
//!
//! Invariants:
//! - a shopper meets its own coupons only: another's id is an unknown one;
//! - an issued coupon has at most one active redemption, however many ask at once;
//! - the same order gets the same redemption, always.
//!
//! Modules in reading order: [`coupons`] and [`redemptions`] (the calls), `order` (what a checkout
//! writes), `view` (what is answered), `error`.

pub mod coupons;
mod error;
mod order;
pub mod redemptions;
mod view;

use std::sync::Arc;

use firstcome_core::Clock;
use firstcome_ledger::{Ledger, LedgerError, Promised};
use firstcome_web::{CursorKey, HasVerifier, Verifier};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use error::WalletError;

/// What the service needs; cheap to clone.
#[derive(Clone)]
pub struct Wallet {
    /// Where issued coupons and redemptions are.
    pub ledger: Ledger,
    /// What may not be in it yet.
    pub promised: Promised,
    /// What tells the state of an issued coupon.
    pub clock: Arc<dyn Clock>,
    /// What signs the cursors of lists.
    pub cursors: CursorKey,
    /// What checks tokens.
    pub verifier: Arc<Verifier>,
}

impl Wallet {
    /// What is looked for; where it is not found, once more with all that was promised.
    async fn found<T, F>(&self, look: impl Fn() -> F) -> Result<Option<T>, LedgerError>
    where
        F: Future<Output = Result<Option<T>, LedgerError>>,
    {
        if let Some(found) = look().await? {
            return Ok(Some(found));
        }
        self.promised.is_kept().await?;
        look().await
    }
}

impl HasVerifier for Wallet {
    fn verifier(&self) -> &Verifier {
        &self.verifier
    }
}

/// The service's calls, and their part of the OpenAPI document.
pub fn calls() -> OpenApiRouter<Wallet> {
    OpenApiRouter::new()
        .routes(routes!(coupons::list))
        .routes(routes!(coupons::read))
        .routes(routes!(coupons::revoke))
        .routes(routes!(redemptions::redeem))
        .routes(routes!(redemptions::redeem_by_code))
        .routes(routes!(redemptions::cancel))
}

/// The service's calls with what they need.
pub fn router(wallet: Wallet) -> OpenApiRouter {
    calls().with_state(wallet)
}
