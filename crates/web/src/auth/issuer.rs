//! Tokens that an issuer's public keys check: our own ones, or those of another identity provider.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use firstcome_core::{AccountId, UserId};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::claims::{Audience, TYPE, Verified, in_force, not_ours};
use super::public_key::KEY_ID_BYTES_MAX;
use super::remembered::Remembered;
use super::{Algorithm, KeySet, PublicKey, Scopes, Unverified, refused};

/// Longest token that is looked at: providers put groups and names into theirs.
const TOKEN_BYTES_MAX: usize = 8_192;
/// Version of the UUIDs that local accounts and clients are called by.
const ACCOUNT_UUID_VERSION: usize = 7;

/// Whose tokens are accepted, and what they must be like.
#[derive(Debug)]
pub struct Issuer {
    /// The `iss` of its tokens, exactly.
    pub issuer: String,
    /// What must be among the `aud` of its tokens.
    pub audience: String,
    /// The algorithms that its tokens may be signed with. Its keys were read for the same ones.
    pub algorithms: Vec<Algorithm>,
    /// Its public keys.
    pub keys: Arc<KeySet>,
    /// What else holds, and what its tokens permit.
    pub kind: IssuerKind,
}

/// Who an issuer is.
#[derive(Debug)]
pub enum IssuerKind {
    /// This deployment.
    Ours,
    /// Another identity provider.
    Provider(Provider),
}

/// How another provider's tokens are read.
#[derive(Debug)]
pub struct Provider {
    /// The `typ` of its access tokens, any of these, in lower case.
    pub types: Vec<String>,
    /// Where its scope words are: a claim by its name, or by a JSON pointer that begins with `/`.
    pub scope_claim: String,
    /// What its words permit here.
    pub grants: Vec<(String, Scopes)>,
    /// What stands before its users' `sub` in their user ids here.
    pub subject_prefix: String,
}

/// The header of a token. What would ask for another way to check it is refused.
#[derive(Deserialize)]
struct WireHeader<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow)]
    typ: Option<Cow<'a, str>>,
    #[serde(borrow)]
    kid: Option<Cow<'a, str>>,
    /// Extensions that must be understood: none is.
    crit: Option<IgnoredAny>,
    b64: Option<IgnoredAny>,
    zip: Option<IgnoredAny>,
    /// Keys that the sender would like to be asked by.
    jwk: Option<IgnoredAny>,
    jku: Option<IgnoredAny>,
    x5u: Option<IgnoredAny>,
}

impl WireHeader<'_> {
    fn is_plain(&self) -> bool {
        let odd = [&self.crit, &self.b64, &self.zip, &self.jwk, &self.jku, &self.x5u];
        odd.iter().all(|member| member.is_none())
            && self.kid.as_ref().is_none_or(|kid| kid.len() <= KEY_ID_BYTES_MAX)
    }

    /// The type without what may stand before it (RFC 7515, section 4.1.9), in lower case.
    fn media_type(&self) -> Option<String> {
        let typ = self.typ.as_ref()?.to_ascii_lowercase();
        Some(typ.strip_prefix("application/").map_or_else(|| typ.clone(), str::to_owned))
    }
}

/// The parts of a token, as they were sent.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) whole: &'a str,
    /// Header and claims: what is signed.
    pub(super) message: &'a str,
    pub(super) header: &'a str,
    pub(super) claims: &'a str,
    pub(super) signature: &'a str,
}

/// Checks tokens by public keys.
pub(super) struct Issuers {
    issuers: Vec<Issuer>,
    remembered: Remembered,
}

impl Issuers {
    pub(super) fn new(issuers: Vec<Issuer>, remembered_tokens_max: usize) -> Self {
        Self { issuers, remembered: Remembered::new(remembered_tokens_max) }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.issuers.iter().map(|issuer| issuer.issuer.as_str())
    }

    /// Checks a token of one of the issuers.
    pub(super) fn verify(
        &self,
        token: Parts<'_>,
        now_seconds: i64,
    ) -> Result<Verified, Unverified> {
        if token.whole.len() > TOKEN_BYTES_MAX {
            return Err(not_ours().into());
        }
        let digest = Remembered::digest(token.whole);
        if let Some(verified) = self.remembered.get(&digest, now_seconds) {
            return Ok(verified);
        }
        let header = decoded(token.header).ok_or_else(not_ours)?;
        let header: WireHeader<'_> = serde_json::from_slice(&header).map_err(|_| not_ours())?;
        let claims = decoded(token.claims).ok_or_else(not_ours)?;
        let claims: Value = serde_json::from_slice(&claims).map_err(|_| not_ours())?;
        // Not believed yet: it only tells whose keys to ask.
        let named = claims["iss"].as_str();
        let issuer = self.issuers.iter().find(|issuer| Some(issuer.issuer.as_str()) == named);
        let issuer = issuer.ok_or_else(not_ours)?;
        let key = issuer.key_of(&header, token)?;
        let (verified, exp) = issuer.read(&claims, &header, now_seconds)?;
        self.remembered.put(digest, &verified, exp, &key);
        Ok(verified)
    }
}

impl Issuer {
    /// The key that has signed the token, by an algorithm of ours.
    fn key_of(
        &self,
        header: &WireHeader<'_>,
        token: Parts<'_>,
    ) -> Result<Arc<PublicKey>, Unverified> {
        let algorithm = Algorithm::parse(&header.alg);
        let algorithm = algorithm.filter(|algorithm| self.algorithms.contains(algorithm));
        let algorithm = algorithm.filter(|_| header.is_plain()).ok_or_else(not_ours)?;
        let signature = decoded(token.signature).ok_or_else(not_ours)?;
        let mut candidates = self.keys.candidates(header.kid.as_deref(), algorithm);
        if candidates.is_empty() && self.keys.may_yet_have(header.kid.as_deref()) {
            return Err(Unverified::KeyUnknown(Arc::clone(&self.keys)));
        }
        candidates.retain(|key| key.has_signed(algorithm, token.message.as_bytes(), &signature));
        Ok(candidates.pop().ok_or_else(not_ours)?)
    }

    /// What a token says whose signature is good, and when it ends.
    fn read(
        &self,
        claims: &Value,
        header: &WireHeader<'_>,
        now_seconds: i64,
    ) -> Result<(Verified, i64), Unverified> {
        let audience = Audience::deserialize(&claims["aud"]).map_err(|_| not_ours())?;
        if !audience.has(&self.audience) {
            return Err(refused("The access token is for another service.").into());
        }
        let exp = claims["exp"].as_i64().ok_or_else(not_ours)?;
        let nbf = match &claims["nbf"] {
            Value::Null => None,
            nbf => Some(nbf.as_i64().ok_or_else(not_ours)?),
        };
        in_force(exp, nbf, now_seconds)?;
        let read = match &self.kind {
            IssuerKind::Ours => ours(claims, header),
            IssuerKind::Provider(provider) => provider.read(claims, header),
        };
        Ok((read.ok_or_else(not_ours)?, exp))
    }
}

/// A token that this deployment has signed.
fn ours(claims: &Value, header: &WireHeader<'_>) -> Option<Verified> {
    let is_ours = header.media_type()? == TYPE && header.kid.is_some() && claims["iat"].is_i64();
    let verified = || {
        Some(Verified {
            subject: UserId::parse(claims["sub"].as_str()?).ok()?,
            scope: Scopes::parse(claims["scope"].as_str()?),
            jti: claims["jti"].as_str()?.to_owned(),
            session: claims["sid"].as_str().map(str::to_owned),
        })
    };
    is_ours.then(verified).flatten()
}

impl Provider {
    /// An access token of this provider. A session that it names is one of the provider's, and
    /// none of ours.
    fn read(&self, claims: &Value, header: &WireHeader<'_>) -> Option<Verified> {
        let typ = header.media_type()?;
        if !self.types.contains(&typ) || (typ != TYPE && is_of_another_kind(claims)) {
            return None;
        }
        // A prefix alone would be nobody's.
        let sub = claims["sub"].as_str().filter(|sub| !sub.is_empty())?;
        let subject = format!("{}{sub}", self.subject_prefix);
        let subject = UserId::parse(&subject).ok().filter(|subject| !may_be_an_account(subject))?;
        let jti = claims["jti"].as_str().unwrap_or_default().to_owned();
        Some(Verified { subject, scope: self.scopes(claims)?, jti, session: None })
    }

    /// What the words of the scope claim permit. A token without the claim is no access token.
    fn scopes(&self, claims: &Value) -> Option<Scopes> {
        let claim = if self.scope_claim.starts_with('/') {
            claims.pointer(&self.scope_claim)?
        } else {
            claims.get(&self.scope_claim)?
        };
        let words: Vec<&str> = match claim {
            Value::String(text) => text.split(' ').collect(),
            Value::Array(words) => words.iter().map(Value::as_str).collect::<Option<_>>()?,
            _ => return None,
        };
        let granted = self.grants.iter().filter(|(word, _)| words.contains(&word.as_str()));
        Some(granted.fold(Scopes::default(), |scopes, (_, scope)| scopes.and(*scope)))
    }
}

/// Whether a token whose `typ` says nothing is an ID token or the like, by claims that access
/// tokens do not have (OpenID Connect Core 1.0, sections 2 and 3.3.2.11; Back-Channel Logout 1.0,
/// section 2.4).
fn is_of_another_kind(claims: &Value) -> bool {
    let of_others = ["nonce", "at_hash", "c_hash", "s_hash", "events"];
    of_others.iter().any(|claim| claims.get(claim).is_some())
        || claims["typ"].as_str().is_some_and(|typ| typ.eq_ignore_ascii_case("id"))
}

/// Whether a user id has the form of a local account's or client's: no one else's may look like
/// one.
fn may_be_an_account(subject: &UserId) -> bool {
    AccountId::parse(subject.as_str())
        .is_some_and(|id| id.as_uuid().get_version_num() == ACCOUNT_UUID_VERSION)
}

fn decoded(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}
