//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header, version 07): a call that makes
//! something may be sent again, and makes it once.

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::json::Body;
use crate::problem::{Code, Problem};

/// The header.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Longest key.
const KEY_BYTES_MAX: usize = 64;

/// The key of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    /// What the sender chose.
    pub name: String,
    /// The SHA-256 of the body, which tells the same request from another.
    pub request_hash: [u8; 32],
}

impl RequestKey {
    /// The key came with another body before.
    #[must_use]
    pub fn mismatch() -> Problem {
        let detail = "This Idempotency-Key came with another body before; choose a new key.";
        Problem::new(Code::IdempotencyMismatch, detail)
    }

    /// The first request with the key is not answered yet.
    #[must_use]
    pub fn in_progress() -> Problem {
        let detail = "The first request with this Idempotency-Key is not answered yet.";
        Problem::new(Code::IdempotencyInProgress, detail).retry_after_seconds(1)
    }
}

/// A [`Body`] with the key that it came under, if it did: 1 to 64 visible ASCII characters, else
/// 400 `malformed`.
#[derive(Debug, Clone)]
pub struct KeyedBody<T> {
    /// The body.
    pub body: T,
    /// The key.
    pub key: Option<RequestKey>,
}

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for KeyedBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let name = key_name(request.headers())?;
        let Some(name) = name else {
            let Body(body) = Body::from_request(request, state).await?;
            return Ok(Self { body, key: None });
        };
        let (body, bytes) = Body::with_bytes(request).await?;
        let request_hash = Sha256::digest(&bytes).into();
        Ok(Self { body, key: Some(RequestKey { name, request_hash }) })
    }
}

fn key_name(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let fits = |key: &&str| {
        (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match value.to_str().ok().filter(fits) {
        Some(key) if values.next().is_none() => Ok(Some(key.to_owned())),
        _ => {
            let detail = "Idempotency-Key must be one value of 1 to 64 visible ASCII characters.";
            Err(Problem::new(Code::Malformed, detail))
        }
    }
}

/// The answer to a call that made something, from its parts: 201 with `Location` and `ETag`, and
/// the thing itself as JSON.
#[must_use]
pub fn created(location: String, etag: String, json: String) -> Response {
    let headers = [
        (header::LOCATION, location),
        (header::ETAG, etag),
        (header::CONTENT_TYPE, "application/json".to_owned()),
    ];
    (StatusCode::CREATED, headers, json).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body as Bytestream;

    use super::*;

    async fn keyed(keys: &[&[u8]], body: &str) -> Result<KeyedBody<Vec<u8>>, Problem> {
        let mut request = Request::builder().header(header::CONTENT_TYPE, "application/json");
        for key in keys {
            request = request.header(IDEMPOTENCY_KEY, *key);
        }
        let request = request.body(Bytestream::from(body.to_owned())).expect("a request");
        KeyedBody::from_request(request, &()).await
    }

    #[tokio::test]
    async fn a_key_is_one_word_of_at_most_64_characters() {
        let long = [b'k'; 65];
        for key in [&b"k"[..], b"\"8e03978e-40d5-43e8-bc93-6894a57f9324\"", b"~!", &long[..64]] {
            let found = keyed(&[key], "[1]").await.expect("a body").key.expect("a key");
            assert_eq!(found.name.as_bytes(), key);
        }
        for keys in [&[&b""[..]][..], &[b"a b"], &[&long], &["키".as_bytes()], &[b"k", b"k"]] {
            let refused = keyed(keys, "[1]").await.expect_err("no key");
            assert_eq!(refused.code(), Code::Malformed, "{keys:?}");
        }
        assert_eq!(keyed(&[], "[1]").await.expect("a body").key, None);
    }

    #[tokio::test]
    async fn another_body_has_another_hash() {
        let mut hashes = Vec::new();
        for body in ["[1]", "[1]", "[2]", "[1] "] {
            let keyed = keyed(&[b"k"], body).await.expect("a body");
            hashes.push(keyed.key.expect("a key").request_hash);
        }
        assert_eq!(hashes[0], hashes[1]);
        assert!(hashes[1] != hashes[2] && hashes[1] != hashes[3]);
    }
}
