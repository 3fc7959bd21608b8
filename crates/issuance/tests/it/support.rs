//! Issuance over a ledger of its own, in process, with a clock that stands until it is moved.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use firstcome_cache::redis::Redis;
use firstcome_core::{
    Clock, Commit, CouponId, EventId, EventRule, Name, Strategy as Decider, UserId,
};
use firstcome_issuance::journal::Journal;
use firstcome_issuance::{
    Beside, Issuance, IssuanceConfig, IssuanceHandle, IssuanceState, LedgerStrategy, Strategy,
};
use firstcome_ledger::{Claim, EventRecord, Ledger, LedgerOptions, NewEvent, Purpose};
use firstcome_testkit::{ManualClock, draft};
use firstcome_web::{AccessClaims, CursorKey, EdgeOptions, Scopes, TokenKey, Verifier, edge};
use http_body_util::BodyExt;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;
use uuid::Uuid;

const SECRET: [u8; 32] = [7; 32];

pub(crate) struct TestIssuance {
    pub(crate) service: Issuance,
    pub(crate) handle: IssuanceHandle,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<ManualClock>,
    /// The OpenAPI document.
    pub(crate) document: Value,
    router: Router,
    key: TokenKey,
    _directory: Option<TempDir>,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl TestIssuance {
    pub(crate) async fn new() -> Self {
        Self::with(IssuanceConfig::default(), LedgerStrategy::new).await
    }

    /// With another configuration, and another decider over the same ledger.
    pub(crate) async fn with<S: Strategy>(
        config: IssuanceConfig,
        strategy: impl FnOnce(Ledger) -> S,
    ) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let clock = Arc::new(ManualClock::new(draft::OPENS_AT));
        let time: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let path = directory.path().join("ledger.db");
        let options = LedgerOptions::embedded(path, Purpose::Serve);
        let ledger = Ledger::open(options, Arc::clone(&time)).await.expect("a new ledger");
        let strategy = Arc::new(strategy(ledger.clone()));
        let started =
            Issuance::start_with(&strategy, None, ledger.clone(), &config, Arc::clone(&time));
        Self::of(started.expect("a thread is left"), ledger, clock, Some(directory))
    }

    /// With this Redis beside a ledger that may be shared.
    pub(crate) fn beside(redis: Redis, journal: Option<Journal>, ledger: Ledger) -> Self {
        let clock = Arc::new(ManualClock::new(draft::OPENS_AT));
        let time: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let config = IssuanceConfig::default();
        let (default, commit) = (Decider::Ledger, Commit::Ledger);
        let beside = Beside { redis, journal, default, commit, keeps: true };
        let started = Issuance::start(ledger.clone(), Some(beside), &config, time);
        Self::of(started.expect("a thread is left"), ledger, clock, None)
    }

    fn of(
        (service, handle): (Issuance, IssuanceHandle),
        ledger: Ledger,
        clock: Arc<ManualClock>,
        directory: Option<TempDir>,
    ) -> Self {
        let time: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let key = TokenKey::new(&SECRET);
        let verifier = Arc::new(Verifier::new(&key, "test", "firstcome", time));
        let state = IssuanceState::new(handle.clone(), verifier, CursorKey::new(&SECRET));
        let (router, mut document) = firstcome_issuance::router(state).split_for_parts();
        firstcome_web::complete(&mut document);
        let document = serde_json::to_value(document).expect("a document is JSON");
        let router = edge(router, EdgeOptions::default());
        Self { service, handle, ledger, clock, document, router, key, _directory: directory }
    }

    pub(crate) async fn coupon(&self) -> CouponId {
        let id = CouponId::from_uuid(Uuid::now_v7());
        self.ledger.create_coupon(id, draft::coupon()).await.expect("the ledger answers").id
    }

    /// An event of this quantity that is open now.
    pub(crate) async fn event(&self, quantity: u32) -> EventRecord {
        self.event_of(draft::rule(quantity)).await
    }

    pub(crate) async fn event_of(&self, rule: EventRule) -> EventRecord {
        let new = NewEvent {
            id: EventId::from_uuid(Uuid::now_v7()),
            coupon_id: self.coupon().await,
            name: Name::parse("열 시 선착순").expect("a name"),
            rule,
            strategy: Decider::Ledger,
            commit: Commit::Ledger,
        };
        self.ledger.create_event(new).await.expect("the ledger answers").expect("the coupon")
    }

    /// Sends a call as `subject` with `scope`; an empty scope sends no token.
    pub(crate) async fn send(
        &self,
        (subject, scope): (&str, &str),
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !scope.is_empty() {
            let token = format!("Bearer {}", self.token(subject, scope));
            request = request.header(header::AUTHORIZATION, token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("no error but an answer");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a whole body").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
        Answer { status: parts.status, headers: parts.headers, text }
    }

    /// An admin's call with a JSON body, or none for null.
    pub(crate) async fn admin(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.admin_with(method, path, &[], body).await
    }

    pub(crate) async fn admin_with(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let mut headers = headers.to_vec();
        let mut text = String::new();
        if !body.is_null() {
            headers.push(("content-type", "application/json"));
            text = body.to_string();
        }
        self.send(("boss", "user admin"), method, path, &headers, text).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.admin(Method::GET, path, &Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str) -> Answer {
        self.admin(Method::POST, path, &Value::Null).await
    }

    /// A claim over HTTP.
    pub(crate) async fn claim(&self, event: EventId, user: &str) -> Answer {
        let path = format!("/v1/events/{event}/claims");
        self.send((user, "user"), Method::POST, &path, &[], Body::empty()).await
    }

    fn token(&self, subject: &str, scope: &str) -> String {
        let iat = self.clock.now().as_micros() / 1_000_000;
        self.key.sign(&AccessClaims {
            iss: "test".to_owned(),
            aud: "firstcome".to_owned(),
            sub: user(subject),
            exp: iat + 3_600,
            iat,
            jti: Uuid::now_v7().to_string(),
            scope: Scopes::parse(scope),
            sid: None,
            client_id: None,
        })
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("JSON, not {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("{name} is missing: {self:?}"));
        value.to_str().expect("visible ASCII")
    }

    /// The JSON of an answer with this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self.json()
    }

    /// The problem with this status and code.
    #[track_caller]
    pub(crate) fn problem(self, status: u16, code: &str) -> Value {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.expect(status);
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        problem
    }
}

pub(crate) fn user(name: &str) -> UserId {
    UserId::parse(name).expect("a user id")
}

pub(crate) fn claim_of(event: &EventRecord, name: &str) -> Claim {
    Claim { event_id: event.id, user_id: user(name) }
}
