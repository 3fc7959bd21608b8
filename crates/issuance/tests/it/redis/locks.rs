//! The lock of `redis_lock`: it is let go whatever becomes of a batch, and ends with its holder.

use firstcome_core::Strategy;
use firstcome_issuance::{NoVerdict, Undecided};
use firstcome_ledger::{Decision, EventRecord};

use super::losses::key;
use super::{Deployment, Place, claim, decided, held, issued, on_a_file};

mod ledger {
    super::super::for_commit! {
        Ledger:
        it_is_let_go_whatever_becomes_of_the_batch,
        a_lock_of_another_is_waited_for_and_left_alone,
    }
}

on_a_file! {
    it_is_let_go_whatever_becomes_of_the_batch,
    a_lock_of_another_is_waited_for_and_left_alone,
}

/// What is told of a claim, when nobody holds the lock any more: at once, not when its lease ends.
async fn told(test: &Deployment, event: &EventRecord, user: &str) -> Result<Decision, NoVerdict> {
    let told = test.one.handle.claim(claim(event, user)).await;
    let lock = test.redis.cli(&["EXISTS", &key(event, "lock")]).await;
    assert_eq!(lock, "0", "after {told:?}");
    told
}

async fn it_is_let_go_whatever_becomes_of_the_batch(test: Deployment) {
    let event = test.event(Strategy::RedisLock, 1).await;
    let first = issued(told(&test, &event, "kim").await.expect("a verdict"));
    assert_eq!(held(told(&test, &event, "kim").await.expect("a verdict")), first);
    assert_eq!(told(&test, &event, "lee").await, Ok(Decision::SoldOut));
    assert_eq!(test.set_quantity(&event, 2).await, 200);
    test.act(&event, "pause").await;
    assert_eq!(told(&test, &event, "lee").await, Ok(Decision::Paused));
    test.act(&event, "close").await;
    assert_eq!(told(&test, &event, "lee").await, Ok(Decision::Closed));
    assert_eq!(test.winners(&event).await, [first]);
    let Place::Server(database) = &test.ledger else { return };
    let event = test.event(Strategy::RedisLock, 2).await;
    issued(told(&test, &event, "kim").await.expect("a verdict"));
    database.execute("ALTER TABLE issued_coupons RENAME TO elsewhere").await;
    let refused = told(&test, &event, "lee").await;
    assert!(matches!(refused, Err(NoVerdict::Undecided(_))), "{refused:?}");
    database.execute("ALTER TABLE elsewhere RENAME TO issued_coupons").await;
    assert_eq!(issued(decided(&test.one, &event, "lee").await).sequence.get(), 2);
}

async fn a_lock_of_another_is_waited_for_and_left_alone(test: Deployment) {
    let event = test.event(Strategy::RedisLock, 2).await;
    let lock = key(&event, "lock");
    test.redis.cli(&["SET", &lock, "another"]).await;
    let refused = test.one.handle.claim(claim(&event, "kim")).await;
    assert_eq!(refused, Err(NoVerdict::Undecided(Undecided::Unavailable)));
    assert_eq!(test.redis.cli(&["GET", &lock]).await, "another");
    assert_eq!(test.winners(&event).await, []);
    // One whose holder is dead.
    test.redis.cli(&["SET", &lock, "another", "PX", "500"]).await;
    issued(decided(&test.one, &event, "kim").await);
    assert_eq!(test.winners(&event).await.len(), 1);
}
