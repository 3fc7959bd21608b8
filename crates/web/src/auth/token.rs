//! Access tokens: JWTs with the claims of RFC 9068, signed with HS256.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use firstcome_core::{ClientId, Clock, UserId};
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::Sha256;

use super::{Scopes, bearer, refused};
use crate::problem::Problem;

/// How long after `exp`, and before `nbf`, a token is still good: clocks differ.
const LEEWAY_SECONDS: i64 = 60;
/// The `typ` of an access token (RFC 9068, section 2.1), so that no other JWT passes for one.
const TYPE: &str = "at+jwt";
/// Longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 4096;
/// Bytes of an HS256 signature.
const SIGNATURE_BYTES: usize = 32;

/// The claims of an access token.
#[derive(Debug, Clone, Serialize)]
pub struct AccessClaims {
    /// Who issued it.
    pub iss: String,
    /// For whom it is issued: the service.
    pub aud: String,
    /// The user.
    pub sub: UserId,
    /// When it ends, in seconds since the epoch.
    pub exp: i64,
    /// When it was issued, in seconds since the epoch.
    pub iat: i64,
    /// The token's own id.
    pub jti: String,
    /// What it permits.
    pub scope: Scopes,
    /// The session that it was issued in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// The client that asked for it (RFC 9068, section 2.2); a session is no client's. It is for
    /// whoever reads the token: no rule here looks at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<ClientId>,
}

/// The secret that signs and checks tokens.
#[derive(Clone)]
pub struct TokenKey {
    signs: EncodingKey,
    checks: Hmac<Sha256>,
}

impl TokenKey {
    /// A key with this secret, which must come from a cryptographic random source.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self {
            signs: EncodingKey::from_secret(secret),
            checks: Hmac::new_from_slice(secret).expect("HMAC takes a key of any length"),
        }
    }

    /// The signed token.
    ///
    /// # Panics
    /// Never: claims are plain text and numbers, and HMAC signs anything.
    #[must_use]
    pub fn sign(&self, claims: &AccessClaims) -> String {
        jsonwebtoken::encode(&header(), claims, &self.signs)
            .expect("plain claims serialize and HMAC signs any bytes")
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey")
    }
}

fn header() -> Header {
    Header { typ: Some(TYPE.to_owned()), ..Header::new(Algorithm::HS256) }
}

/// What a checked token says.
#[derive(Debug, Clone)]
pub struct Verified {
    /// Whose token it is.
    pub subject: UserId,
    /// What it permits.
    pub scope: Scopes,
    /// The token's own id.
    pub jti: String,
    /// The session that it was issued in, where there is one.
    pub session: Option<String>,
}

/// Checks tokens: one algorithm, one issuer, one audience, and the time by our own clock.
///
/// The signature is checked here and not by `jsonwebtoken`, which would expand the key again, read
/// the header twice and take the time from elsewhere: a third of the cost of a claim's answer.
pub struct Verifier {
    key: Hmac<Sha256>,
    issuer: String,
    audience: String,
    clock: Arc<dyn Clock>,
    /// The first part of the tokens that [`TokenKey::sign`] makes, so that theirs is not decoded
    /// again for each request.
    own_header: String,
}

/// The header of a token. Whatever else it could say (`crit`, `kid`, `jku`, an embedded key) would
/// ask for another way to check it, and there is one way only.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireHeader<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow)]
    typ: Cow<'a, str>,
}

#[derive(Deserialize)]
struct WireClaims<'a> {
    #[serde(borrow)]
    iss: Cow<'a, str>,
    #[serde(borrow)]
    aud: Audience<'a>,
    #[serde(borrow)]
    sub: Cow<'a, str>,
    exp: i64,
    #[expect(dead_code, reason = "required and a number, but no rule looks at it")]
    iat: i64,
    nbf: Option<i64>,
    jti: String,
    #[serde(borrow)]
    scope: Cow<'a, str>,
    sid: Option<String>,
}

/// `aud` is one audience or a list of them (RFC 7519, section 4.1.3).
enum Audience<'a> {
    One(Cow<'a, str>),
    Many(Vec<String>),
}

impl Audience<'_> {
    fn has(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Many(many) => many.iter().any(|one| one == audience),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Audience<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Audience<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an audience or a list of them")
            }

            fn visit_borrowed_str<E>(self, one: &'de str) -> Result<Audience<'de>, E> {
                Ok(Audience::One(one.into()))
            }

            fn visit_str<E>(self, one: &str) -> Result<Audience<'de>, E> {
                Ok(Audience::One(one.to_owned().into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, many: A) -> Result<Audience<'de>, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(many)).map(Audience::Many)
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
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
        let header = serde_json::to_vec(&header()).expect("a header of two strings serializes");
        Self {
            key: key.checks.clone(),
            issuer: issuer.into(),
            audience: audience.into(),
            clock,
            own_header: URL_SAFE_NO_PAD.encode(header),
        }
    }

    /// The request's token, checked.
    ///
    /// # Errors
    /// 401 `unauthenticated`.
    pub fn check(&self, headers: &HeaderMap) -> Result<Verified, Problem> {
        self.verify(bearer(headers)?)
    }

    /// Checks a token.
    ///
    /// # Errors
    /// 401 `unauthenticated` for anything but a token of our issuer, for our audience, signed with
    /// our key, in force now.
    pub fn verify(&self, token: &str) -> Result<Verified, Problem> {
        let not_ours = || refused("The access token is not one of ours.");
        let claims = self.authentic(token).ok_or_else(not_ours)?;
        // Checked as a whole, which is faster than each string by itself.
        let claims = str::from_utf8(&claims).map_err(|_| not_ours())?;
        let claims: WireClaims<'_> = serde_json::from_str(claims).map_err(|_| not_ours())?;
        if claims.iss != self.issuer || !claims.aud.has(&self.audience) {
            return Err(refused("The access token is for another service."));
        }
        let now_seconds = self.clock.now().as_micros() / 1_000_000;
        if now_seconds >= claims.exp.saturating_add(LEEWAY_SECONDS) {
            return Err(refused("The access token has expired."));
        }
        if claims.nbf.is_some_and(|nbf| now_seconds < nbf.saturating_sub(LEEWAY_SECONDS)) {
            return Err(refused("The access token is not valid yet."));
        }
        Ok(Verified {
            subject: UserId::parse(&claims.sub).map_err(|_| not_ours())?,
            scope: Scopes::parse(&claims.scope),
            jti: claims.jti,
            session: claims.sid,
        })
    }

    /// The bytes of the claims, when our key signed them with our algorithm.
    fn authentic(&self, token: &str) -> Option<Vec<u8>> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        if header != self.own_header && !is_acceptable(header) {
            return None;
        }
        let mut bytes = [0; SIGNATURE_BYTES + 1];
        let length = URL_SAFE_NO_PAD.decode_slice(signature, &mut bytes).ok()?;
        let mut mac = self.key.clone();
        mac.update(message.as_bytes());
        mac.verify_slice(&bytes[..length]).ok()?;
        URL_SAFE_NO_PAD.decode(claims).ok()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
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
