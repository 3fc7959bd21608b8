//! The service on a ledger of its own, with a clock that stands.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use firstcome_core::{Clock, Email, Password, Timestamp};
use firstcome_identity::{Identity, IdentityConfig};
use firstcome_ledger::{Ledger, LedgerOptions, Purpose};
use firstcome_testkit::{Answer, ManualClock};
use firstcome_web::{EdgeOptions, TokenKey, edge};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

use crate::measures::Measures;

/// 2026-11-27T10:00:00+09:00.
pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_795_741_200_000_000);
pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const EMAIL: &str = "kim@example.com";
pub(crate) const PASSWORD: &str = "correct horse";
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

pub(crate) struct TestIdentity {
    pub(crate) identity: Identity,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) measures: Measures,
    /// The OpenAPI document.
    pub(crate) document: Value,
    router: Router,
    _directory: TempDir,
}

impl TestIdentity {
    pub(crate) async fn new() -> Self {
        Self::with(IdentityConfig::default()).await
    }

    pub(crate) async fn with(config: IdentityConfig) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let clock = Arc::new(ManualClock::new(NOW));
        let time: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let path = directory.path().join("ledger.db");
        let options = LedgerOptions::embedded(path, Purpose::Serve);
        let ledger = Ledger::open(options, Arc::clone(&time)).await.expect("a new ledger");
        let measures = Measures::default();
        let identity = metrics::with_local_recorder(&measures, || {
            Identity::new(ledger.clone(), key(), &config, time)
        });
        let (router, document) = firstcome_identity::router(identity.clone()).split_for_parts();
        let router = edge(router, EdgeOptions::default());
        Self {
            identity,
            ledger,
            clock,
            measures,
            document: serde_json::to_value(document).expect("a document is JSON"),
            router,
            _directory: directory,
        }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let call = format!("{} {}", request.method(), request.uri());
        let response = self.router.clone().oneshot(request).await.expect("a router does not fail");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("the body is in memory").to_bytes().to_vec();
        Answer { call, status: parts.status.as_u16(), headers: parts.headers, bytes }
    }

    pub(crate) async fn get(&self, path: &str, token: Option<&str>) -> Answer {
        let mut request = Request::get(path);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        self.send(request.body(Body::empty()).expect("a request")).await
    }

    pub(crate) async fn call(&self, method: &str, path: &str, token: &str) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        self.send(request.body(Body::empty()).expect("a request")).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.post_as(path, "application/json", body).await
    }

    pub(crate) async fn post_as(
        &self,
        path: &str,
        media_type: &str,
        body: impl Into<Body>,
    ) -> Answer {
        let request = Request::post(path).header(CONTENT_TYPE, media_type);
        self.send(request.body(body.into()).expect("a request")).await
    }

    pub(crate) async fn sign_up(&self, email: &str, password: &str) -> Answer {
        self.post("/v1/users", credentials(email, password)).await
    }

    pub(crate) async fn log_in(&self, email: &str, password: &str) -> Answer {
        self.post("/v1/sessions", credentials(email, password)).await
    }

    /// The tokens of a new account.
    pub(crate) async fn signed_in(&self) -> Value {
        let _ = self.sign_up(EMAIL, PASSWORD).await.expect(201);
        self.log_in(EMAIL, PASSWORD).await.expect(200).json()
    }

    /// The access token of a new admin.
    pub(crate) async fn admin(&self) -> String {
        let (address, secret) = ("admin@example.com", "an admin's");
        self.identity.add_admin(email(address), password(secret)).await.expect("an admin");
        self.log_in(address, secret).await.expect(200).member_text("/access_token")
    }

    /// Asks for a client.
    pub(crate) async fn make_client(&self, admin: &str, body: &Value) -> Answer {
        let request = Request::post("/v1/clients").header(CONTENT_TYPE, "application/json");
        let request = request.header(AUTHORIZATION, format!("Bearer {admin}"));
        self.send(request.body(Body::from(body.to_string())).expect("a request")).await
    }

    /// The id and the secret of a new client.
    pub(crate) async fn client(&self, scope: &str) -> (String, String) {
        let admin = self.admin().await;
        let made = self.make_client(&admin, &json!({"name": "checkout", "scope": scope})).await;
        let made = made.expect(201);
        (made.member_text("/client_id"), made.member_text("/client_secret"))
    }

    /// What the token permits, by the word of `/v1/me`.
    pub(crate) async fn scope_of(&self, tokens: &Value) -> String {
        let token = tokens["access_token"].as_str();
        self.get("/v1/me", token).await.expect(200).member_text("/scope")
    }
}

pub(crate) fn key() -> TokenKey {
    TokenKey::new(&[7; 32])
}

pub(crate) fn email(text: &str) -> Email {
    Email::parse(text).expect("an address")
}

pub(crate) fn password(text: &str) -> Password {
    Password::parse(text).expect("a password")
}

pub(crate) fn credentials(email: &str, password: &str) -> String {
    json!({"email": email, "password": password}).to_string()
}
