//! A ledger in a directory of its own, with a clock that stands until it is moved.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use firstcome_core::{
    Amount, Benefit, Clock, Conditions, CouponDraft, CouponId, Currency, Days, EventId, EventRule,
    MinOrderAmount, Name, Quantity, Strategy, Timestamp, UserId, Validity, Window,
};
use firstcome_ledger::{
    Claim, CouponRecord, Decision, EventRecord, Ledger, LedgerError, LedgerOptions, NewEvent,
    Purpose,
};
use tempfile::TempDir;
use uuid::Uuid;

/// 2026-11-27T10:00:00+09:00.
pub(crate) const OPENS_AT: i64 = 1_795_741_200_000_000;
pub(crate) const HOUR: i64 = 3_600_000_000;

#[derive(Default)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn set(&self, micros: i64) {
        self.0.store(micros, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) struct TestLedger {
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<TestClock>,
    directory: TempDir,
}

impl TestLedger {
    pub(crate) async fn new() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let clock = Arc::new(TestClock(AtomicI64::new(OPENS_AT)));
        let path = directory.path().join("ledger.db");
        let ledger = open(path, Purpose::Serve, &clock).await.expect("a new ledger opens");
        Self { ledger, clock, directory }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("ledger.db")
    }

    /// Lets go of the ledger and opens it again, as after a crash. As a visitor nothing settles in
    /// the background.
    pub(crate) async fn reopen(self, purpose: Purpose) -> Self {
        let Self { ledger, clock, directory } = self;
        drop(ledger);
        let path = directory.path().join("ledger.db");
        let ledger = loop {
            match open(path.clone(), purpose, &clock).await {
                // The background task may be at work on it for a moment longer.
                Err(LedgerError::InUse { .. }) => tokio::task::yield_now().await,
                opened => break opened.expect("the ledger opens again"),
            }
        };
        Self { ledger, clock, directory }
    }

    /// Settles everything, as a server does when it stops, and opens the ledger again.
    pub(crate) async fn settle(self) -> Self {
        let serving = self.reopen(Purpose::Serve).await;
        serving.ledger.close().await.expect("it settles and closes");
        serving.reopen(Purpose::Visit).await
    }

    /// An event of `quantity` that is open for an hour.
    pub(crate) async fn event(&self, quantity: u32) -> EventRecord {
        let coupon = self.coupon(draft()).await;
        self.event_of(&coupon, quantity).await
    }

    /// An event of this coupon, of `quantity`, that is open for an hour.
    pub(crate) async fn event_of(&self, coupon: &CouponRecord, quantity: u32) -> EventRecord {
        let opens_at = Timestamp::from_micros(OPENS_AT);
        let window = Window::new(opens_at, Timestamp::from_micros(OPENS_AT + HOUR));
        let new = NewEvent {
            id: EventId::from_uuid(Uuid::now_v7()),
            coupon_id: coupon.id,
            name: Name::parse("선착순").expect("a name"),
            rule: EventRule {
                quantity: Quantity::parse(quantity.into()).expect("a quantity"),
                issued: 0,
                window: window.expect("a window"),
                opened_early: false,
                paused: false,
                closed: false,
            },
            strategy: Strategy::Ledger,
        };
        self.ledger
            .create_event(new)
            .await
            .expect("the ledger answers")
            .expect("the coupon is there")
    }

    pub(crate) async fn coupon(&self, draft: CouponDraft) -> CouponRecord {
        let id = CouponId::from_uuid(Uuid::now_v7());
        self.ledger.create_coupon(id, draft).await.expect("the ledger answers")
    }

    pub(crate) async fn claim(&self, event: &EventRecord, users: &[&str]) -> Vec<Decision> {
        let claim = |user: &&str| Claim {
            event_id: event.id,
            user_id: UserId::parse(user).expect("a user id"),
        };
        self.ledger.claim(users.iter().map(claim).collect()).await.expect("a verdict")
    }
}

/// 5,000 won off any order, for 30 days from issue.
pub(crate) fn draft() -> CouponDraft {
    CouponDraft {
        name: Name::parse("5,000원").expect("a name"),
        benefit: Benefit::Amount {
            amount: Amount::parse(5_000).expect("an amount"),
            currency: Currency::krw(),
        },
        conditions: Conditions {
            min_order_amount: MinOrderAmount::parse(0).expect("an amount"),
            product_ids: Vec::new(),
            category_ids: Vec::new(),
        },
        validity: Validity::Days(Days::parse(30).expect("days")),
    }
}

pub(crate) async fn open(
    path: PathBuf,
    purpose: Purpose,
    clock: &Arc<TestClock>,
) -> Result<Ledger, LedgerError> {
    let options = LedgerOptions::embedded(path, purpose);
    Ledger::open(options, Arc::clone(clock) as Arc<dyn Clock>).await
}
