//! Access tokens, signed by a library and not by the code under test.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use uuid::Uuid;

/// 2100-01-01T00:00:00Z: no test lives to see it.
const EXPIRES_AT_SECONDS: i64 = 4_102_444_800;

/// Signs tokens with a deployment's key.
#[derive(Debug, Clone)]
pub struct TokenMint {
    secret: [u8; 32],
    issuer: String,
    audience: String,
}

impl TokenMint {
    /// Signs for this issuer and audience.
    #[must_use]
    pub fn new(secret: [u8; 32], issuer: &str, audience: &str) -> Self {
        Self { secret, issuer: issuer.to_owned(), audience: audience.to_owned() }
    }

    /// A good token of this subject and scope.
    #[must_use]
    pub fn token(&self, subject: &str, scope: &str) -> String {
        self.sign(&self.claims(subject, scope))
    }

    /// The claims of a good token, for a test that spoils one of them.
    #[must_use]
    pub fn claims(&self, subject: &str, scope: &str) -> Value {
        json!({
            "iss": self.issuer, "aud": self.audience, "sub": subject, "scope": scope,
            "iat": 0, "exp": EXPIRES_AT_SECONDS, "jti": Uuid::now_v7(),
        })
    }

    /// A token with these claims.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> String {
        let header = Header { typ: Some("at+jwt".to_owned()), ..Header::new(Algorithm::HS256) };
        let key = EncodingKey::from_secret(&self.secret);
        jsonwebtoken::encode(&header, claims, &key).expect("HMAC signs any claims")
    }
}
