//! What a call was answered.

use std::collections::BTreeSet;

use reqwest::header::HeaderMap;
use serde_json::Value;

/// What a call was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The call, for messages.
    pub call: String,
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub bytes: Vec<u8>,
}

impl Answer {
    /// The text of a header; empty when it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap_or("(not text)"))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The body as JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("{self}: not JSON: {error}"))
    }

    /// The member at this JSON pointer.
    #[must_use]
    #[track_caller]
    pub fn member(&self, pointer: &str) -> Value {
        let json = self.json();
        json.pointer(pointer).unwrap_or_else(|| panic!("{self}: no {pointer}")).clone()
    }

    /// The text at this JSON pointer.
    #[must_use]
    #[track_caller]
    pub fn member_text(&self, pointer: &str) -> String {
        let member = self.member(pointer);
        member.as_str().unwrap_or_else(|| panic!("{self}: {pointer} is no text")).to_owned()
    }

    /// This answer, which has this status.
    #[must_use]
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// The code of this answer, which is a problem: RFC 9457's members, ours, and the same request
    /// id in the body and in the header.
    #[must_use]
    #[track_caller]
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self}");
        let problem = self.json();
        for member in ["type", "title", "detail", "code", "request_id"] {
            let text = problem[member].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{self}: no {member}");
        }
        assert_eq!(problem["status"], self.status, "{self}");
        assert!(problem["retryable"].is_boolean(), "{self}: no retryable");
        assert_eq!(problem["request_id"], self.header("x-request-id"), "{self}");
        problem["code"].as_str().unwrap_or_default().to_owned()
    }

    /// This answer, which is a problem with this status and code. One of 500 and above tells
    /// nothing of the inside.
    #[must_use]
    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{self}");
        if status >= 500 {
            assert_eq!(self.member("/detail"), self.member("/title"), "it tells why: {self}");
        }
        self
    }

    /// The pointers of the errors of this answer, which is 422 `invalid`.
    #[must_use]
    #[track_caller]
    pub fn invalid_pointers(&self) -> BTreeSet<String> {
        assert_eq!((self.status, self.code().as_str()), (422, "invalid"), "{self}");
        let errors = self.member("/errors");
        let errors = errors.as_array().unwrap_or_else(|| panic!("{self}: no errors"));
        let pointer = |error: &Value| {
            assert!(error["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{self}");
            error["pointer"].as_str().expect("a pointer").to_owned()
        };
        errors.iter().map(pointer).collect()
    }

    /// The names of the members of the object at this JSON pointer.
    #[must_use]
    #[track_caller]
    pub fn members(&self, pointer: &str) -> BTreeSet<String> {
        let object = self.member(pointer);
        let object = object.as_object().unwrap_or_else(|| panic!("{self}: {pointer} is no object"));
        object.keys().cloned().collect()
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown: String = self.text().chars().take(2_000).collect();
        write!(f, "{} was answered {} {:?} {shown}", self.call, self.status, self.headers)
    }
}
