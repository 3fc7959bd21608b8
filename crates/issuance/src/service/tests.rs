//! Latches against a real ledger, step by step, so that every order of events is tried and none
//! is left to luck.

use std::sync::atomic::{AtomicBool, Ordering};

use firstcome_core::{
    Action, Commit, CouponId, Name, Quantity, Strategy as Decider, Timestamp, UserId,
};
use firstcome_ledger::{By, LedgerOptions, NewEvent, Purpose};
use firstcome_testkit::{ManualClock, draft};
use tempfile::TempDir;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::*;

struct Test {
    handle: IssuanceHandle,
    builder: Builder,
    event: EventId,
    clock: Arc<ManualClock>,
    _service: Issuance,
    _directory: TempDir,
}

impl Test {
    /// An event of two, sold out to kim and lee, whose latch the background never builds.
    async fn sold_out() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let clock = Arc::new(ManualClock::new(draft::OPENS_AT));
        let time: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let path = directory.path().join("ledger.db");
        let options = LedgerOptions::embedded(path, Purpose::Serve);
        let ledger = Ledger::open(options, Arc::clone(&time)).await.expect("a new ledger");
        let event = event(&ledger).await;
        let config = IssuanceConfig::default();
        let (service, handle) = Issuance::start(ledger.clone(), None, &config, Arc::clone(&time))
            .expect("a thread is left");
        let latches = Arc::clone(&handle.inner.latches);
        let builder = Builder { ledger, clock: time, latches };
        let test = Self { handle, builder, event, clock, _service: service, _directory: directory };
        for user in ["kim", "lee"] {
            assert!(matches!(test.claim(user).await, Decision::Issued(_)));
        }
        test
    }

    async fn claim(&self, user: &str) -> Decision {
        let user_id = UserId::parse(user).expect("a user id");
        let claim = Claim { event_id: self.event, user_id };
        self.handle.claim(claim).await.expect("a verdict")
    }

    fn begin(&self) -> Build {
        let begun = self.handle.inner.latches.begin(self.event, self.clock.now());
        begun.expect("nobody builds")
    }

    async fn read(&self) -> Option<Latch> {
        self.builder.read(self.event).await.expect("the ledger answers")
    }

    fn finish(&self, build: Build, latch: Option<Latch>) {
        self.handle.inner.latches.finish(build, latch, self.clock.now());
    }

    /// Whether memory answers strangers.
    fn latched(&self) -> bool {
        let mut strangers = (0..64).map(|index| UserId::parse(&format!("x{index}")));
        strangers.any(|user| {
            let user = user.expect("a user id");
            let lookup = self.handle.inner.latches.lookup(self.event, &user, &*self.clock);
            lookup == Lookup::SoldOut
        })
    }

    async fn change(&self, change: Change) {
        let now = self.clock.now();
        let by = By::new(UserId::parse("admin").expect("a user id"), "change", "r-1");
        let changed = self.handle.change_event(
            by,
            self.event,
            |_| Ok(None),
            move |mut record| {
                match change {
                    Change::Quantity(quantity) => {
                        record.rule.quantity = Quantity::parse(quantity).expect("a quantity");
                    }
                    Change::Act(action) => {
                        record.rule = record.rule.apply(action, now).expect("it fits");
                    }
                }
                Ok::<_, ()>(record)
            },
        );
        changed.await.expect("the ledger answers").expect("the event").expect("done");
    }
}

#[derive(Clone, Copy)]
enum Change {
    Quantity(i128),
    Act(Action),
}

async fn event(ledger: &Ledger) -> EventId {
    let coupon_id = CouponId::from_uuid(Uuid::now_v7());
    ledger.create_coupon(coupon_id, draft::coupon()).await.expect("the ledger answers");
    let new = NewEvent {
        id: EventId::from_uuid(Uuid::now_v7()),
        coupon_id,
        name: Name::parse("두 명").expect("a name"),
        rule: draft::rule(2),
        strategy: Decider::Ledger,
        commit: Commit::Ledger,
    };
    ledger.create_event(new).await.expect("the ledger answers").expect("the coupon").id
}

#[tokio::test]
async fn a_latch_knows_every_winner_settled_or_not() {
    let test = Test::sold_out().await;
    let build = test.begin();
    let latch = test.read().await;
    test.finish(build, latch);
    assert!(test.latched());
    for user in ["kim", "lee"] {
        assert!(matches!(test.claim(user).await, Decision::AlreadyClaimed(_)));
    }
    assert_eq!(test.claim("park").await, Decision::SoldOut);
}

#[tokio::test]
async fn a_top_up_before_the_winners_are_read_leaves_no_latch() {
    let test = Test::sold_out().await;
    let build = test.begin();
    test.change(Change::Quantity(3)).await;
    assert!(test.read().await.is_none(), "it is no longer sold out");
    test.finish(build, None);
    assert!(matches!(test.claim("park").await, Decision::Issued(_)));
}

#[tokio::test]
async fn a_top_up_after_the_winners_are_read_leaves_no_latch() {
    let test = Test::sold_out().await;
    let build = test.begin();
    let latch = test.read().await;
    assert!(latch.is_some());
    test.change(Change::Quantity(3)).await;
    test.finish(build, latch);
    assert!(!test.latched(), "what was read is out of date");
    assert!(matches!(test.claim("park").await, Decision::Issued(_)));
}

#[tokio::test]
async fn a_change_of_a_latched_event_is_heard_at_once() {
    let changes = [
        (Change::Act(Action::Pause), Decision::Paused),
        (Change::Act(Action::Close), Decision::Closed),
    ];
    for (change, expected) in changes {
        let test = Test::sold_out().await;
        let build = test.begin();
        let latch = test.read().await;
        test.finish(build, latch);
        assert!(test.latched());
        test.change(change).await;
        assert_eq!(test.claim("park").await, expected);
        assert!(matches!(test.claim("kim").await, Decision::AlreadyClaimed(_)));
    }
}

#[tokio::test]
async fn a_sold_out_answer_has_the_latch_built_behind_it() {
    let test = Test::sold_out().await;
    let mut claims = 0;
    while !test.latched() {
        assert_eq!(test.claim(&format!("u{claims}")).await, Decision::SoldOut);
        claims += 1;
        assert!(claims < 100_000, "nobody builds the latch");
        tokio::task::yield_now().await;
    }
    assert_eq!(test.claim("park").await, Decision::SoldOut);
    test.handle.sync(test.event).await.expect("nothing beside the ledger");
    assert!(!test.latched());
}

/// Winners that claim again while the event is topped up, sells out and is latched over and over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_winner_is_ever_told_sold_out_and_no_top_up_goes_unnoticed() {
    let test = Arc::new(Test::sold_out().await);
    let winner = Arc::clone(&test);
    let winner = tokio::spawn(async move {
        loop {
            assert!(matches!(winner.claim("kim").await, Decision::AlreadyClaimed(_)));
            tokio::task::yield_now().await;
        }
    });
    for quantity in 3..40 {
        test.change(Change::Quantity(quantity)).await;
        let late = format!("late-{quantity}");
        assert!(matches!(test.claim(&late).await, Decision::Issued(_)), "it was topped up");
        assert_eq!(test.claim("stranger").await, Decision::SoldOut);
        assert!(matches!(test.claim(&late).await, Decision::AlreadyClaimed(_)));
    }
    assert!(!winner.is_finished(), "the winner heard the same each time");
    winner.abort();
}

/// The time is asked for once an event was read: what another process does before all its winners
/// are.
struct Meanwhile {
    ledger: Ledger,
    event: EventId,
    time: Arc<ManualClock>,
}

impl Clock for Meanwhile {
    fn now(&self) -> Timestamp {
        let raised = raise(&self.ledger, self.event);
        tokio::task::block_in_place(|| Handle::current().block_on(raised));
        self.time.now()
    }
}

/// Raises the quantity to three, as another process does, which says nothing to this one.
async fn raise(ledger: &Ledger, event: EventId) {
    let raise = |mut event: EventRecord| {
        event.rule.quantity = Quantity::parse(3).expect("a quantity");
        Ok::<_, std::convert::Infallible>(event)
    };
    let changed = ledger.change_event(event, raise).await.expect("the ledger answers");
    changed.expect("the event is there").expect("it is allowed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_behind_our_back_while_the_winners_are_read_leaves_no_latch() {
    let test = Test::sold_out().await;
    let (ledger, event) = (test.handle.ledger().clone(), test.event);
    let clock =
        Arc::new(Meanwhile { ledger: ledger.clone(), event, time: Arc::clone(&test.clock) });
    let builder = Builder { ledger, clock, latches: Arc::clone(&test.builder.latches) };
    let build = test.begin();
    let latch = builder.read(event).await.expect("the ledger answers");
    test.finish(build, latch);
    assert!(matches!(test.claim("park").await, Decision::Issued(_)));
    // It is built anew as soon as somebody asks.
    let build = test.begin();
    test.finish(build, test.read().await);
    assert!(test.latched());
}

#[tokio::test]
async fn a_change_behind_our_back_opens_the_latch_at_the_next_look() {
    let test = Test::sold_out().await;
    let (ledger, latches) = (test.handle.ledger().clone(), &test.handle.inner.latches);
    let build = test.begin();
    test.finish(build, test.read().await);
    watch::look(&ledger, latches).await.expect("the ledger answers");
    assert_eq!(latches.versions().len(), 1, "nothing has changed");
    raise(&ledger, test.event).await;
    assert_eq!(test.claim("park").await, Decision::SoldOut, "the latch does not know yet");
    watch::look(&ledger, latches).await.expect("the ledger answers");
    assert!(matches!(test.claim("park").await, Decision::Issued(_)));
}

/// Fails at the first question.
struct Faulty {
    was_asked: AtomicBool,
    time: Arc<ManualClock>,
}

impl Clock for Faulty {
    fn now(&self) -> Timestamp {
        assert!(self.was_asked.swap(true, Ordering::Relaxed), "a fault");
        self.time.now()
    }
}

#[tokio::test]
async fn a_fault_while_a_latch_is_built_costs_that_build_alone() {
    let test = Test::sold_out().await;
    let Builder { ledger, latches, .. } = &test.builder;
    let clock = Arc::new(Faulty { was_asked: false.into(), time: Arc::clone(&test.clock) });
    let builder = Builder { ledger: ledger.clone(), clock, latches: Arc::clone(latches) };
    let (builds, asked) = mpsc::channel(1);
    let building = tokio::spawn(builder.run(asked));
    let built = async {
        builds.send(test.begin()).await.expect("somebody builds");
        let again = loop {
            if let Some(build) = latches.begin(test.event, test.clock.now()) {
                break build;
            }
            test.clock.advance_micros(1_000_000);
            sleep(Duration::from_millis(1)).await;
        };
        builds.send(again).await.expect("somebody builds");
        while !test.latched() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), built).await.expect("it is built");
    building.abort();
}
