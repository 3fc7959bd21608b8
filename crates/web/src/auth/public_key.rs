//! Public keys: JSON Web Keys (RFC 7517), each ready to check the algorithms that it fits.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::signature::{ParsedPublicKey, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::Algorithm;
use super::algorithm::Fit;

/// Most keys of a set that are looked at.
const SET_KEYS_MAX: usize = 64;
/// Longest id of a key.
pub(super) const KEY_ID_BYTES_MAX: usize = 256;
/// Sizes of an RSA modulus that are good, in bytes: 2,048 to 8,192 bits.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// A public key as RFC 7517 writes it. Members that we do not know are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = JsonWebKey)]
pub struct Jwk {
    /// `RSA`, `EC` or `OKP`.
    pub kty: String,
    /// What tokens call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub kid: Option<String>,
    /// What it is for: `sig`.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub usage: Option<String>,
    /// What may be done with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub key_ops: Option<Vec<String>>,
    /// The one algorithm that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub alg: Option<String>,
    /// Its curve.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub crv: Option<String>,
    /// The modulus of an RSA key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub n: Option<String>,
    /// The exponent of an RSA key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub e: Option<String>,
    /// The first coordinate of a point, or all of an octet key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub x: Option<String>,
    /// The second coordinate of a point.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub y: Option<String>,
}

impl Jwk {
    /// The thumbprint of RFC 7638, with SHA-256: an id that follows from the key alone.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        let members = [
            ("crv", &self.crv),
            ("e", &self.e),
            ("kty", &Some(self.kty.clone())),
            ("n", &self.n),
            ("x", &self.x),
            ("y", &self.y),
        ];
        let there = members.iter().filter_map(|(name, value)| {
            value.as_ref().map(|value| format!("\"{name}\":\"{value}\""))
        });
        let text = format!("{{{}}}", there.collect::<Vec<_>>().join(","));
        URL_SAFE_NO_PAD.encode(Sha256::digest(text))
    }

    /// Whether it may check signatures at all.
    fn is_for_checking(&self) -> bool {
        let for_signatures = self.usage.as_ref().is_none_or(|usage| usage == "sig");
        let verifies =
            |operations: &Vec<String>| operations.iter().any(|operation| operation == "verify");
        for_signatures && self.key_ops.as_ref().is_none_or(verifies)
    }

    /// What checks this algorithm with this key; none when they do not fit.
    fn parsed(&self, algorithm: Algorithm) -> Option<ParsedPublicKey> {
        if self.alg.as_ref().is_some_and(|alg| alg != algorithm.name()) {
            return None;
        }
        let on_curve = |curve: &str| self.crv.as_deref() == Some(curve);
        match algorithm.fit() {
            Fit::Rsa(parameters) if self.kty == "RSA" => {
                let (n, e) = (without_zeros(&self.n)?, without_zeros(&self.e)?);
                let is_sized = MODULUS_BYTES.contains(&n.len());
                let key = RsaPublicKeyComponents { n, e };
                is_sized.then(|| key.to_parsed_public_key(parameters).ok()).flatten()
            }
            Fit::Curve(curve, bytes, verification) if self.kty == "EC" && on_curve(curve) => {
                let (x, y) = (octets(&self.x, bytes)?, octets(&self.y, bytes)?);
                // An uncompressed point, as section 2.3.3 of SEC 1 has it.
                let point = [&[4], x.as_slice(), y.as_slice()].concat();
                ParsedPublicKey::new(verification, point).ok()
            }
            Fit::Octets(curve, bytes, verification) if self.kty == "OKP" && on_curve(curve) => {
                ParsedPublicKey::new(verification, octets(&self.x, bytes)?).ok()
            }
            _ => None,
        }
    }
}

/// A number's bytes, of which some providers write a zero too many.
fn without_zeros(member: &Option<String>) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(member.as_ref()?).ok()?;
    let start = bytes.iter().position(|byte| *byte != 0)?;
    Some(bytes[start..].to_vec())
}

/// Exactly so many bytes.
fn octets(member: &Option<String>, length: usize) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(member.as_ref()?).ok().filter(|bytes| bytes.len() == length)
}

/// A public key that checks tokens.
pub struct PublicKey {
    jwk: Jwk,
    /// What it may check, by algorithm: those alone that were allowed and that it fits.
    checks: Vec<(Algorithm, ParsedPublicKey)>,
    /// Until its set no longer has it: what it has checked is then worth nothing.
    live: AtomicBool,
}

impl PublicKey {
    /// The key, for those of the algorithms that it fits; none where it fits none.
    #[must_use]
    pub fn new(jwk: Jwk, algorithms: &[Algorithm]) -> Option<Self> {
        let too_long = jwk.kid.as_ref().is_some_and(|kid| kid.len() > KEY_ID_BYTES_MAX);
        if too_long || !jwk.is_for_checking() {
            return None;
        }
        let fit = |algorithm: &Algorithm| Some((*algorithm, jwk.parsed(*algorithm)?));
        let checks: Vec<_> = algorithms.iter().filter_map(fit).collect();
        (!checks.is_empty()).then(|| Self { jwk, checks, live: AtomicBool::new(true) })
    }

    /// The keys of a set (RFC 7517, section 5) that fit one of these algorithms; the others are
    /// left out, as section 5 asks for.
    ///
    /// # Errors
    /// When it is no set, or one of more than 64 keys.
    pub fn read_set(text: &[u8], algorithms: &[Algorithm]) -> Result<Vec<Self>, NoKeySet> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }

        let set: Set = serde_json::from_slice(text)?;
        if set.keys.len() > SET_KEYS_MAX {
            return Err(NoKeySet::TooMany);
        }
        let keys = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        Ok(keys.filter_map(|jwk| Self::new(jwk, algorithms)).collect())
    }

    /// What it is made of.
    #[must_use]
    pub fn jwk(&self) -> &Jwk {
        &self.jwk
    }

    /// Whether it may check this algorithm.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        self.checks.iter().any(|(known, _)| *known == algorithm)
    }

    /// Whether this signature of the message is by this key and algorithm.
    pub(super) fn has_signed(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let check = self.checks.iter().find(|(known, _)| *known == algorithm);
        check.is_some_and(|(_, key)| key.verify_sig(message, signature).is_ok())
    }

    /// Whether its set still has it.
    pub(super) fn is_live(&self) -> bool {
        self.live.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) {
        self.live.store(false, Ordering::Relaxed);
    }

    /// Whether the other one checks the same tokens.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let algorithms =
            |key: &Self| key.checks.iter().map(|(known, _)| *known).collect::<Vec<_>>();
        self.jwk == other.jwk && algorithms(self) == algorithms(other)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey").field("kid", &self.jwk.kid).finish_non_exhaustive()
    }
}

/// A text is no key set.
#[derive(Debug, thiserror::Error)]
pub enum NoKeySet {
    /// It has another form.
    #[error("it is no JSON Web Key Set: {0}")]
    Form(#[from] serde_json::Error),
    /// It has more than 64 keys.
    #[error("it has more than {SET_KEYS_MAX} keys")]
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7638, section 3.1.
    const EXAMPLE: &str = concat!(
        r#"{"kty":"RSA","n":""#,
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1",
        "L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4",
        "QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbO",
        "pbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csF",
        "Cur-kEgU8awapJzKnqDKgw",
        r#"","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#,
    );
    const BOTH: [Algorithm; 2] = [Algorithm::Rs256, Algorithm::Es256];

    fn example() -> Jwk {
        serde_json::from_str(EXAMPLE).unwrap()
    }

    #[test]
    fn the_thumbprint_is_that_of_the_standard() {
        assert_eq!(example().thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn a_key_fits_what_its_type_and_its_own_words_allow() {
        assert!(PublicKey::new(example(), &BOTH).is_some_and(|key| key.fits(Algorithm::Rs256)));
        assert!(PublicKey::new(example(), &[Algorithm::Es256]).is_none());
        assert!(PublicKey::new(example(), &[Algorithm::Rs512]).is_none(), "its alg is RS256");
        let any = Jwk { alg: None, ..example() };
        assert!(PublicKey::new(any, &[Algorithm::Rs512]).is_some());
        for unfit in [
            Jwk { usage: Some("enc".to_owned()), ..example() },
            Jwk { key_ops: Some(vec!["sign".to_owned()]), ..example() },
            Jwk { kty: "EC".to_owned(), ..example() },
            Jwk { kty: "oct".to_owned(), ..example() },
            Jwk { n: Some("AQAB".to_owned()), ..example() },
            Jwk { n: Some("!".to_owned()), ..example() },
            Jwk { n: None, ..example() },
            Jwk { kid: Some("k".repeat(257)), ..example() },
        ] {
            assert!(PublicKey::new(unfit.clone(), &BOTH).is_none(), "{unfit:?}");
        }
    }

    #[test]
    fn of_a_set_what_is_unknown_is_left_out() {
        let set = format!(r#"{{"keys":[{{"kty":"AKP","pub":"x"}},5,{{}},{EXAMPLE}],"more":1}}"#);
        assert_eq!(PublicKey::read_set(set.as_bytes(), &BOTH).unwrap().len(), 1);
        assert!(PublicKey::read_set(b"{}", &BOTH).is_err());
        assert!(PublicKey::read_set(b"<html>", &BOTH).is_err());
        let many = format!(r#"{{"keys":[{}]}}"#, ["{}"; 65].join(","));
        assert!(PublicKey::read_set(many.as_bytes(), &BOTH).is_err());
    }
}
