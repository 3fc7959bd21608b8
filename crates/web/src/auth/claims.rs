//! What tokens say.

use std::borrow::Cow;
use std::fmt;

use firstcome_core::{ClientId, UserId};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Scopes, refused};
use crate::problem::Problem;

/// How long after `exp`, and before `nbf`, a token is still good: clocks differ.
pub const LEEWAY_SECONDS: i64 = 60;
/// The `typ` of an access token (RFC 9068, section 2.1), so that no other JWT passes for one.
pub(super) const TYPE: &str = "at+jwt";

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

/// The claims of our own tokens.
#[derive(Deserialize)]
pub(super) struct WireClaims<'a> {
    #[serde(borrow)]
    pub(super) iss: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) aud: Audience<'a>,
    #[serde(borrow)]
    pub(super) sub: Cow<'a, str>,
    pub(super) exp: i64,
    #[expect(dead_code, reason = "required and a number, but no rule looks at it")]
    pub(super) iat: i64,
    pub(super) nbf: Option<i64>,
    pub(super) jti: String,
    #[serde(borrow)]
    pub(super) scope: Cow<'a, str>,
    pub(super) sid: Option<String>,
}

/// `aud` is one audience or a list of them (RFC 7519, section 4.1.3).
pub(super) enum Audience<'a> {
    One(Cow<'a, str>),
    Many(Vec<String>),
}

impl Audience<'_> {
    pub(super) fn has(&self, audience: &str) -> bool {
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

/// Whether a token is in force at this second.
#[inline]
pub(super) fn in_force(exp: i64, nbf: Option<i64>, now_seconds: i64) -> Result<(), Problem> {
    if now_seconds >= exp.saturating_add(LEEWAY_SECONDS) {
        return Err(refused("The access token has expired."));
    }
    if nbf.is_some_and(|nbf| now_seconds < nbf.saturating_sub(LEEWAY_SECONDS)) {
        return Err(refused("The access token is not valid yet."));
    }
    Ok(())
}

pub(super) fn not_ours() -> Problem {
    refused("The access token is not one of ours.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_seconds_are_forgiven_on_both_sides_and_no_more() {
        const NOW: i64 = 1_800_000_000;
        let good = |exp: i64, nbf: Option<i64>| in_force(exp, nbf, NOW).is_ok();
        assert!(good(NOW - 59, None) && !good(NOW - 60, None));
        assert!(good(NOW, Some(NOW + 60)) && !good(NOW, Some(NOW + 61)));
        assert!(!good(i64::MIN, None) && good(i64::MAX, Some(i64::MIN)));
    }
}
