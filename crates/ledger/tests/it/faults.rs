//! What is told when the database, or the way to it, fails in the middle.

use std::sync::Arc;
use std::time::Duration;

use firstcome_core::{Clock, EventRule, Quantity, UserId};
use firstcome_ledger::{
    By, ChangeQuery, ClaimError, Decision, EventRecord, IssuedCouponRecord, Ledger, LedgerOptions,
    Purpose, ServerClock,
};
use firstcome_testkit::proxy::{CommitFault, Direction, Proxy};
use tokio::time::{Instant, timeout};

use crate::support::{Store, TestLedger, batch, on_every_server};

on_every_server! {
    a_commit_whose_reply_is_lost_is_found_and_told,
    a_commit_that_was_never_heard_of_is_done_again,
    a_commit_that_is_never_answered_is_found_and_told,
    a_commit_that_cannot_be_looked_for_is_in_doubt_and_contradicts_nobody,
    a_batch_of_which_nobody_won_needs_no_commit,
    a_change_that_is_not_committed_is_not_told,
    a_server_that_is_gone_is_told_soon_and_one_that_is_back_is_used,
    a_network_cut_one_way_ends_every_call_in_time,
    a_connection_that_broke_while_it_waited_is_replaced,
    another_server_at_the_same_address_is_used,
}

/// Longest that a connection takes, and a statement, in these tests.
const ACQUIRE: Duration = Duration::from_millis(500);
const STATEMENT: Duration = Duration::from_secs(1);

/// A ledger, and a second one that reaches the same rows through a proxy.
struct Test {
    direct: TestLedger,
    proxy: Proxy,
    proxied: Ledger,
    event: EventRecord,
}

impl Test {
    async fn new(store: Store) -> Self {
        let direct = TestLedger::new(store).await;
        let url = direct.place().database().url();
        let authority = url.split_once('@').and_then(|(_, rest)| rest.split_once('/'));
        let proxy = Proxy::start(authority.expect("an address").0).await;
        let options = LedgerOptions::parse_url(&proxy.url(url), Purpose::Serve);
        let mut options = options.expect("a URL");
        options.server_clock = ServerClock::Process;
        options.limits.acquire_timeout = ACQUIRE;
        options.limits.statement_timeout = STATEMENT;
        let clock = Arc::clone(&direct.clock) as Arc<dyn Clock>;
        let proxied = Ledger::open(options, clock).await.expect("the proxy leads there");
        let event = direct.event(100).await;
        Self { direct, proxy, proxied, event }
    }

    async fn claim(&self, users: &[&str]) -> Result<Vec<Decision>, ClaimError> {
        let answers = self.proxied.claim(batch(&self.event, users)).await?;
        Ok(answers.into_iter().map(|answer| answer.expect("the ledger decides it")).collect())
    }

    /// Everything that was issued, as the rows have it.
    async fn rows(&self) -> Vec<IssuedCouponRecord> {
        let rows = self.direct.ledger.issued_coupons_of_event(self.event.no, None, 200).await;
        let audit = self.direct.ledger.audit(self.event.id).await.expect("an answer");
        assert!(audit.expect("the event").pass());
        rows.expect("a page")
    }

    /// Claims until there is a verdict again.
    async fn claim_until_decided(&self, users: &[&str]) -> Vec<Decision> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match self.claim(users).await {
                Ok(decisions) => return decisions,
                Err(error) => assert!(Instant::now() < deadline, "still {error}"),
            }
        }
    }
}

fn issued(decisions: &[Decision]) -> Vec<IssuedCouponRecord> {
    let issued = |decision: &Decision| match decision {
        Decision::Issued(coupon) => coupon.clone(),
        other => panic!("not issued: {other:?}"),
    };
    decisions.iter().map(issued).collect()
}

fn held(decisions: &[Decision]) -> Vec<IssuedCouponRecord> {
    let held = |decision: &Decision| match decision {
        Decision::AlreadyClaimed(coupon) => coupon.clone(),
        other => panic!("not held: {other:?}"),
    };
    decisions.iter().map(held).collect()
}

/// The first batch on an event and a later one, which PostgreSQL may take in one message; once
/// with users who are new, once beside one who is not.
async fn a_commit_whose_reply_is_lost_is_found_and_told(store: Store) {
    let test = Test::new(store).await;
    let mut all = Vec::new();
    for users in [["a", "b"], ["c", "d"], ["e", "f"]] {
        test.proxy.on_commit(CommitFault::LoseReply, 0, 1);
        let won = issued(&test.claim(&users).await.expect("verdicts"));
        assert_eq!(test.proxy.hits(), 1);
        assert_eq!(held(&test.claim(&users).await.expect("verdicts")), won);
        all.extend(won);
    }
    test.proxy.on_commit(CommitFault::LoseReply, 0, 1);
    let mixed = test.claim(&["a", "new", "new"]).await.expect("verdicts");
    assert_eq!(test.proxy.hits(), 1);
    let new = issued(&mixed[1..2]);
    assert_eq!(held(&[mixed[0].clone(), mixed[2].clone()]), [&all[..1], &new].concat());
    assert_eq!(test.rows().await, [all, new].concat());
}

async fn a_commit_that_was_never_heard_of_is_done_again(store: Store) {
    let test = Test::new(store).await;
    let mut all = Vec::new();
    for users in [["a", "b"], ["c", "d"], ["e", "f"]] {
        test.proxy.on_commit(CommitFault::LoseRequest, 0, 1);
        all.extend(issued(&test.claim(&users).await.expect("verdicts")));
        assert_eq!(test.proxy.hits(), 1);
        assert_eq!(test.rows().await, all);
    }
}

async fn a_commit_that_is_never_answered_is_found_and_told(store: Store) {
    let test = Test::new(store).await;
    let mut all = Vec::new();
    for users in [["a", "b"], ["c", "d"]] {
        test.proxy.on_commit(CommitFault::HideReply, 0, 1);
        all.extend(issued(&test.claim(&users).await.expect("verdicts")));
        assert_eq!(test.rows().await, all);
    }
}

async fn a_commit_that_cannot_be_looked_for_is_in_doubt_and_contradicts_nobody(store: Store) {
    for (fault, is_there) in [(CommitFault::LoseReply, true), (CommitFault::LoseRequest, false)] {
        let test = Test::new(store).await;
        issued(&test.claim(&["lee"]).await.expect("verdicts"));
        test.proxy.on_commit(fault, 0, 1);
        // The connection lives on; a new one, to look with, is not to be had.
        test.proxy.refuse(true);
        let doubted = test.claim(&["kim"]).await;
        assert!(matches!(doubted, Err(ClaimError::InDoubt(_))), "{doubted:?}");
        test.proxy.refuse(false);
        let told = test.claim_until_decided(&["kim"]).await;
        let rows = test.rows().await;
        assert_eq!(rows.len(), 2);
        assert_eq!(if is_there { held(&told) } else { issued(&told) }, rows[1..], "{fault:?}");
    }
}

/// PostgreSQL may take a batch in one message. One that comes late must not issue what its users
/// were told they have not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_arrives_late_issues_nothing_to_who_was_told_otherwise() {
    for sold_out in [false, true] {
        let test = Test::new(Store::Postgres).await;
        issued(&test.claim(&["lee"]).await.expect("verdicts"));
        test.proxy.on_commit(CommitFault::DelayRequest, 0, 1);
        let (proxied, late) = (test.proxied.clone(), batch(&test.event, &["kim"]));
        let late = tokio::spawn(async move { proxied.claim(late).await });
        test.proxy.wait_for_hits(1).await;
        // While the process waits for its answer, the event becomes one at which kim wins nothing.
        let (before, told) = if sold_out {
            let quantity = Quantity::parse(2).expect("a quantity");
            change(&test, move |rule| EventRule { quantity, ..rule }).await;
            issued(&test.direct.claim(&test.event, &["park"]).await);
            (2, Decision::SoldOut)
        } else {
            change(&test, |rule| EventRule { paused: true, ..rule }).await;
            (1, Decision::Paused)
        };
        assert_eq!(late.await.expect("it ends").expect("an answer"), [Ok(told)]);
        change(&test, |rule| {
            let quantity = Quantity::parse(100).expect("a quantity");
            EventRule { paused: false, quantity, ..rule }
        })
        .await;
        test.proxy.release();
        test.proxy.wait_for_hits(2).await;
        assert_eq!(test.rows().await.len(), before);
    }
}

/// Changes the event's rule past the proxy.
async fn change(test: &Test, to: impl Fn(EventRule) -> EventRule + Send + 'static) {
    let change =
        move |event: EventRecord| Ok::<_, ()>(EventRecord { rule: to(event.rule), ..event });
    let changed = test.direct.ledger.change_event(test.event.id, change).await;
    changed.expect("an answer").expect("the event").expect("it is changed");
}

async fn a_batch_of_which_nobody_won_needs_no_commit(store: Store) {
    let test = Test::new(store).await;
    let won = issued(&test.claim(&["kim"]).await.expect("verdicts"));
    test.proxy.on_commit(CommitFault::LoseReply, 0, 1);
    assert_eq!(
        held(&test.claim(&["kim", "kim"]).await.expect("verdicts")),
        [&won[..], &won].concat()
    );
    // PostgreSQL is asked for everything in one message, and looked at again.
    assert_eq!(test.proxy.hits(), usize::from(store == Store::Postgres));
}

/// A change and its line in the trail are one: neither is there without the other.
async fn a_change_that_is_not_committed_is_not_told(store: Store) {
    for (fault, is_there) in [(CommitFault::LoseRequest, false), (CommitFault::LoseReply, true)] {
        let test = Test::new(store).await;
        let actor = UserId::parse("admin").expect("a user id");
        let proxied = test.proxied.by(By { actor, action: "change", request_id: "r".to_owned() });
        test.proxy.on_commit(fault, 0, 1);
        let double = |mut record: EventRecord| {
            record.rule.quantity = Quantity::parse(200).expect("a quantity");
            Ok::<_, ()>(record)
        };
        let changed = proxied.change_event(test.event.id, double).await;
        assert!(changed.is_err() && test.proxy.hits() == 1, "{changed:?}");
        let ledger = &test.direct.ledger;
        let event = ledger.event(test.event.id).await.expect("an answer").expect("the event");
        let all = ChangeQuery { limit: 10, ..ChangeQuery::default() };
        let told = ledger.changes(&all).await.expect("an answer").len();
        let quantity = if is_there { 200 } else { 100 };
        assert_eq!((event.rule.quantity.get(), told), (quantity, usize::from(is_there)));
    }
}

async fn a_server_that_is_gone_is_told_soon_and_one_that_is_back_is_used(store: Store) {
    let test = Test::new(store).await;
    issued(&test.claim(&["kim"]).await.expect("verdicts"));
    test.proxy.refuse(true);
    test.proxy.reset().await;
    for round in 0..3 {
        let begun = Instant::now();
        let refused = test.claim(&["lee"]).await;
        if round == 0 && store == Store::Postgres {
            // All was in one message, and might have arrived.
            assert!(matches!(refused, Err(ClaimError::InDoubt(_))), "{refused:?}");
        } else {
            assert!(matches!(refused, Err(ClaimError::Unavailable(_))), "{refused:?}");
        }
        assert!(begun.elapsed() < 2 * ACQUIRE, "after {:?}", begun.elapsed());
        let begun = Instant::now();
        assert!(test.proxied.event(test.event.id).await.is_err());
        assert!(begun.elapsed() < 2 * (ACQUIRE + STATEMENT), "after {:?}", begun.elapsed());
    }
    test.proxy.refuse(false);
    issued(&test.claim_until_decided(&["lee"]).await);
    assert!(test.proxied.event(test.event.id).await.is_ok());
}

async fn a_network_cut_one_way_ends_every_call_in_time(store: Store) {
    for direction in [Direction::ToServer, Direction::ToClient] {
        let test = Test::new(store).await;
        issued(&test.claim(&["kim"]).await.expect("verdicts"));
        assert!(test.proxied.event(test.event.id).await.is_ok());
        test.proxy.cut(direction);
        let all = async {
            for _ in 0..3 {
                assert!(test.claim(&["lee"]).await.is_err(), "{direction:?}");
                assert!(test.proxied.event(test.event.id).await.is_err(), "{direction:?}");
                assert!(test.proxied.coupons(None, 1).await.is_err(), "{direction:?}");
            }
        };
        timeout(9 * 2 * (ACQUIRE + STATEMENT), all).await.expect("every call ends in time");
        test.proxy.heal().await;
        test.claim_until_decided(&["lee"]).await;
        let deadline = Instant::now() + Duration::from_secs(10);
        while test.proxied.event(test.event.id).await.is_err() {
            assert!(Instant::now() < deadline, "reads do not come back");
        }
        assert_eq!(test.rows().await.len(), 2);
    }
}

async fn a_connection_that_broke_while_it_waited_is_replaced(store: Store) {
    let test = Test::new(store).await;
    issued(&test.claim(&["kim"]).await.expect("verdicts"));
    test.proxy.reset().await;
    issued(&test.claim(&["lee"]).await.expect("a verdict, on another connection"));
}

/// After a failover the address leads to a node that knows all that was acknowledged.
async fn another_server_at_the_same_address_is_used(store: Store) {
    let test = Test::new(store).await;
    let won = issued(&test.claim(&["kim"]).await.expect("verdicts"));
    let way = Proxy::start(&authority(&test)).await;
    test.proxy.set_upstream(way.authority());
    test.proxy.reset().await;
    assert_eq!(held(&test.claim(&["kim"]).await.expect("verdicts")), won);
    drop(way);
    assert!(test.claim(&["lee"]).await.is_err(), "it went through the other node");
}

fn authority(test: &Test) -> String {
    let url = test.direct.place().database().url();
    let authority = url.split_once('@').and_then(|(_, rest)| rest.split_once('/'));
    authority.expect("an address").0.to_owned()
}
