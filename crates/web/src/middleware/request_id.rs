//! The id of a request: taken from `X-Request-Id` or made, echoed, and in every problem and log.
//! Beside it the request's place in its trace, for whatever is told of the request.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

use crate::trace::Trace;

/// The header that carries the id, both ways.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken from a sender.
const BYTES_MAX: usize = 64;

tokio::task_local! {
    /// The request that this task works on. A task-local, because a problem is made deep inside a
    /// handler and carries the id in its body; handing it outwards to be rendered there would cost
    /// each refusal two allocations more.
    static CURRENT: Current;
}

struct Current {
    id: RequestId,
    /// None when traces are off.
    trace: Option<Trace>,
}

/// The id of a request: 1 to 64 of `A-Za-z0-9._-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The sender's id, when there is one and it is well formed; else a new one.
    pub(crate) fn take_or_make(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(X_REQUEST_ID).iter();
        match (values.next(), values.next()) {
            (Some(value), None) if is_well_formed(value.as_bytes()) => Self(value.clone()),
            _ => Self::make(),
        }
    }

    /// A new id.
    pub(crate) fn make() -> Self {
        let mut text = Uuid::encode_buffer();
        let text = Uuid::new_v4().simple().encode_lower(&mut text);
        Self(HeaderValue::from_str(text).expect("hexadecimal digits are a header value"))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("a request id is ASCII: it was checked when it was taken or made")
    }

    /// The id as the value of `X-Request-Id`.
    pub(crate) fn to_header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(CURRENT.try_with(|current| current.id.clone()).unwrap_or_else(|_| Self::make()))
    }
}

fn is_well_formed(id: &[u8]) -> bool {
    (1..=BYTES_MAX).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
}

/// Runs some work on a request under its id, and in its trace.
pub(crate) fn scope<T>(id: &RequestId, trace: Option<&Trace>, work: impl FnOnce() -> T) -> T {
    CURRENT.sync_scope(Current { id: id.clone(), trace: trace.cloned() }, work)
}

/// Calls `f` with the id of the request at work; with an empty one, outside of any.
pub(crate) fn with_current<T>(f: impl Fn(&str) -> T) -> T {
    CURRENT.try_with(|current| f(current.id.as_str())).unwrap_or_else(|_| f(""))
}

/// The trace of the request at work.
pub(crate) fn current_trace() -> Option<Trace> {
    CURRENT.try_with(|current| current.trace.clone()).ok().flatten()
}

/// The id of the request that this task works on, for a line of the log; none outside of any.
#[must_use]
pub fn current_request_id() -> Option<String> {
    CURRENT.try_with(|current| current.id.as_str().to_owned()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_ids_are_taken() {
        let taken = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(X_REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
            }
            RequestId::take_or_make(&headers).as_str().as_bytes().to_vec()
        };
        let long = [b'a'; 65];
        for id in [&b"a"[..], b"A-9._z", &long[..64]] {
            assert_eq!(taken(&[id]), id);
        }
        for id in [&b""[..], b"a b", b"a\"b", "아이디".as_bytes(), b"\xff", b"a/b", &long] {
            let made = taken(&[id]);
            assert!(made != id && made.len() == 32, "{}", String::from_utf8_lossy(id));
        }
        assert_eq!(taken(&[b"a", b"a"]).len(), 32);
        assert_ne!(taken(&[]), taken(&[]));
    }
}
