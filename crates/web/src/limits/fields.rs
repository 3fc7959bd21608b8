//! `RateLimit-Policy` and `RateLimit`, as draft-ietf-httpapi-ratelimit-headers-11 (23 May 2026) has
//! them: lists of structured fields.
//!
//! An answer within the limit gives as `t` the seconds until the whole quota is free again; a 429
//! gives `r=0` until the moment of its `Retry-After`, which the draft asks not to be earlier.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::kind::Kind;
use super::quota::{Quota, Standing};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// What an answer says of one limit.
#[derive(Debug, Clone)]
pub(crate) struct LimitFields {
    policy: HeaderValue,
    limit: HeaderValue,
}

impl LimitFields {
    pub(super) fn left(kind: Kind, policy: &HeaderValue, standing: Standing) -> Self {
        let Standing { remaining, whole_seconds } = standing;
        let limit = value(format!("\"{}\";r={remaining};t={whole_seconds}", kind.word()));
        Self { policy: policy.clone(), limit }
    }

    pub(super) fn exhausted(kind: Kind, policy: &HeaderValue, retry_seconds: u32) -> Self {
        let limit = value(format!("\"{}\";r=0;t={retry_seconds}", kind.word()));
        Self { policy: policy.clone(), limit }
    }

    /// Adds the fields to an answer, beside those of another limit that it may have.
    pub(crate) fn append_to(self, headers: &mut HeaderMap) {
        headers.append(POLICY, self.policy);
        headers.append(LIMIT, self.limit);
    }
}

/// The part that is the same in every answer: the quota, and the seconds in which it comes back.
pub(super) fn policy(kind: Kind, quota: Quota) -> HeaderValue {
    value(format!("\"{}\";q={};w={}", kind.word(), quota.burst(), quota.window_seconds()))
}

fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("words and digits are a header value")
}
