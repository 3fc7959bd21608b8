//! The algorithms of RFC 7518 and RFC 8037 that public keys check.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, VerificationAlgorithm,
};
use serde::{Deserialize, Serialize};

/// How a token is signed by one who keeps a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is named as RFC 7518, section 3.1, names it")]
pub enum Algorithm {
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "RS384")]
    Rs384,
    #[serde(rename = "RS512")]
    Rs512,
    #[serde(rename = "PS256")]
    Ps256,
    #[serde(rename = "PS384")]
    Ps384,
    #[serde(rename = "PS512")]
    Ps512,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "ES384")]
    Es384,
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// What a key must be to check an algorithm, and what then checks it.
pub(super) enum Fit {
    /// An RSA key.
    Rsa(&'static RsaParameters),
    /// A key on this curve, with coordinates of so many bytes.
    Curve(&'static str, usize, &'static dyn VerificationAlgorithm),
    /// An octet key pair on this curve, with a public key of so many bytes.
    Octets(&'static str, usize, &'static dyn VerificationAlgorithm),
}

impl Algorithm {
    const ALL: [(Self, &'static str); 9] = [
        (Self::Rs256, "RS256"),
        (Self::Rs384, "RS384"),
        (Self::Rs512, "RS512"),
        (Self::Ps256, "PS256"),
        (Self::Ps384, "PS384"),
        (Self::Ps512, "PS512"),
        (Self::Es256, "ES256"),
        (Self::Es384, "ES384"),
        (Self::EdDsa, "EdDSA"),
    ];

    /// The algorithm of this name, in exactly this case; none for `none`, for those with a shared
    /// secret, and for those that we do not check.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(algorithm, _)| *algorithm)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(algorithm, _)| *algorithm == self);
        found.map_or("", |(_, name)| name)
    }

    pub(super) const fn fit(self) -> Fit {
        match self {
            Self::Rs256 => Fit::Rsa(&RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Fit::Rsa(&RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Fit::Rsa(&RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Fit::Rsa(&RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Fit::Rsa(&RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Fit::Rsa(&RSA_PSS_2048_8192_SHA512),
            Self::Es256 => Fit::Curve("P-256", 32, &ECDSA_P256_SHA256_FIXED),
            Self::Es384 => Fit::Curve("P-384", 48, &ECDSA_P384_SHA384_FIXED),
            Self::EdDsa => Fit::Octets("Ed25519", 32, &ED25519),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for (algorithm, name) in Algorithm::ALL {
            assert_eq!(Algorithm::parse(name), Some(algorithm));
            assert_eq!(serde_json::to_value(algorithm).unwrap(), name);
        }
        for name in ["none", "None", "HS256", "rs256", "ES256K", ""] {
            assert_eq!(Algorithm::parse(name), None, "{name}");
        }
    }
}
