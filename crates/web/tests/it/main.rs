//! The crate from outside: extractors behind a router, the edge, and serving on real sockets.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod bodies;
mod edge;
mod front;
mod limits;
mod metrics;
mod serving;
mod signed;
mod tokens;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

/// An answer, read whole.
struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    /// Sends a request to a router.
    async fn of(app: &Router, request: Request<Body>) -> Self {
        let response = app.clone().oneshot(request).await.expect("a router does not fail");
        Self::read(response).await
    }

    async fn read(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("the body is in memory").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("answers are UTF-8");
        Self { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("headers are ASCII"))
    }

    /// The body of a problem, whose members are checked against the rest of the answer.
    #[track_caller]
    fn problem(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.text);
        let problem: Value = serde_json::from_str(&self.text).expect("a problem is JSON");
        assert_eq!(problem["status"], self.status);
        let code = problem["code"].as_str().expect("a problem has a code");
        assert_eq!(problem["type"], format!("/docs/errors/{code}"));
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
        assert_eq!(problem["retryable"], self.header("retry-after").is_some(), "{problem}");
        if let Some(id) = self.header("x-request-id") {
            assert_eq!(problem["request_id"], id);
        }
        let known = firstcome_web::Code::parse(code).expect("the code is in the table");
        assert_eq!(known.status(), self.status);
        problem
    }

    /// The code of a problem.
    #[track_caller]
    fn code(&self) -> String {
        self.problem()["code"].as_str().expect("a code is a string").to_owned()
    }
}
