//! An issuer in the test itself: keys that sign anything, and an address that answers anything.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::oidc::AUDIENCE;

/// 2100-01-01T00:00:00Z.
const EXPIRES_AT_SECONDS: i64 = 4_102_444_800;

/// A private key, and how it is published.
pub(crate) struct Signer {
    key: EncodingKey,
    algorithm: Algorithm,
    pub(crate) jwk: Value,
}

impl Signer {
    pub(crate) fn es256(kid: &str) -> Self {
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let document = document.expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref());
        let pair = pair.expect("the key");
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let jwk = json!({
            "kty": "EC", "crv": "P-256", "kid": kid,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        });
        Self { key: EncodingKey::from_ec_der(document.as_ref()), algorithm: Algorithm::ES256, jwk }
    }

    pub(crate) fn eddsa(kid: &str) -> Self {
        let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).expect("a key");
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(document.as_ref()).expect("the key");
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x});
        Self { key: EncodingKey::from_ed_der(document.as_ref()), algorithm: Algorithm::EdDSA, jwk }
    }

    /// The header of its tokens.
    pub(crate) fn header(&self) -> Value {
        json!({"alg": format!("{:?}", self.algorithm), "typ": "at+jwt", "kid": self.jwk["kid"]})
    }

    /// A token with any header and claims, signed with this key whatever they say.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        signed(&self.key, self.algorithm, header, claims)
    }

    /// A good token of this issuer for this user.
    pub(crate) fn token(&self, issuer: &str, subject: &str) -> String {
        self.sign(&self.header(), &claims(issuer, subject))
    }
}

/// A token that a secret has signed with HS256, whatever its header says.
pub(crate) fn signed_by_secret(secret: &[u8], header: &Value, claims: &Value) -> String {
    signed(&EncodingKey::from_secret(secret), Algorithm::HS256, header, claims)
}

fn signed(key: &EncodingKey, algorithm: Algorithm, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm);
    format!("{message}.{}", signature.expect("a signature"))
}

/// The claims of a good token.
pub(crate) fn claims(issuer: &str, subject: &str) -> Value {
    json!({
        "iss": issuer, "aud": AUDIENCE, "sub": subject, "scope": "shop:claim", "iat": 0,
        "exp": EXPIRES_AT_SECONDS, "jti": "token-1", "client_id": "app",
    })
}

/// What an address answers.
#[derive(Clone)]
pub(crate) enum Answers {
    /// The key set of these signers' keys.
    Keys(Vec<Value>),
    /// So many bytes of a key set that never ends.
    Bytes(usize),
    /// That it is elsewhere.
    Moved(String),
    /// 503.
    Unavailable,
    /// Nothing; the connection stays.
    Nothing,
}

/// A key set at an address of this machine.
pub(crate) struct KeyServer {
    pub(crate) url: String,
    answers: Arc<Mutex<Answers>>,
    asked: Arc<AtomicUsize>,
    accepts: JoinHandle<()>,
}

impl KeyServer {
    pub(crate) async fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let answers = Arc::new(Mutex::new(answers));
        let asked = Arc::new(AtomicUsize::new(0));
        let (shared, count) = (Arc::clone(&answers), Arc::clone(&asked));
        let accepts = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let answers = shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
                tokio::spawn(answer(stream, answers));
            }
        });
        Self { url, answers, asked, accepts }
    }

    pub(crate) fn answers(&self, answers: Answers) {
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner) = answers;
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// What a configuration says of it.
    pub(crate) fn section(&self, more: &str) -> String {
        let url = &self.url;
        format!(
            "[[identity.providers]]\nissuer = \"{url}\"\naudience = \"{AUDIENCE}\"\n\
             jwks_url = \"{url}/jwks\"\nalgorithms = [\"ES256\", \"EdDSA\"]\n\
             scopes = {{ user = [\"shop:claim\"], admin = [\"shop:manage\"] }}\n{more}\n"
        )
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.accepts.abort();
    }
}

/// Answers one request; who asks goes away when it wants to.
async fn answer(mut stream: TcpStream, answers: Answers) {
    let mut request = [0; 4_096];
    let _ = stream.read(&mut request).await;
    let (status, body) = match answers {
        Answers::Keys(keys) => ("200 OK".to_owned(), json!({"keys": keys}).to_string()),
        Answers::Bytes(count) => {
            ("200 OK".to_owned(), format!("{{\"keys\":[{}", " ".repeat(count)))
        }
        Answers::Moved(url) => (format!("302 Found\r\nlocation: {url}"), String::new()),
        Answers::Unavailable => ("503 Service Unavailable".to_owned(), String::new()),
        Answers::Nothing => {
            let _ = stream.read(&mut request).await;
            return;
        }
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
}
