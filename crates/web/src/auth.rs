//! Who asks: access tokens, and the extractors that a handler names to require one.
//!
//! Every extractor first asks for a valid token (401), then whether its user sends too much (429),
//! then for its scope (403). The user is the token's `sub`, for another identity provider's tokens
//! with a prefix; nothing else in a request names one.
//!
//! In reading order: `claims` is what a token says, `token_key` what signs ours, `token` checks
//! them, with a secret; `issuer` by the public keys of a `key_set`, each a `public_key` for an
//! `algorithm`; `remembered` spares what was checked already.

mod algorithm;
mod claims;
mod issuer;
pub mod key_set;
mod public_key;
mod remembered;
mod token;
mod token_key;

use std::fmt;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use firstcome_core::UserId;
use serde::{Serialize, Serializer};

pub use algorithm::Algorithm;
pub use claims::{AccessClaims, LEEWAY_SECONDS, Verified};
pub use issuer::{Issuer, IssuerKind, Provider};
pub use key_set::KeySet;
pub use public_key::{Jwk, NoKeySet, PublicKey};
pub use remembered::describe_metrics;
pub use token::{REMEMBERED_TOKENS_MAX, SecretRotation, Unverified, Verifier};
pub use token_key::{NoKey, SigningAlgorithm, TokenKey};

use crate::limits;
use crate::problem::{Code, Problem};

/// What a token permits: a set of `user`, `admin` and `redeem`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// Claims, and reads and redeems its own coupons.
    pub const USER: Self = Self(1);
    /// Changes coupons and events.
    pub const ADMIN: Self = Self(2);
    /// Redeems coupons by code, for a checkout service.
    pub const REDEEM: Self = Self(4);

    const WORDS: [(Self, &'static str); 3] =
        [(Self::USER, "user"), (Self::ADMIN, "admin"), (Self::REDEEM, "redeem")];

    /// Reads words apart by spaces (RFC 6749, section 3.3); words that are not ours permit nothing.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        text.split(' ').fold(Self::default(), |scopes, word| {
            let known = Self::WORDS.iter().find(|(_, known)| *known == word);
            known.map_or(scopes, |(scope, _)| scopes.and(*scope))
        })
    }

    /// Both of them.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether any of these is among them.
    #[must_use]
    pub const fn has_any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = Self::WORDS.iter().filter(|(scope, _)| self.has_any(*scope));
        for (index, (_, word)) in words.enumerate() {
            f.write_str(if index == 0 { "" } else { " " })?;
            f.write_str(word)?;
        }
        Ok(())
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The state of calls whose tokens are checked.
pub trait HasVerifier {
    /// What checks them.
    fn verifier(&self) -> &Verifier;
}

impl HasVerifier for Arc<Verifier> {
    fn verifier(&self) -> &Verifier {
        self
    }
}

macro_rules! token_extractors {
    ($($(#[$doc:meta])* $name:ident $need:expr, $challenge:literal, $refusal:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name {
            /// Whose token it is.
            pub subject: UserId,
            /// What it permits.
            pub scope: Scopes,
        }

        impl<S> FromRequestParts<S> for $name
        where
            S: HasVerifier + Sync,
        {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
                let Verified { subject, scope, .. } = admit(state, parts).await?;
                if !scope.has_any($need) {
                    let problem = Problem::new(Code::Forbidden, $refusal);
                    return Err(problem.challenge($challenge));
                }
                Ok(Self { subject, scope })
            }
        }
    )+};
}

token_extractors! {
    /// A token with the scope `user`.
    UserToken Scopes::USER,
        "Bearer error=\"insufficient_scope\", scope=\"user\"",
        "This call needs a token with the scope user.";
    /// A token with the scope `admin`.
    AdminToken Scopes::ADMIN,
        "Bearer error=\"insufficient_scope\", scope=\"admin\"",
        "This call needs a token with the scope admin.";
    /// A token with the scope `redeem`.
    RedeemToken Scopes::REDEEM,
        "Bearer error=\"insufficient_scope\", scope=\"redeem\"",
        "This call needs a token with the scope redeem.";
    /// A token with the scope `redeem` or `admin`.
    StaffToken Scopes::REDEEM.and(Scopes::ADMIN),
        "Bearer error=\"insufficient_scope\", scope=\"redeem\"",
        "This call needs a token with the scope redeem or admin.";
}

/// Any valid token, with what identifies it.
#[derive(Debug, Clone)]
pub struct AnyToken {
    /// Whose token it is.
    pub subject: UserId,
    /// What it permits.
    pub scope: Scopes,
    /// The token's own id.
    pub jti: String,
    /// The session that it was issued in, where there is one.
    pub session: Option<String>,
}

impl<S> FromRequestParts<S> for AnyToken
where
    S: HasVerifier + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Verified { subject, scope, jti, session } = admit(state, parts).await?;
        Ok(Self { subject, scope, jti, session })
    }
}

/// The token of a request, checked, and counted against its user's limit.
#[inline]
async fn admit<S: HasVerifier + Sync>(state: &S, parts: &Parts) -> Result<Verified, Problem> {
    let verified = checked(state, parts).await?;
    limits::caller::spend_of_user(&verified.subject, verified.scope)?;
    Ok(verified)
}

/// The token of a request. Only one whose issuer must first be asked for its keys waits for
/// anything, in a future of its own, so that the others' stay small.
#[inline]
async fn checked<S: HasVerifier + Sync>(state: &S, parts: &Parts) -> Result<Verified, Problem> {
    match state.verifier().check(&parts.headers) {
        Ok(verified) => Ok(verified),
        Err(Unverified::Refused(problem)) => Err(problem),
        Err(Unverified::KeyUnknown(keys)) => {
            Box::pin(state.verifier().check_again(&parts.headers, keys)).await
        }
    }
}

/// The one bearer token of a request (RFC 6750, section 2.1).
fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (first, second) = (values.next(), values.next());
    let Some(value) = first else {
        let detail = "Send an access token as Authorization: Bearer <token>.";
        return Err(Problem::new(Code::Unauthenticated, detail));
    };
    let credentials = value.to_str().ok().filter(|_| second.is_none());
    credentials
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim_matches(' '))
        .ok_or_else(|| refused("Send exactly one Authorization header, with a Bearer token."))
}

/// 401 for a token that was sent and is not good.
fn refused(detail: &'static str) -> Problem {
    Problem::new(Code::Unauthenticated, detail).challenge("Bearer error=\"invalid_token\"")
}
