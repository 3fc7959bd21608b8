//! Random histories are decided as the rule decides them, whoever decides.

use std::collections::HashMap;

use axum::http::Method;
use firstcome_core::{Action, Strategy as Decider, UserId, Verdict};
use firstcome_issuance::{LedgerStrategy, RedisLockStrategy, Strategy, Undecided};
use firstcome_ledger::{Claim, Decision, EventRecord, IssuedCouponRecord};
use firstcome_testkit::history::{self, Change, Reference, Step};
use proptest::prelude::{Just, prop_oneof};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep};

use super::{Deployment, POLL, WAIT_MAX, connection, for_every_commit, on_a_file};

/// So many that all together miss a kind of verdict less than once in 10^7.
const HISTORIES: u32 = 14;
const QUANTITY: u32 = 8;

for_every_commit! {
    every_history_is_decided_in_redis_as_the_rule_decides_it,
}

mod redis_lock {
    super::super::for_commit! {
        Ledger:
        every_history_is_decided_by_a_lock_as_the_rule_decides_it,
    }
}

on_a_file! {
    every_history_is_decided_by_a_lock_as_the_rule_decides_it,
}

/// What befalls a history beside claims and changes.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// Another process decides from now on.
    Another,
    /// What is remembered of the event is rebuilt.
    Sync,
}

async fn every_history_is_decided_in_redis_as_the_rule_decides_it(test: Deployment) {
    check(&test, Decider::Redis, || test.decider());
}

async fn every_history_is_decided_by_a_lock_as_the_rule_decides_it(test: Deployment) {
    check(&test, Decider::RedisLock, || {
        let ledger = LedgerStrategy::new(test.one.ledger.clone());
        RedisLockStrategy::new(connection(&test.redis.url()), ledger)
    });
}

/// Random histories, each on an event of its own.
fn check<S: Strategy>(test: &Deployment, decider: Decider, another: impl Fn() -> S) {
    let turn = prop_oneof![Just(Turn::Another), Just(Turn::Sync)];
    history::check(HISTORIES, turn, |steps| {
        let follow = follow(test, decider, &another, steps);
        block_in_place(|| Handle::current().block_on(follow))
    });
}

async fn follow<S: Strategy>(
    test: &Deployment,
    decider: Decider,
    another: impl Fn() -> S,
    steps: Vec<Step<Turn>>,
) -> Reference {
    let event = test.event(decider, QUANTITY).await;
    let (mut reference, mut held) = (Reference::new(event.rule), HashMap::new());
    let mut decider = another();
    for step in steps {
        let now = test.one.ledger.clock().now();
        match step {
            Step::Claim(users) => {
                let expected = reference.claim(&users, now);
                let found = told(&decider, &event, &users).await;
                for ((user, expected), told) in users.iter().zip(&expected).zip(found) {
                    check_told(&mut held, user, expected, told);
                }
            }
            Step::Change(change) => {
                let status = if reference.change(change, now) { 200 } else { 409 };
                assert_eq!(answered(async || ask(test, &event, change).await).await, status);
            }
            Step::Other(Turn::Another) => decider = another(),
            Step::Other(Turn::Sync) => {
                assert_eq!(answered(async || act(test, &event, "sync").await).await, 200);
            }
        }
    }
    let winners = test.winners(&event).await;
    assert_eq!(winners.len(), held.len());
    assert!(winners.iter().all(|row| held.get(&row.user_id) == Some(row)), "{winners:?}");
    reference
}

/// What a claim is told.
struct Told {
    decision: Decision,
    /// It was told before that it may have won.
    was_in_doubt: bool,
}

/// What each claim of a batch is told, asked again while there is no verdict.
async fn told(decider: &impl Strategy, event: &EventRecord, users: &[UserId]) -> Vec<Told> {
    let claims = users.iter().map(|user| Claim { event_id: event.id, user_id: user.clone() });
    let batch: Vec<Claim> = claims.collect();
    let (mut told, mut was_in_doubt) = (vec![None; batch.len()], vec![false; batch.len()]);
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        for (place, outcome) in decider.decide(batch.clone()).await.into_iter().enumerate() {
            was_in_doubt[place] |= outcome == Err(Undecided::InDoubt);
            // What is told once counts.
            told[place] = told[place].take().or(outcome.ok());
        }
        if told.iter().all(Option::is_some) {
            let told = told.into_iter().flatten().zip(was_in_doubt);
            return told.map(|(decision, was_in_doubt)| Told { decision, was_in_doubt }).collect();
        }
        assert!(Instant::now() < deadline, "still {told:?}");
        sleep(POLL).await;
    }
}

/// It is as the rule says, and who holds a coupon is told of this one and no other.
fn check_told(
    held: &mut HashMap<UserId, IssuedCouponRecord>,
    user: &UserId,
    expected: &Verdict,
    Told { decision, was_in_doubt }: Told,
) {
    let is_same = match (expected, &decision) {
        (Verdict::Issued(sequence), Decision::AlreadyClaimed(coupon)) if was_in_doubt => {
            held.insert(user.clone(), coupon.clone());
            coupon.sequence == *sequence
        }
        (Verdict::Issued(sequence), Decision::Issued(coupon)) => {
            held.insert(user.clone(), coupon.clone());
            coupon.sequence == *sequence
        }
        (Verdict::AlreadyClaimed(_), Decision::AlreadyClaimed(coupon)) => {
            held.get(user) == Some(coupon)
        }
        (Verdict::NotOpen { opens_at }, Decision::NotOpen { opens_at: found }) => opens_at == found,
        (Verdict::SoldOut, Decision::SoldOut)
        | (Verdict::Paused, Decision::Paused)
        | (Verdict::Closed, Decision::Closed) => true,
        _ => false,
    };
    assert!(is_same, "{user} is to be told {expected:?}, and is told {decision:?}");
}

/// What an admin is answered, who asks again while the answer is 503.
async fn answered(ask: impl AsyncFn() -> u16) -> u16 {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        let status = ask().await;
        if status != 503 || Instant::now() >= deadline {
            return status;
        }
        sleep(POLL).await;
    }
}

async fn ask(test: &Deployment, event: &EventRecord, change: Change) -> u16 {
    match change {
        Change::Quantity(quantity) => test.set_quantity(event, quantity.get()).await,
        Change::Window(window) => {
            let [from, until] = [window.opens_at(), window.closes_at()].map(|at| at.to_string());
            test.patch(event, &json!({"opens_at": from, "closes_at": until})).await
        }
        Change::Act(Action::Open) => act(test, event, "open").await,
        Change::Act(Action::Pause) => act(test, event, "pause").await,
        Change::Act(Action::Resume) => act(test, event, "resume").await,
        Change::Act(Action::Close) => act(test, event, "close").await,
    }
}

async fn act(test: &Deployment, event: &EventRecord, action: &str) -> u16 {
    let path = format!("/v1/events/{}/{action}", event.id);
    test.one.admin(Method::POST, &path, &Value::Null).await.status.as_u16()
}
