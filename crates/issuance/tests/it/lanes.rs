//! Lanes: what is accepted is decided, in order, in batches, whoever goes away or panics.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firstcome_issuance::{
    IssuanceConfig, LedgerStrategy, NoVerdict, NotDrained, Outcome, Strategy, Undecided,
};
use firstcome_ledger::{Claim, Decision, EventRecord, Ledger};
use futures_util::future::{join_all, poll_immediate};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::support::{TestIssuance, claim_of};

/// Longest that a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// The ledger behind a gate: each permit lets one batch through.
#[derive(Clone)]
struct Gated {
    inner: LedgerStrategy,
    gate: Arc<Gate>,
}

struct Gate {
    /// Batches that may pass.
    open: Semaphore,
    /// Batches that have come.
    came: Semaphore,
    users: Mutex<Vec<Vec<String>>>,
}

impl Gate {
    fn closed() -> Arc<Self> {
        let (open, came) = (Semaphore::new(0), Semaphore::new(0));
        Arc::new(Self { open, came, users: Mutex::default() })
    }

    fn over(self: &Arc<Self>) -> impl FnOnce(Ledger) -> Gated + use<> {
        let gate = Arc::clone(self);
        |ledger| Gated { inner: LedgerStrategy::new(ledger), gate }
    }

    async fn until_one_waits(&self) {
        self.came.acquire().await.expect("the gate stays").forget();
    }

    fn open_for_all(&self) {
        self.open.add_permits(10_000);
    }

    fn batches(&self) -> Vec<Vec<String>> {
        self.users.lock().expect("no panic within").clone()
    }
}

impl Strategy for Gated {
    async fn decide(&self, batch: Vec<Claim>) -> Vec<Outcome> {
        let users = batch.iter().map(|claim| claim.user_id.to_string()).collect();
        self.gate.users.lock().expect("no panic within").push(users);
        self.gate.came.add_permits(1);
        self.gate.open.acquire().await.expect("the gate stays").forget();
        self.inner.decide(batch).await
    }
}

/// The same, of which two batches may be under way.
struct Pair(Gated);

impl Strategy for Pair {
    const AT_ONCE: usize = 2;

    async fn decide(&self, batch: Vec<Claim>) -> Vec<Outcome> {
        self.0.decide(batch).await
    }
}

fn sequence(decision: &Decision) -> u32 {
    match decision {
        Decision::Issued(coupon) | Decision::AlreadyClaimed(coupon) => coupon.sequence.get(),
        other => panic!("{other:?} has no sequence"),
    }
}

/// A claim that is queued, but not yet decided.
type Waiting<'a> = Pin<Box<dyn Future<Output = Result<Decision, NoVerdict>> + Send + 'a>>;

async fn queued<'a>(
    claim: impl Future<Output = Result<Decision, NoVerdict>> + Send + 'a,
) -> Waiting<'a> {
    let mut claim: Waiting<'a> = Box::pin(claim);
    assert!(poll_immediate(&mut claim).await.is_none(), "nothing is decided yet");
    claim
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drop_is_gapless_and_every_retry_hears_the_same() {
    let test = TestIssuance::new().await;
    let event = test.event(100).await;
    let claims = (0..3_000).map(|index| {
        let (handle, claim) = (test.handle.clone(), claim_of(&event, &format!("u{}", index % 700)));
        tokio::spawn(async move { (index % 700, handle.claim(claim).await) })
    });
    let mut won = BTreeSet::new();
    let mut held = std::collections::BTreeMap::new();
    for answer in join_all(claims).await {
        let (user, decision) = answer.expect("no panic");
        match decision.expect("a verdict") {
            Decision::Issued(coupon) => {
                assert!(won.insert(coupon.sequence.get()), "a sequence is given once");
                assert_eq!(*held.entry(user).or_insert(coupon.sequence), coupon.sequence);
            }
            Decision::AlreadyClaimed(coupon) => {
                assert_eq!(*held.entry(user).or_insert(coupon.sequence), coupon.sequence);
            }
            other => assert_eq!(other, Decision::SoldOut),
        }
    }
    assert!(won.into_iter().eq(1..=100));
    assert_eq!(held.len(), 100);
    assert!(test.ledger.audit(event.id).await.expect("an answer").expect("the event").pass());
}

#[tokio::test]
async fn what_arrives_while_a_batch_is_decided_is_the_next_batch_in_its_order() {
    let gate = Gate::closed();
    let test = TestIssuance::with(IssuanceConfig::default(), gate.over()).await;
    let event = test.event(10_000).await;
    let mut waiting = vec![queued(test.handle.claim(claim_of(&event, "u0"))).await];
    gate.until_one_waits().await;
    for index in 1..=2_500 {
        let claim = claim_of(&event, &format!("u{index}"));
        waiting.push(queued(test.handle.claim(claim)).await);
    }
    gate.open_for_all();
    let decided = join_all(waiting).await;
    for (index, decision) in decided.iter().enumerate() {
        let decision = decision.as_ref().expect("a verdict");
        assert_eq!(sequence(decision) as usize, index + 1, "first come, first served");
    }
    let sizes: Vec<usize> = gate.batches().iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, 1_000, 1_000, 500]);
}

#[tokio::test]
async fn a_batch_begins_beside_another_that_is_no_larger() {
    let gate = Gate::closed();
    let pair = gate.over();
    let config = IssuanceConfig::default();
    let test = TestIssuance::with(config, |ledger| Pair(pair(ledger))).await;
    let event = test.event(10).await;
    let claim = async |user: &str| queued(test.handle.claim(claim_of(&event, user))).await;
    let (first, second);
    first = claim("u0").await;
    gate.until_one_waits().await;
    second = claim("u1").await;
    gate.until_one_waits().await;
    let mut waiting = vec![claim("u2").await, claim("u3").await, claim("u4").await];
    gate.open.add_permits(1);
    first.await.expect("a verdict");
    gate.until_one_waits().await;
    waiting.push(claim("u5").await);
    gate.open.add_permits(1);
    second.await.expect("a verdict");
    waiting.push(claim("u6").await);
    gate.open_for_all();
    assert!(join_all(waiting).await.iter().all(Result::is_ok));
    let expected = [&["u0"][..], &["u1"], &["u2", "u3", "u4"], &["u5", "u6"]];
    assert_eq!(gate.batches(), expected);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_keeps_what_it_has() {
    let gate = Gate::closed();
    let config = IssuanceConfig { queue_claims_max: 4, ..IssuanceConfig::default() };
    let test = TestIssuance::with(config, gate.over()).await;
    let event = test.event(10).await;
    let mut waiting = vec![queued(test.handle.claim(claim_of(&event, "u0"))).await];
    gate.until_one_waits().await;
    for index in 1..=4 {
        let claim = claim_of(&event, &format!("u{index}"));
        waiting.push(queued(test.handle.claim(claim)).await);
    }
    let refused = poll_immediate(test.handle.claim(claim_of(&event, "late"))).await;
    assert_eq!(refused, Some(Err(NoVerdict::QueueFull)));
    gate.open_for_all();
    for decision in join_all(waiting).await {
        assert!(matches!(decision, Ok(Decision::Issued(_))));
    }
    let retried = test.handle.claim(claim_of(&event, "late")).await.expect("a verdict");
    assert_eq!(sequence(&retried), 6);
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_nothing() {
    let gate = Gate::closed();
    let test = TestIssuance::with(IssuanceConfig::default(), gate.over()).await;
    let event = test.event(1).await;
    drop(queued(test.handle.claim(claim_of(&event, "gone"))).await);
    let later = queued(test.handle.claim(claim_of(&event, "later"))).await;
    gate.open_for_all();
    assert_eq!(later.await, Ok(Decision::SoldOut));
    let again = test.handle.claim(claim_of(&event, "gone")).await.expect("a verdict");
    assert!(matches!(again, Decision::AlreadyClaimed(coupon) if coupon.sequence.get() == 1));
}

#[tokio::test]
async fn a_claim_that_waits_too_long_is_in_doubt_and_may_have_won() {
    let gate = Gate::closed();
    let config = IssuanceConfig { claim_timeout_ms: 1, ..IssuanceConfig::default() };
    let test = TestIssuance::with(config, gate.over()).await;
    let event = test.event(1).await;
    let late = timeout(PATIENCE, test.handle.claim(claim_of(&event, "kim"))).await;
    assert_eq!(late.expect("it does not wait for the decider"), Err(Undecided::InDoubt.into()));
    gate.open_for_all();
    let again = loop {
        match test.handle.claim(claim_of(&event, "kim")).await {
            Ok(decision) => break decision,
            // The machine may be slower than a millisecond.
            Err(no_verdict) => assert_eq!(no_verdict, Undecided::InDoubt.into()),
        }
    };
    assert!(matches!(again, Decision::AlreadyClaimed(_)));
}

#[tokio::test]
async fn a_shutdown_answers_all_that_was_accepted() {
    let gate = Gate::closed();
    let (test, event) = open_event(&gate).await;
    let mut waiting = vec![queued(test.handle.claim(claim_of(&event, "u0"))).await];
    gate.until_one_waits().await;
    for index in 1..2_000 {
        let claim = claim_of(&event, &format!("u{index}"));
        waiting.push(queued(test.handle.claim(claim)).await);
    }
    let mut shutdown = Box::pin(test.service.shutdown(Duration::from_secs(60)));
    assert!(poll_immediate(&mut shutdown).await.is_none(), "it waits for the accepted claims");
    gate.open_for_all();
    assert_eq!(shutdown.await, Ok(()));
    for (index, decision) in join_all(waiting).await.into_iter().enumerate() {
        assert_eq!(sequence(&decision.expect("a verdict")) as usize, index + 1);
    }
    let late = test.handle.claim(claim_of(&event, "late")).await;
    assert_eq!(late, Err(NoVerdict::Closing));
}

#[tokio::test]
async fn a_shutdown_does_not_wait_beyond_its_deadline() {
    let gate = Gate::closed();
    let (test, event) = open_event(&gate).await;
    let claim = queued(test.handle.claim(claim_of(&event, "kim"))).await;
    gate.until_one_waits().await;
    assert_eq!(test.service.shutdown(Duration::ZERO).await, Err(NotDrained));
    assert_eq!(claim.await, Err(Undecided::InDoubt.into()));
}

async fn open_event(gate: &Arc<Gate>) -> (TestIssuance, EventRecord) {
    let test = TestIssuance::with(IssuanceConfig::default(), gate.over()).await;
    let event = test.event(10_000).await;
    (test, event)
}

/// The ledger, but some users bring it out of step.
struct Faulty(LedgerStrategy);

impl Strategy for Faulty {
    async fn decide(&self, batch: Vec<Claim>) -> Vec<Outcome> {
        let has = |name: &str| batch.iter().any(|claim| claim.user_id.as_str() == name);
        assert!(!has("panic"), "as asked");
        if has("unavailable") {
            return vec![Err(Undecided::Unavailable); batch.len()];
        }
        let forgets = has("forget");
        let mut outcomes = self.0.decide(batch).await;
        if forgets {
            outcomes.pop();
        }
        outcomes
    }
}

#[tokio::test]
async fn a_batch_without_verdicts_leaves_the_lane_at_work() {
    let test =
        TestIssuance::with(IssuanceConfig::default(), |ledger| Faulty(LedgerStrategy::new(ledger)))
            .await;
    let event = test.event(10).await;
    for (user, expected) in [
        ("panic", Undecided::InDoubt),
        ("unavailable", Undecided::Unavailable),
        ("forget", Undecided::InDoubt),
    ] {
        let (beside, claim) = (claim_of(&event, "beside"), claim_of(&event, user));
        let both = join_all([test.handle.claim(beside), test.handle.claim(claim)]).await;
        assert_eq!(both, [Err(expected.into()), Err(expected.into())], "{user}");
        assert!(test.handle.claim(claim_of(&event, &format!("after-{user}"))).await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_lanes_decide_many_events_each_in_its_order() {
    let config = IssuanceConfig { lanes: 4, ..IssuanceConfig::default() };
    let test = TestIssuance::with(config, LedgerStrategy::new).await;
    let events = join_all((0..12).map(|_| test.event(5))).await;
    let claims = (0..120).map(|index| {
        let claim = claim_of(&events[index % 12], &format!("u{}", index / 12));
        test.handle.claim(claim)
    });
    let decided = join_all(claims).await;
    let won = decided.iter().filter(|decision| matches!(decision, Ok(Decision::Issued(_))));
    assert_eq!(won.count(), 60);
    for event in events {
        let audit = test.ledger.audit(event.id).await.expect("an answer").expect("the event");
        assert!(audit.pass() && audit.rows == 5);
    }
}
