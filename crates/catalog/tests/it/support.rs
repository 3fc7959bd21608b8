//! A catalog on a ledger of its own, behind a port of its own.

use std::sync::Arc;

use firstcome_cache::Cache;
use firstcome_catalog::Catalog;
use firstcome_core::{Clock, Commit, CouponId, EventId, EventRule, Name, Strategy, UserId};
use firstcome_ledger::{
    Claim, CouponRecord, Decision, EventRecord, Ledger, LedgerOptions, NewEvent, Purpose,
};
use firstcome_testkit::api::{Api, Call};
use firstcome_testkit::{ManualClock, TokenMint, draft};
use firstcome_web::{CursorKey, EdgeOptions, TokenKey, Verifier, edge};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use uuid::Uuid;

const SECRET: [u8; 32] = [7; 32];

pub(crate) struct TestCatalog {
    pub(crate) api: Api,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) ledger: Ledger,
    /// The OpenAPI document.
    pub(crate) document: Value,
    mint: TokenMint,
    server: AbortHandle,
    _directory: TempDir,
}

impl Drop for TestCatalog {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl TestCatalog {
    pub(crate) async fn new() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let clock = Arc::new(ManualClock::new(draft::OPENS_AT));
        let time: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let path = directory.path().join("ledger.db");
        let options = LedgerOptions::embedded(path, Purpose::Serve);
        let ledger = Ledger::open(options, Arc::clone(&time)).await.expect("a new ledger");
        let key = TokenKey::new(&SECRET);
        let verifier = Verifier::new(&key, "test", "firstcome", Arc::clone(&time));
        let catalog = Catalog {
            ledger: ledger.clone(),
            coupons: Cache::none(),
            events: Cache::none(),
            clock: time,
            cursors: CursorKey::new(&SECRET),
            verifier: Arc::new(verifier),
        };
        let (router, document) = firstcome_catalog::router(catalog).split_for_parts();
        let router = edge(router, EdgeOptions::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            api: Api::new(&format!("http://{address}")),
            clock,
            ledger,
            document: serde_json::to_value(document).expect("a document is JSON"),
            mint: TokenMint::new(SECRET, "test", "firstcome"),
            server: server.abort_handle(),
            _directory: directory,
        }
    }

    pub(crate) fn token(&self, scope: &str) -> String {
        self.mint.token("kim", scope)
    }

    /// A call by an admin.
    pub(crate) fn admin(&self, call: Call) -> Call {
        call.token(&self.token("user admin"))
    }

    /// What an admin made of this body.
    pub(crate) async fn created(&self, body: &Value) -> Value {
        self.admin(self.api.post("/v1/coupons")).json(body.clone()).await.expect(201).json()
    }

    pub(crate) async fn coupon(&self) -> CouponRecord {
        let id = CouponId::from_uuid(Uuid::now_v7());
        self.ledger.create_coupon(id, draft::coupon()).await.expect("the ledger answers")
    }

    pub(crate) async fn event(&self, rule: EventRule) -> EventRecord {
        let new = NewEvent {
            id: EventId::from_uuid(Uuid::now_v7()),
            coupon_id: self.coupon().await.id,
            name: Name::parse("열 시 선착순").expect("a name"),
            rule,
            strategy: Strategy::Ledger,
            commit: Commit::Ledger,
        };
        self.ledger.create_event(new).await.expect("the ledger answers").expect("the coupon")
    }

    pub(crate) async fn claim(&self, event: &EventRecord, user: &str) -> Decision {
        let user_id = UserId::parse(user).expect("a user id");
        let claim = Claim { event_id: event.id, user_id };
        self.ledger.claim(vec![claim]).await.expect("an answer").remove(0).expect("a verdict")
    }
}

/// A coupon that is accepted.
pub(crate) fn body() -> Value {
    json!({
        "name": "5,000원 할인",
        "benefit": {"type": "amount", "amount": 5000, "currency": "KRW"},
        "conditions": {
            "min_order_amount": 20000, "product_ids": ["P-1"], "category_ids": ["신발"],
        },
        "validity": {"type": "days", "days": 30},
    })
}

/// The names of an object's members, in the order of the alphabet.
pub(crate) fn members(object: &Value) -> Vec<&str> {
    let object = object.as_object().expect("an object");
    let mut names: Vec<&str> = object.keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}
