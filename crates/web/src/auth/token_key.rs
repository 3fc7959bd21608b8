//! Keys that sign access tokens.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::Algorithm;
use super::claims::{AccessClaims, TYPE};
use super::public_key::{Jwk, PublicKey};

/// How our own tokens are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SigningAlgorithm {
    /// With a secret: whoever can check a token can make one.
    #[serde(rename = "HS256")]
    Hs256,
    /// With RSA of 2,048 bits.
    #[serde(rename = "RS256")]
    Rs256,
    /// On the curve P-256.
    #[serde(rename = "ES256")]
    Es256,
    /// On the curve Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl SigningAlgorithm {
    /// Those that public keys check.
    pub const PUBLIC: [Algorithm; 3] = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];

    /// Its name (RFC 7518, section 3.1).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// What checks it with a public key; none for the one that has none.
    #[must_use]
    pub const fn public(self) -> Option<Algorithm> {
        match self {
            Self::Hs256 => None,
            Self::Rs256 => Some(Algorithm::Rs256),
            Self::Es256 => Some(Algorithm::Es256),
            Self::EdDsa => Some(Algorithm::EdDsa),
        }
    }
}

/// No key can be made, or the bytes hold none.
#[derive(Debug, thiserror::Error)]
#[error("no {0} key")]
pub struct NoKey(&'static str);

/// A key that signs tokens. Cheap to clone.
#[derive(Clone)]
pub struct TokenKey(Arc<Inner>);

struct Inner {
    /// The first part of every token, in base64url.
    header: String,
    signs: Signs,
}

enum Signs {
    Secret(Hmac<Sha256>),
    Rsa(RsaKeyPair),
    Curve(EcdsaKeyPair),
    Octets(Ed25519KeyPair),
}

impl TokenKey {
    /// A key with this secret, which must come from a cryptographic random source.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        let mac = Hmac::new_from_slice(secret).expect("HMAC takes a key of any length");
        Self::with(Signs::Secret(mac))
    }

    /// The private key in these bytes, as [`TokenKey::generate`] has made them.
    ///
    /// # Errors
    /// When they hold no key of the algorithm.
    pub fn from_private(algorithm: SigningAlgorithm, bytes: &[u8]) -> Result<Self, NoKey> {
        let none = NoKey(algorithm.name());
        let signs = match algorithm {
            SigningAlgorithm::Hs256 => {
                return bytes.try_into().map(Self::new).map_err(|_| none);
            }
            SigningAlgorithm::Rs256 => RsaKeyPair::from_pkcs8(bytes).map(Signs::Rsa),
            SigningAlgorithm::Es256 => {
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, bytes).map(Signs::Curve)
            }
            SigningAlgorithm::EdDsa => Ed25519KeyPair::from_pkcs8(bytes).map(Signs::Octets),
        };
        signs.map(Self::with).map_err(|_| none)
    }

    /// A new private key: a secret of 32 bytes, or PKCS #8.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn generate(algorithm: SigningAlgorithm) -> Result<Vec<u8>, NoKey> {
        let none = |_| NoKey(algorithm.name());
        let random = SystemRandom::new();
        match algorithm {
            SigningAlgorithm::Hs256 => {
                let mut secret = vec![0; 32];
                aws_lc_rs::rand::fill(&mut secret).map_err(none)?;
                Ok(secret)
            }
            SigningAlgorithm::Rs256 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(none)?;
                Ok(pair.as_der().map_err(none)?.as_ref().to_vec())
            }
            SigningAlgorithm::Es256 => {
                let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
                Ok(pair.map_err(none)?.as_ref().to_vec())
            }
            SigningAlgorithm::EdDsa => {
                Ok(Ed25519KeyPair::generate_pkcs8(&random).map_err(none)?.as_ref().to_vec())
            }
        }
    }

    /// How it signs.
    #[must_use]
    pub fn algorithm(&self) -> SigningAlgorithm {
        self.0.signs.algorithm()
    }

    /// Its public half, with the thumbprint that its tokens call it by; none for a secret.
    #[must_use]
    pub fn jwk(&self) -> Option<Jwk> {
        let mut jwk = self.0.signs.public()?;
        jwk.kid = Some(jwk.thumbprint());
        jwk.usage = Some("sig".to_owned());
        Some(jwk)
    }

    /// What checks its tokens; none for a secret.
    #[must_use]
    pub fn public_key(&self) -> Option<PublicKey> {
        let algorithm = self.0.signs.algorithm().public()?;
        PublicKey::new(self.jwk()?, &[algorithm])
    }

    /// The signed token.
    ///
    /// # Panics
    /// Never: claims are plain text and numbers, and a key that was read signs any bytes.
    #[must_use]
    pub fn sign(&self, claims: &AccessClaims) -> String {
        let claims = serde_json::to_vec(claims).expect("plain claims serialize");
        let mut token = self.0.header.clone();
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = self.0.signs.sign(token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }

    fn with(signs: Signs) -> Self {
        let algorithm = signs.algorithm().name();
        let kid = signs.public().map(|jwk| format!(",\"kid\":\"{}\"", jwk.thumbprint()));
        let kid = kid.unwrap_or_default();
        let header = format!("{{\"typ\":\"{TYPE}\",\"alg\":\"{algorithm}\"{kid}}}");
        Self(Arc::new(Inner { header: URL_SAFE_NO_PAD.encode(header), signs }))
    }

    /// The first part of its tokens.
    pub(super) fn header(&self) -> &str {
        &self.0.header
    }

    /// The secret, where it is one.
    pub(super) fn secret(&self) -> Option<&Hmac<Sha256>> {
        match &self.0.signs {
            Signs::Secret(mac) => Some(mac),
            _ => None,
        }
    }
}

impl Signs {
    const fn algorithm(&self) -> SigningAlgorithm {
        match self {
            Self::Secret(_) => SigningAlgorithm::Hs256,
            Self::Rsa(_) => SigningAlgorithm::Rs256,
            Self::Curve(_) => SigningAlgorithm::Es256,
            Self::Octets(_) => SigningAlgorithm::EdDsa,
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Secret(mac) => {
                let mut mac = mac.clone();
                mac.update(message);
                mac.finalize().into_bytes().to_vec()
            }
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let random = SystemRandom::new();
                let signed = pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature);
                signed.expect("an RSA key that was read signs any bytes");
                signature
            }
            Self::Curve(pair) => {
                let signed = pair.sign(&SystemRandom::new(), message);
                signed.expect("a P-256 key that was read signs any bytes").as_ref().to_vec()
            }
            Self::Octets(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// The public half without any name.
    fn public(&self) -> Option<Jwk> {
        let text = |bytes: &[u8]| Some(URL_SAFE_NO_PAD.encode(bytes));
        let of = |kty: &str, crv: Option<&str>| Jwk {
            kty: kty.to_owned(),
            crv: crv.map(str::to_owned),
            alg: Some(self.algorithm().name().to_owned()),
            ..Jwk::default()
        };
        match self {
            Self::Secret(_) => None,
            Self::Rsa(pair) => {
                let key = pair.public_key();
                let n = text(key.modulus().big_endian_without_leading_zero());
                let e = text(key.exponent().big_endian_without_leading_zero());
                Some(Jwk { n, e, ..of("RSA", None) })
            }
            Self::Curve(pair) => {
                // An uncompressed point: a byte that says so, and two coordinates.
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                Some(Jwk { x: text(x), y: text(y), ..of("EC", Some("P-256")) })
            }
            Self::Octets(pair) => {
                Some(Jwk { x: text(pair.public_key().as_ref()), ..of("OKP", Some("Ed25519")) })
            }
        }
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey")
    }
}
