//! Refusals: RFC 9457 problem details with a stable [`Code`].
//!
//! The answer is rendered by hand, once, into one buffer, because a sold-out drop sends hundreds of
//! thousands of them; `docs/adr/0002-validation.md` says why by no library.

mod code;
mod failure;
pub mod pages;

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

pub use code::Code;
pub(crate) use failure::Failure;
use failure::Telling;

use crate::json::FieldError;
use crate::limits::LimitFields;
use crate::middleware::request_id;

/// The media type of a problem.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";
/// Bytes that hold a problem without extensions.
const RENDERED_BYTES: usize = 384;
/// `Retry-After` of a retryable refusal that names no time itself.
const RETRY_AFTER_SECONDS: u32 = 1;

/// Why a request was refused, as the sender will read it.
///
/// The detail of a 5xx code is never sent: it is for the log. What the sender reads instead is the
/// code's own title, so nobody can leak an inner error by passing it along.
#[derive(Debug, Clone)]
pub struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    /// `,"key":value` for each extension member.
    extensions: Vec<u8>,
    retry_after_seconds: Option<u32>,
    /// The `WWW-Authenticate` of a 401 or 403, where it says more than `Bearer`.
    challenge: Option<&'static str>,
    /// The limit that was met, of a 429.
    limit: Option<Box<LimitFields>>,
    telling: Telling,
}

impl Problem {
    /// A refusal with one sentence about this occurrence of it.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            extensions: Vec::new(),
            retry_after_seconds: None,
            challenge: None,
            limit: None,
            telling: Telling::ByCode,
        }
    }

    /// 500: an error that no rule of the product foresees. The error and its sources go to the log.
    pub fn internal(error: &(dyn Error + 'static)) -> Self {
        Self::new(Code::Internal, with_causes(error))
    }

    /// 503: what the call depends on has failed. `what` and the error go to the log, in one line.
    pub fn unavailable(what: &'static str, error: &(dyn Error + 'static)) -> Self {
        let problem = Self::new(Code::Unavailable, with_causes(error));
        Self { telling: Telling::Failed(what), ..problem }
    }

    /// The same problem, of which the log has been told already.
    #[must_use]
    pub(crate) fn told(self) -> Self {
        Self { telling: Telling::Told, ..self }
    }

    /// Adds an extension member.
    ///
    /// # Panics
    /// When the value does not serialize, which no answer type of the product does.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Serialize) -> Self {
        self.extensions.extend_from_slice(b",\"");
        self.extensions.extend_from_slice(key.as_bytes());
        self.extensions.extend_from_slice(b"\":");
        serde_json::to_writer(&mut self.extensions, &value)
            .expect("an extension is made of plain values, which always serialize");
        self
    }

    /// Adds what is wrong with each member, as `errors`.
    #[must_use]
    pub fn errors(self, errors: impl AsRef<[FieldError]>) -> Self {
        self.with("errors", errors.as_ref())
    }

    /// Says when to try again. Without it a retryable refusal says one second.
    #[must_use]
    pub const fn retry_after_seconds(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// Sets the `WWW-Authenticate` header (RFC 6750, section 3).
    #[must_use]
    pub(crate) const fn challenge(mut self, challenge: &'static str) -> Self {
        self.challenge = Some(challenge);
        self
    }

    /// Says which limit was met (`RateLimit`, `RateLimit-Policy`).
    #[must_use]
    pub(crate) fn limited(mut self, fields: LimitFields) -> Self {
        self.limit = Some(Box::new(fields));
        self
    }

    /// The stable word.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The sentence about this occurrence; of a 5xx, what only the log may say.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The body: members of RFC 9457, then ours, then the extensions.
    pub(crate) fn render(&self, request_id: &str) -> Vec<u8> {
        let (code, status) = (self.code, self.code.status());
        let digits = [100, 10, 1].map(|unit| b'0' + u8::try_from(status / unit % 10).unwrap_or(0));
        let detail = if status >= 500 { code.title() } else { &self.detail };
        let mut body = Vec::with_capacity(RENDERED_BYTES + self.extensions.len() + detail.len());
        for part in [
            b"{\"type\":\"/docs/errors/",
            code.as_str().as_bytes(),
            b"\",\"title\":\"",
            code.title().as_bytes(),
            b"\",\"status\":",
            &digits,
            b",\"detail\":",
        ] {
            body.extend_from_slice(part);
        }
        serde_json::to_writer(&mut body, detail).expect("writing a string to memory succeeds");
        let retryable: &[u8] = if code.retryable() { b"true" } else { b"false" };
        for part in [
            b",\"code\":\"",
            code.as_str().as_bytes(),
            b"\",\"request_id\":\"",
            request_id.as_bytes(),
            b"\",\"retryable\":",
            retryable,
            &self.extensions,
            b"}",
        ] {
            body.extend_from_slice(part);
        }
        body
    }

    /// Headers beside the content type that this refusal must carry.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> + use<> {
        let challenge = self.challenge.or((self.code.status() == 401).then_some("Bearer"));
        let again = self.code.retryable().then_some(RETRY_AFTER_SECONDS);
        let retry_after = self.retry_after_seconds.or(again);
        [
            challenge.map(|it| (header::WWW_AUTHENTICATE, HeaderValue::from_static(it))),
            retry_after.map(|seconds| (header::RETRY_AFTER, HeaderValue::from(seconds))),
        ]
        .into_iter()
        .flatten()
    }

    /// One line in the log of who looks for refusals.
    fn log_refusal(&self) {
        tracing::debug!(error.code = self.code.as_str(), "refused: {}", self.detail);
    }
}

/// An error with its sources, from the outside in. A source that the sentence before it ends with
/// is not said again.
#[must_use]
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)
    }
}

impl Error for Problem {}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let failure = Failure::of(&self);
        if failure.is_none() {
            self.log_refusal();
        }
        let body = request_id::with_current(|request_id| self.render(request_id));
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(self.code.status())
            .expect("the table of codes has only statuses of three digits");
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.extend(self.headers());
        if let Some(fields) = self.limit {
            fields.append_to(headers);
        }
        if let Some(failure) = failure {
            response.extensions_mut().insert(failure);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rendered(problem: &Problem) -> Value {
        serde_json::from_slice(&problem.render("id-1")).expect("a problem is JSON")
    }

    #[test]
    fn a_problem_has_the_members_of_the_contract() {
        let problem = Problem::new(Code::NotOpen, "Opens \"soon\".\n").with("opens_at", "then");
        assert_eq!(
            rendered(&problem),
            json!({
                "type": "/docs/errors/not_open", "title": "This event has not opened yet.",
                "status": 409, "detail": "Opens \"soon\".\n", "code": "not_open",
                "request_id": "id-1", "retryable": true, "opens_at": "then",
            })
        );
    }

    #[test]
    fn a_5xx_answer_tells_nothing_of_its_cause() {
        let cause = std::io::Error::other("disk /data is full");
        let problem = Problem::internal(&cause);
        assert!(problem.detail().contains("disk"));
        assert!(!rendered(&problem).to_string().contains("disk"));
    }

    #[test]
    fn a_cause_is_told_once() {
        #[derive(Debug)]
        struct Outer(&'static str, std::io::Error);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0)
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.1)
            }
        }
        for sentence in ["cannot read", "cannot read: no disk"] {
            let error = Outer(sentence, std::io::Error::other("no disk"));
            assert_eq!(with_causes(&error), "cannot read: no disk");
        }
    }

    #[test]
    fn a_failure_goes_to_the_log_and_a_refusal_does_not() {
        let cause = std::io::Error::other("disk /data is full");
        let failure = |problem: Problem| {
            problem.into_response().extensions().get::<Failure>().map(|it| format!("{it:?}"))
        };
        let told = failure(Problem::unavailable("the catalog cannot answer", &cause));
        let told = told.expect("a failure");
        assert!(told.contains("the catalog cannot answer") && told.contains("is full"), "{told}");
        assert!(failure(Problem::internal(&cause)).is_some());
        assert!(failure(Problem::new(Code::Timeout, "")).is_some());
        assert!(failure(Problem::internal(&cause).told()).is_none());
        assert!(failure(Problem::new(Code::Unavailable, "")).is_none());
        assert!(failure(Problem::new(Code::SoldOut, "")).is_none());
    }

    #[test]
    fn errors_carry_pointer_and_detail() {
        let error = FieldError::new("/name", "must not be empty");
        let problem = Problem::new(Code::Invalid, "See errors.").errors([error]);
        assert_eq!(
            rendered(&problem)["errors"],
            json!([{"pointer": "/name", "detail": "must not be empty"}])
        );
    }

    #[test]
    fn refusals_carry_the_headers_of_their_status() {
        let headers = |problem: Problem| {
            let response = problem.into_response();
            ["www-authenticate", "retry-after"].map(|name| {
                response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
            })
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(headers(Problem::new(Code::Unauthenticated, "")), [text("Bearer"), None]);
        assert_eq!(headers(Problem::new(Code::Unavailable, "")), [None, text("1")]);
        assert_eq!(
            headers(Problem::new(Code::NotOpen, "").retry_after_seconds(90)),
            [None, text("90")]
        );
        assert_eq!(headers(Problem::new(Code::SoldOut, "")), [None, None]);
    }
}
