//! `ETag` and `If-Match`: a change is made to the version that its author saw, or not at all.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};

use crate::problem::{Code, Problem};

/// The strong `ETag` of a version, as `"7"`.
#[must_use]
pub fn etag(version: u64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).expect("digits in quotes are a header value")
}

/// The `If-Match` of a change: 428 where there is none.
///
/// Exactly one strong tag matches. `*`, lists and weak tags (RFC 9110, section 13.1.1) say less
/// than "the version that I saw", so they never match.
#[derive(Debug, Clone)]
pub struct IfMatch(Option<HeaderValue>);

impl IfMatch {
    /// Whether the sender saw this version.
    ///
    /// # Errors
    /// 412 `precondition_failed` when it saw another.
    pub fn check(&self, version: u64) -> Result<(), Problem> {
        if self.0.as_ref() == Some(&etag(version)) {
            return Ok(());
        }
        let detail = "If-Match is not the ETag of the resource as it is now; read it again.";
        Err(Problem::new(Code::PreconditionFailed, detail))
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(header::IF_MATCH).iter();
        match (values.next(), values.next()) {
            (None, _) => {
                let detail = "Send the ETag that you read as If-Match.";
                Err(Problem::new(Code::PreconditionRequired, detail))
            }
            (Some(value), None) => Ok(Self(Some(value.clone()))),
            (Some(_), Some(_)) => Ok(Self(None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    async fn if_match(values: &[&str]) -> Result<IfMatch, Problem> {
        let mut request = Request::builder();
        for value in values {
            request = request.header(header::IF_MATCH, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        IfMatch::from_request_parts(&mut parts, &()).await
    }

    #[tokio::test]
    async fn only_the_one_strong_tag_matches() {
        assert!(if_match(&["\"7\""]).await.unwrap().check(7).is_ok());
        for values in [
            &["\"6\""][..],
            &["7"],
            &["W/\"7\""],
            &["*"],
            &["\"7\", \"8\""],
            &["\"7\"", "\"7\""],
            &[""],
            &["\"07\""],
        ] {
            let refused = if_match(values).await.unwrap().check(7).unwrap_err();
            assert_eq!(refused.code(), Code::PreconditionFailed, "{values:?}");
        }
        assert_eq!(if_match(&[]).await.unwrap_err().code(), Code::PreconditionRequired);
    }
}
