//! Calls with a key: made once, answered the same for a day.

use std::sync::mpsc;
use std::time::Duration;

use firstcome_core::{Commit, CouponId, EventId, UserId};
use firstcome_ledger::{
    CouponRecord, EventQuery, EventRecord, Ledger, Made, NewEvent, Once, OnceKey,
};
use tokio::runtime::Handle;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::{HOUR, OPENS_AT, Store, TestLedger, draft, on_every_server, on_every_store};

on_every_store! {
    the_same_key_gets_the_first_answer,
    another_body_under_the_key_is_refused,
    a_key_is_of_one_caller_and_one_path,
    what_was_not_made_leaves_the_key_free,
    an_answer_is_kept_for_a_day,
    of_many_at_once_one_is_made,
    a_key_at_work_is_told,
}

mod together {
    use super::of_two_processes_at_once_one_makes_it;

    super::on_every_server! { of_two_processes_at_once_one_makes_it }
}

fn key(caller: &str, path: &'static str, name: &str, body: u8) -> OnceKey {
    OnceKey {
        caller: UserId::parse(caller).expect("a user id"),
        path,
        name: name.to_owned(),
        request_hash: [body; 32],
    }
}

async fn create(ledger: &Ledger, key: OnceKey) -> Once {
    let answer = |made: CouponRecord| Made {
        location: format!("/v1/coupons/{}", made.id),
        etag: format!("\"{}\"", made.version),
        body: format!("{{\"id\":\"{}\",\"name\":\"쿠폰 🎁\"}}", made.id),
    };
    let id = CouponId::from_uuid(Uuid::now_v7());
    ledger.create_coupon_once(Some(key), id, draft(), answer).await.expect("the ledger answers")
}

async fn coupons(ledger: &Ledger) -> usize {
    ledger.coupons(None, 100).await.expect("the ledger answers").len()
}

async fn the_same_key_gets_the_first_answer(store: Store) {
    let test = TestLedger::new(store).await;
    let first = create(&test.ledger, key("admin", "/v1/coupons", "k", 1)).await;
    assert!(matches!(&first, Once::Made(made) if made.body.contains("쿠폰 🎁")), "{first:?}");
    let test = test.reopen(firstcome_ledger::Purpose::Serve).await;
    assert_eq!(create(&test.ledger, key("admin", "/v1/coupons", "k", 1)).await, first);
    assert_eq!(coupons(&test.ledger).await, 1);
}

async fn another_body_under_the_key_is_refused(store: Store) {
    let test = TestLedger::new(store).await;
    create(&test.ledger, key("admin", "/v1/coupons", "k", 1)).await;
    let other = create(&test.ledger, key("admin", "/v1/coupons", "k", 2)).await;
    assert_eq!(other, Once::Mismatch);
    assert_eq!(coupons(&test.ledger).await, 1);
}

async fn a_key_is_of_one_caller_and_one_path(store: Store) {
    let test = TestLedger::new(store).await;
    for key in [
        key("admin", "/v1/coupons", "k", 1),
        key("Admin", "/v1/coupons", "k", 1),
        key("admin", "/v1/events", "k", 1),
        key("admin", "/v1/coupons", "K", 1),
    ] {
        assert!(matches!(create(&test.ledger, key).await, Once::Made(_)));
    }
    assert_eq!(coupons(&test.ledger).await, 4);
}

async fn what_was_not_made_leaves_the_key_free(store: Store) {
    let test = TestLedger::new(store).await;
    let of = test.event(10).await;
    let nothing = CouponId::from_uuid(Uuid::now_v7());
    for (coupon_id, is_made) in [(nothing, false), (of.coupon_id, true)] {
        let (id, EventRecord { name, rule, strategy, .. }) =
            (EventId::from_uuid(Uuid::now_v7()), of.clone());
        let new = NewEvent { id, coupon_id, name, rule, strategy, commit: Commit::Ledger };
        let answer = |made: EventRecord| Made {
            location: format!("/v1/events/{}", made.id),
            etag: "\"1\"".to_owned(),
            body: "{}".to_owned(),
        };
        let key = key("admin", "/v1/events", "k", u8::from(is_made));
        let once = test.ledger.create_event_once(Some(key), new, answer).await;
        assert_eq!(matches!(once.expect("the ledger answers"), Once::Made(_)), is_made);
    }
    let query = EventQuery { limit: 100, ..EventQuery::default() };
    assert_eq!(test.ledger.events(&query).await.expect("the ledger answers").len(), 2);
}

async fn an_answer_is_kept_for_a_day(store: Store) {
    let test = TestLedger::new(store).await;
    let first = create(&test.ledger, key("admin", "/v1/coupons", "k", 1)).await;
    test.clock.set(OPENS_AT + 24 * HOUR - 1);
    assert_eq!(create(&test.ledger, key("admin", "/v1/coupons", "k", 1)).await, first);
    test.clock.set(OPENS_AT + 24 * HOUR);
    let second = create(&test.ledger, key("admin", "/v1/coupons", "k", 2)).await;
    assert!(matches!(&second, Once::Made(made) if Once::Made(made.clone()) != first));
    assert_eq!(coupons(&test.ledger).await, 2);
}

/// Whoever sends the key again while the first call is under way hears so, and does not wait.
async fn a_key_at_work_is_told(store: Store) {
    const WAIT_MAX: Duration = Duration::from_secs(20);
    let test = TestLedger::new(store).await;
    let key = || key("admin", "/v1/coupons", "k", 1);
    let (ledger, (tell, told)) = (test.ledger.clone(), mpsc::channel());
    // It is asked for in the middle of the call.
    let answer = move |made: CouponRecord| {
        let again = timeout(WAIT_MAX, create(&ledger, key()));
        let again = block_in_place(|| Handle::current().block_on(again));
        tell.send(again).expect("somebody listens");
        let (location, etag) = (format!("/v1/coupons/{}", made.id), "\"1\"".to_owned());
        Made { location, etag, body: "{}".to_owned() }
    };
    let id = CouponId::from_uuid(Uuid::now_v7());
    let first = test.ledger.create_coupon_once(Some(key()), id, draft(), answer).await;
    let again = told.recv().expect("the call asked again");
    assert_eq!(again.expect("it does not wait"), Once::InProgress);
    let first = first.expect("the ledger answers");
    assert!(matches!(first, Once::Made(_)), "{first:?}");
    assert_eq!((create(&test.ledger, key()).await, coupons(&test.ledger).await), (first, 1));
}

/// Sends the same call through these ledgers at once; every answer.
async fn at_once(ledgers: Vec<Ledger>) -> Vec<Once> {
    let mut calls = JoinSet::new();
    for ledger in ledgers {
        calls.spawn(async move { create(&ledger, key("admin", "/v1/coupons", "k", 1)).await });
    }
    calls.join_all().await
}

async fn of_many_at_once_one_is_made(store: Store) {
    let test = TestLedger::new(store).await;
    let answers = at_once(vec![test.ledger.clone(); 8]).await;
    let mut made: Vec<_> = answers.iter().filter(|once| **once != Once::InProgress).collect();
    assert!(!made.is_empty(), "{answers:?}");
    assert!(made.iter().all(|once| matches!(once, Once::Made(_))), "{answers:?}");
    made.dedup();
    assert_eq!((made.len(), coupons(&test.ledger).await), (1, 1), "{answers:?}");
    assert_eq!(&create(&test.ledger, key("admin", "/v1/coupons", "k", 1)).await, made[0]);
}

async fn of_two_processes_at_once_one_makes_it(store: Store) {
    let test = TestLedger::new(store).await;
    let ledgers = vec![test.ledger.clone(), test.another().await];
    for _ in 0..5 {
        let answers = at_once(ledgers.clone()).await;
        assert!(answers.iter().all(|once| matches!(once, Once::Made(_))), "{answers:?}");
        assert_eq!(answers[0], answers[1]);
        assert_eq!(coupons(&test.ledger).await, 1);
    }
}
