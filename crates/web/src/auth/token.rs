//! Checking access tokens: JWTs with the claims of RFC 9068, signed with a secret of ours, or with
//! a private key of ours or of another identity provider.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use firstcome_core::{Clock, UserId};
use hmac::{Hmac, Mac};
use serde::Deserialize;
use sha2::Sha256;

use super::claims::{TYPE, Verified, WireClaims, in_force, not_ours};
use super::issuer::{Issuer, IssuerKind, Issuers, Parts};
use super::{KeySet, Scopes, SigningAlgorithm, TokenKey, bearer, refused};
use crate::problem::{Code, Problem};

/// Longest token of ours that is looked at.
const TOKEN_BYTES_MAX: usize = 4096;
/// Bytes of an HS256 signature.
const SIGNATURE_BYTES: usize = 32;
/// Verified tokens that are remembered where nothing else is said.
pub const REMEMBERED_TOKENS_MAX: usize = 65_536;

/// Why a token is not accepted.
#[derive(Debug)]
pub enum Unverified {
    /// It is not good.
    Refused(Problem),
    /// Its issuer may have a key that is not here yet.
    KeyUnknown(Arc<KeySet>),
}

impl From<Problem> for Unverified {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

/// Checks tokens: of an issuer that is known, by its algorithm, for its audience, and the time by
/// our own clock.
///
/// The signature of our own HS256 is checked here and not by a library, which would expand the key
/// again, read the header twice and take the time from elsewhere: a third of the cost of a claim's
/// answer.
pub struct Verifier {
    secret: Option<Secret>,
    issuers: Option<Box<Issuers>>,
    clock: Arc<dyn Clock>,
}

/// The secret of our own HS256.
struct Secret {
    key: Hmac<Sha256>,
    issuer: String,
    audience: String,
    /// The first part of the tokens that [`TokenKey::sign`] makes, so that theirs is not decoded
    /// again for each request.
    own_header: String,
    rotation: Arc<SecretRotation>,
}

/// What a rotation has changed since a verifier was made: its own secret may have ended, and
/// others may be good.
#[derive(Default)]
pub struct SecretRotation {
    has_ended: AtomicBool,
    others: ArcSwap<Vec<TokenKey>>,
}

impl SecretRotation {
    /// From here on these secrets are good, and the verifier's own one only if it `goes_on`.
    pub fn set(&self, goes_on: bool, others: Vec<TokenKey>) {
        self.others.store(Arc::new(others));
        self.has_ended.store(!goes_on, Ordering::Relaxed);
    }

    /// Whether another secret has signed this.
    #[cold]
    fn has_signed(&self, message: &str, signature: &[u8]) -> bool {
        self.others.load().iter().filter_map(TokenKey::secret).any(|key| {
            let mut mac = key.clone();
            mac.update(message.as_bytes());
            mac.verify_slice(signature).is_ok()
        })
    }
}

/// The header of a token. Whatever else it could say (`crit`, `kid`, `jku`, an embedded key) would
/// ask for another way to check it, and with a secret there is one way only.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireHeader<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow)]
    typ: Cow<'a, str>,
}

impl Verifier {
    /// Checks tokens of this key, issuer and audience.
    #[must_use]
    pub fn new(
        key: &TokenKey,
        issuer: impl Into<String>,
        audience: impl Into<String>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (issuer, audience) = (issuer.into(), audience.into());
        let Some(secret) = key.secret() else {
            let algorithms = SigningAlgorithm::PUBLIC.to_vec();
            let keys = KeySet::of(key.public_key().into_iter().collect()).into();
            let kind = IssuerKind::Ours;
            let ours = Issuer { issuer, audience, algorithms, keys, kind };
            return Self::of_issuers(vec![ours], REMEMBERED_TOKENS_MAX, clock);
        };
        let secret = Secret {
            key: secret.clone(),
            issuer,
            audience,
            own_header: key.header().to_owned(),
            rotation: Arc::default(),
        };
        Self { secret: Some(secret), issuers: None, clock }
    }

    /// Checks tokens of these issuers, and remembers so many that it has verified.
    #[must_use]
    pub fn of_issuers(
        issuers: Vec<Issuer>,
        remembered_tokens_max: usize,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let none = Self { secret: None, issuers: None, clock };
        none.trusting(issuers, remembered_tokens_max)
    }

    /// The same, and in place of those that it knew, tokens of these issuers.
    #[must_use]
    pub fn trusting(mut self, issuers: Vec<Issuer>, remembered_tokens_max: usize) -> Self {
        if !issuers.is_empty() {
            self.issuers = Some(Issuers::new(issuers, remembered_tokens_max).into());
        }
        self
    }

    /// What a rotation of our own secret is told to; none where public keys check our tokens.
    #[must_use]
    pub fn secret_rotation(&self) -> Option<Arc<SecretRotation>> {
        self.secret.as_ref().map(|secret| Arc::clone(&secret.rotation))
    }

    /// The request's token, checked.
    ///
    /// # Errors
    /// As [`Verifier::verify`].
    pub fn check(&self, headers: &HeaderMap) -> Result<Verified, Unverified> {
        self.verify(bearer(headers)?)
    }

    /// The request's token, checked again once its issuer was asked for its keys. It waits
    /// [`ASK_WAIT_MAX`](super::key_set::ASK_WAIT_MAX) at most.
    ///
    /// # Errors
    /// 401 `unauthenticated`, and 503 `unavailable` when the issuer's keys cannot be had.
    pub async fn check_again(
        &self,
        headers: &HeaderMap,
        keys: Arc<KeySet>,
    ) -> Result<Verified, Problem> {
        keys.ask().await;
        match self.check(headers) {
            Ok(verified) => Ok(verified),
            Err(Unverified::Refused(problem)) => Err(problem),
            Err(Unverified::KeyUnknown(keys)) if keys.is_away() => {
                let detail = "The keys of the token's issuer cannot be had at the moment.";
                Err(Problem::new(Code::Unavailable, detail))
            }
            Err(Unverified::KeyUnknown(_)) => Err(not_ours()),
        }
    }

    /// Checks a token.
    ///
    /// # Errors
    /// 401 `unauthenticated` for anything but a token of an issuer that is known, for its
    /// audience, signed with its key, in force now; or that its key may yet come.
    pub fn verify(&self, token: &str) -> Result<Verified, Unverified> {
        let (message, signature) = token.rsplit_once('.').ok_or_else(not_ours)?;
        let (header, claims) = message.split_once('.').ok_or_else(not_ours)?;
        let now_seconds = self.clock.now().as_micros() / 1_000_000;
        let parts = Parts { whole: token, message, header, claims, signature };
        match (&self.secret, &self.issuers) {
            (Some(secret), _) if secret.is_for(header) => Ok(secret.verify(parts, now_seconds)?),
            (_, Some(issuers)) => issuers.verify(parts, now_seconds),
            _ => Err(not_ours().into()),
        }
    }
}

impl Secret {
    /// Whether the header is one of our own HS256.
    fn is_for(&self, header: &str) -> bool {
        header == self.own_header || is_acceptable(header)
    }

    fn verify(&self, token: Parts<'_>, now_seconds: i64) -> Result<Verified, Problem> {
        let claims = self.authentic(token).ok_or_else(not_ours)?;
        // Checked as a whole, which is faster than each string by itself.
        let claims = str::from_utf8(&claims).map_err(|_| not_ours())?;
        let claims: WireClaims<'_> = serde_json::from_str(claims).map_err(|_| not_ours())?;
        if claims.iss != self.issuer || !claims.aud.has(&self.audience) {
            return Err(refused("The access token is for another service."));
        }
        in_force(claims.exp, claims.nbf, now_seconds)?;
        Ok(Verified {
            subject: UserId::parse(&claims.sub).map_err(|_| not_ours())?,
            scope: Scopes::parse(&claims.scope),
            jti: claims.jti,
            session: claims.sid,
        })
    }

    /// The bytes of the claims, when our secret signed them.
    fn authentic(&self, token: Parts<'_>) -> Option<Vec<u8>> {
        let Parts { whole, message, claims, signature, .. } = token;
        if whole.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let mut bytes = [0; SIGNATURE_BYTES + 1];
        let length = URL_SAFE_NO_PAD.decode_slice(signature, &mut bytes).ok()?;
        let mut mac = self.key.clone();
        mac.update(message.as_bytes());
        let is_ours = mac.verify_slice(&bytes[..length]).is_ok();
        if is_ours && !self.rotation.has_ended.load(Ordering::Relaxed)
            || self.rotation.has_signed(message, &bytes[..length])
        {
            return URL_SAFE_NO_PAD.decode(claims).ok();
        }
        None
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.secret.iter().map(|secret| secret.issuer.as_str());
        let others = self.issuers.iter().flat_map(|issuers| issuers.names());
        f.debug_struct("Verifier")
            .field("issuers", &own.chain(others).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Whether a header names our algorithm and our type, and nothing else.
fn is_acceptable(header: &str) -> bool {
    let Ok(header) = URL_SAFE_NO_PAD.decode(header) else {
        return false;
    };
    serde_json::from_slice(&header).is_ok_and(|header: WireHeader<'_>| {
        let media_type = header.typ.to_ascii_lowercase();
        header.alg == "HS256"
            && media_type.strip_prefix("application/").unwrap_or(&media_type) == TYPE
    })
}
