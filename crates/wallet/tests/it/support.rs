//! A wallet on a ledger of its own, behind a port of its own.

use std::sync::Arc;

use firstcome_core::{
    Clock, Commit, CouponDraft, CouponId, EventId, Name, Strategy, Timestamp, UserId,
};
use firstcome_ledger::{
    Claim, Decision, IssuedCouponRecord, Ledger, LedgerOptions, NewEvent, Promised, Purpose,
};
use firstcome_testkit::api::{Api, Call};
use firstcome_testkit::draft::{self, OPENS_AT};
use firstcome_testkit::{Answer, ManualClock, TokenMint};
use firstcome_wallet::Wallet;
use firstcome_web::{CursorKey, EdgeOptions, TokenKey, Verifier, edge};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use uuid::Uuid;

const SECRET: [u8; 32] = [7; 32];

/// The coupons of these tests are valid for 30 days from the opening, when they are won.
pub(crate) const EXPIRES_AT: Timestamp = OPENS_AT.plus_days(30);

pub(crate) struct TestWallet {
    pub(crate) api: Api,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) ledger: Ledger,
    /// The OpenAPI document.
    pub(crate) document: Value,
    mint: TokenMint,
    server: AbortHandle,
    _directory: TempDir,
}

impl Drop for TestWallet {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl TestWallet {
    pub(crate) async fn new() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let clock = Arc::new(ManualClock::new(OPENS_AT));
        let time: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let path = directory.path().join("ledger.db");
        let options = LedgerOptions::embedded(path, Purpose::Serve);
        let ledger = Ledger::open(options, Arc::clone(&time)).await.expect("a new ledger");
        let key = TokenKey::new(&SECRET);
        let verifier = Verifier::new(&key, "test", "firstcome", Arc::clone(&time));
        let wallet = Wallet {
            ledger: ledger.clone(),
            promised: Promised::default(),
            clock: time,
            cursors: CursorKey::new(&SECRET),
            verifier: Arc::new(verifier),
        };
        let (router, document) = firstcome_wallet::router(wallet).split_for_parts();
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

    /// A call by a shopper.
    pub(crate) fn by(&self, user: &str, call: Call) -> Call {
        call.token(&self.mint.token(user, "user"))
    }

    /// A call with a token of this scope, by somebody who holds no coupon.
    pub(crate) fn scoped(&self, scope: &str, call: Call) -> Call {
        call.token(&self.mint.token("staff", scope))
    }

    /// What a shopper wins of a new event of a coupon like this.
    pub(crate) async fn won(&self, user: &str, coupon: CouponDraft) -> IssuedCouponRecord {
        let coupon_id = CouponId::from_uuid(Uuid::now_v7());
        self.ledger.create_coupon(coupon_id, coupon).await.expect("the ledger answers");
        let new = NewEvent {
            id: EventId::from_uuid(Uuid::now_v7()),
            coupon_id,
            name: Name::parse("열 시 선착순").expect("a name"),
            rule: draft::rule(10),
            strategy: Strategy::Ledger,
            commit: Commit::Ledger,
        };
        let event = self.ledger.create_event(new).await.expect("the ledger answers");
        let event_id = event.expect("the coupon is there").id;
        let user_id = UserId::parse(user).expect("a user id");
        let claimed = self.ledger.claim(vec![Claim { event_id, user_id }]).await;
        match claimed.expect("an answer").remove(0) {
            Ok(Decision::Issued(won)) => won,
            other => panic!("not won: {other:?}"),
        }
    }

    /// Redeems a coupon of kim's for an order.
    pub(crate) async fn redeem(&self, coupon: &IssuedCouponRecord, order: Value) -> Answer {
        let path = format!("/v1/me/coupons/{}/redemptions", coupon.id);
        self.by("kim", self.api.post(&path)).json(order).await
    }

    /// Cancels a redemption as the checkout.
    pub(crate) async fn cancel(&self, redemption: &Value) -> Value {
        let id = redemption["id"].as_str().expect("an id");
        let path = format!("/v1/redemptions/{id}/cancel");
        self.scoped("redeem", self.api.post(&path)).await.expect(200).json()
    }

    /// Revokes a coupon as an admin.
    pub(crate) async fn revoke(&self, coupon: &IssuedCouponRecord) -> Answer {
        let path = format!("/v1/issued-coupons/{}/revoke", coupon.id);
        self.scoped("user admin", self.api.post(&path)).json(json!({"reason": "부정 사용"})).await
    }

    /// One of kim's coupons, as kim sees it.
    pub(crate) async fn shown(&self, coupon: &IssuedCouponRecord) -> Value {
        let path = format!("/v1/me/coupons/{}", coupon.id);
        self.by("kim", self.api.get(&path)).await.expect(200).json()
    }
}

/// An order of 30,000 won.
pub(crate) fn order(id: &str) -> Value {
    json!({"order_id": id, "order_amount": 30_000})
}
