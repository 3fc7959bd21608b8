//! The lock of `redis_lock`: it is kept while a batch is decided, let go whatever becomes of it,
//! and ends with its holder. Who loses it while holding it does no harm.

use firstcome_core::Strategy;
use firstcome_issuance::{NoVerdict, Undecided};
use firstcome_ledger::{Decision, EventRecord};
use firstcome_testkit::{Direction, Proxy, TestDatabase};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::losses::key;
use super::{Deployment, POLL, Place, WAIT_MAX, claim, decided, held, issued, on_a_file, process};
use crate::support::TestIssuance;

mod ledger {
    super::super::for_commit! {
        Ledger:
        it_is_let_go_whatever_becomes_of_the_batch,
        a_lock_of_another_is_waited_for_and_left_alone,
        it_is_kept_for_as_long_as_the_batch_takes,
        of_two_who_hold_it_the_ledger_lets_one_win,
        who_has_lost_it_lets_no_other_go,
        one_that_was_had_without_an_answer_is_let_go,
        one_that_cannot_be_let_go_at_once_is_let_go_soon,
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

/// A batch whose process has the lock, and waits for the event's row.
struct Waiting {
    _process: TestIssuance,
    /// What its claim is told.
    told: JoinHandle<Result<Decision, NoVerdict>>,
    /// The token of its lock.
    token: String,
}

impl Waiting {
    /// A claim by this process, which nobody with another token keeps from the lock.
    async fn of(test: &Deployment, process: TestIssuance, event: &EventRecord, user: &str) -> Self {
        let lock = key(event, "lock");
        let (handle, claim) = (process.handle.clone(), claim(event, user));
        let told = tokio::spawn(async move { handle.claim(claim).await });
        let token = async {
            loop {
                let token = test.redis.cli(&["GET", &lock]).await;
                if !token.is_empty() {
                    return token;
                }
                sleep(POLL).await;
            }
        };
        let token = timeout(WAIT_MAX, token).await.expect("it gets the lock");
        Self { _process: process, told, token }
    }

    async fn told(self) -> Decision {
        self.told.await.expect("no panic").expect("a verdict")
    }
}

/// Nobody decides for the event from now on, until [`let_go`].
pub(super) async fn hold(database: &TestDatabase, event: &EventRecord) {
    let row = format!("SELECT no FROM events WHERE no = {} FOR UPDATE", event.no.get());
    database.execute(&format!("BEGIN; {row}")).await;
}

pub(super) async fn let_go(database: &TestDatabase) {
    database.execute("COMMIT").await;
}

/// Its lease is renewed, so that it ends later than it would have.
async fn it_is_kept_for_as_long_as_the_batch_takes(test: Deployment) {
    let Place::Server(database) = &test.ledger else { panic!("a row is held on a server") };
    let event = test.event(Strategy::RedisLock, 1).await;
    hold(database, &event).await;
    let kim = Waiting::of(&test, test.another().await, &event, "kim").await;
    let lock = key(&event, "lock");
    let ends = || async {
        let ends = test.redis.cli(&["PEXPIRETIME", &lock]).await;
        ends.parse::<i64>().expect("a moment, or -2 where the lock is gone")
    };
    let first = ends().await;
    let kept = async {
        while ends().await == first {
            sleep(POLL).await;
        }
    };
    timeout(WAIT_MAX, kept).await.expect("its lease is renewed, or ends");
    assert!(ends().await > first, "it has ended");
    assert_eq!(test.redis.cli(&["GET", &lock]).await, kim.token);
    let_go(database).await;
    issued(kim.told().await);
}

/// Its lease ends while it is held, as when the holder is stopped for longer than it lasts.
async fn of_two_who_hold_it_the_ledger_lets_one_win(test: Deployment) {
    let Place::Server(database) = &test.ledger else { panic!("another process needs a server") };
    let event = test.event(Strategy::RedisLock, 1).await;
    let (one, other) = (test.another().await, test.another().await);
    hold(database, &event).await;
    let kim = Waiting::of(&test, one, &event, "kim").await;
    test.redis.cli(&["DEL", &key(&event, "lock")]).await;
    let lee = Waiting::of(&test, other, &event, "lee").await;
    assert_ne!(kim.token, lee.token, "each has had the lock");
    let_go(database).await;
    let coupon = match (kim.told().await, lee.told().await) {
        (Decision::Issued(coupon), Decision::SoldOut)
        | (Decision::SoldOut, Decision::Issued(coupon)) => coupon,
        both => panic!("{both:?}"),
    };
    assert_eq!(test.winners(&event).await, [coupon]);
    assert_eq!(test.redis.cli(&["EXISTS", &key(&event, "lock")]).await, "0");
}

async fn who_has_lost_it_lets_no_other_go(test: Deployment) {
    let Place::Server(database) = &test.ledger else { panic!("a row is held on a server") };
    let event = test.event(Strategy::RedisLock, 1).await;
    let one = test.another().await;
    hold(database, &event).await;
    let kim = Waiting::of(&test, one, &event, "kim").await;
    let lock = key(&event, "lock");
    test.redis.cli(&["SET", &lock, "another"]).await;
    let_go(database).await;
    let coupon = issued(kim.told().await);
    assert_eq!(test.redis.cli(&["GET", &lock]).await, "another");
    assert_eq!(test.winners(&event).await, [coupon]);
}

/// As soon as Redis answers again, and not when its lease ends.
async fn one_that_was_had_without_an_answer_is_let_go(test: Deployment) {
    let event = test.event(Strategy::RedisLock, 2).await;
    issued(decided(&test.one, &event, "kim").await);
    test.redis.cli(&["CONFIG", "RESETSTAT"]).await;
    test.redis.hang();
    let refused = test.one.handle.claim(claim(&event, "lee")).await;
    assert_eq!(refused, Err(NoVerdict::Undecided(Undecided::Unavailable)));
    test.redis.go_on();
    let let_go = async {
        let lock = key(&event, "lock");
        while test.redis.calls_of("set").await != 1
            || test.redis.cli(&["EXISTS", &lock]).await == "1"
        {
            sleep(POLL).await;
        }
    };
    timeout(WAIT_MAX, let_go).await.expect("it was had, and is let go");
    let stats = test.redis.cli(&["INFO", "stats"]).await;
    assert!(stats.contains("expired_keys:0"), "its lease has ended");
    assert_eq!(issued(decided(&test.one, &event, "lee").await).sequence.get(), 2);
}

/// The same where Redis is out of reach when the batch ends.
async fn one_that_cannot_be_let_go_at_once_is_let_go_soon(test: Deployment) {
    let Place::Server(database) = &test.ledger else { panic!("a row is held on a server") };
    let event = test.event(Strategy::RedisLock, 2).await;
    let proxy = Proxy::start(&test.redis.url()).await;
    let one = process(&proxy.url(&test.redis.url()), database.url(), None).await;
    issued(decided(&one, &event, "kim").await);
    test.redis.cli(&["CONFIG", "RESETSTAT"]).await;
    hold(database, &event).await;
    // It lives until the end of the test.
    let Waiting { _process, told, .. } = Waiting::of(&test, one, &event, "lee").await;
    proxy.cut(Direction::ToServer);
    let_go(database).await;
    issued(told.await.expect("no panic").expect("a verdict"));
    proxy.heal().await;
    let lock = key(&event, "lock");
    let let_go = async {
        while test.redis.cli(&["EXISTS", &lock]).await == "1" {
            sleep(POLL).await;
        }
    };
    timeout(WAIT_MAX, let_go).await.expect("it is let go");
    let stats = test.redis.cli(&["INFO", "stats"]).await;
    assert!(stats.contains("expired_keys:0"), "its lease has ended");
}
