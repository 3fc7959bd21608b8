//! What was promised before the ledger has it, and is met in a state that nobody left on purpose.

use std::collections::HashSet;
use std::convert::Infallible;
use std::mem;

use axum::http::Method;
use firstcome_core::{Commit, CouponDraft, Days, Strategy, UserId, Validity};
use firstcome_ledger::{
    CouponRecord, Decision, EventRecord, Recorded, Recording, Told, Tried, Won,
};
use firstcome_testkit::{Engine, RedisServer, TestDatabase};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::locks::{hold, let_go};
use super::losses::{epoch, key};
use super::sleepers::{LOAD, change_in_ledger_alone, followed, run};
use super::{Deployment, POLL, WAIT_MAX, decided, held, issued, on_every_server, process};

/// What the processes decide by.
const CLAIM: &str = include_str!("../../../src/strategy/redis/claim.lua");

on_every_server! { each_of_two_deployments_on_one_redis_is_swept }

mod ledger {
    super::super::for_commit! {
        Ledger:
        what_began_to_be_rebuilt_is_rebuilt_though_nobody_claims,
        what_is_in_doubt_is_settled_for_who_asks,
        what_is_being_rebuilt_is_not_settled,
        what_redis_has_lost_is_not_settled,
        what_is_pending_is_told_of_its_own_epoch_alone,
        what_begins_to_be_rebuilt_meanwhile_is_not_settled,
        places_may_go_beyond_the_largest_quantity,
    }
}

mod kafka {
    super::super::for_commit! {
        Kafka:
        what_another_journal_would_have_is_not_taken_for_written,
        what_began_to_be_rebuilt_is_rebuilt_though_nobody_claims,
        a_few_at_a_time_are_rebuilt_that_nobody_claims_on,
        what_is_in_doubt_is_settled_for_who_asks,
        what_is_being_rebuilt_is_not_settled,
        what_redis_has_lost_is_not_settled,
        places_may_go_beyond_the_largest_quantity,
    }
}

mod redis_stream {
    super::super::for_commit! {
        RedisStream:
        what_a_rebuild_that_ended_half_way_has_left_is_written,
        what_is_pending_outlives_all_else_that_is_known,
        what_is_in_doubt_is_settled_for_who_asks,
        what_only_redis_has_is_written_to_a_ledger_that_has_forgotten_its_epoch,
        a_copy_of_what_a_restored_ledger_lacks_is_not_gone_on_with,
        what_was_promised_before_another_redis_decided_is_written,
        a_place_that_the_ledger_has_given_away_shuts_no_event,
        places_may_go_beyond_the_largest_quantity,
    }
}

/// A win that only Redis has, of an event without a worker.
async fn promised(test: &mut Deployment) -> EventRecord {
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "first").await);
    assert_eq!(test.winners(&event).await.len(), 1);
    test.worker = None;
    assert_eq!(issued(decided(&test.one, &event, "kim").await).sequence.get(), 2);
    event
}

async fn mine(test: &Deployment, event: &EventRecord, user: &str) -> u16 {
    let path = format!("/v1/events/{}/claims/me", event.id);
    test.one.send((user, "user"), Method::GET, &path, &[], "").await.status.as_u16()
}

/// Its process died, or could not write to the ledger, and nobody claims any more.
async fn what_a_rebuild_that_ended_half_way_has_left_is_written(mut test: Deployment) {
    let event = promised(&mut test).await;
    assert_ne!(run(&test, LOAD, &event, &["take", "dead"]).await, "0");
    assert_eq!(mine(&test, &event, "kim").await, 200);

    let event = promised(&mut test).await;
    assert_ne!(run(&test, LOAD, &event, &["take", "dead"]).await, "0");
    test.worker = Some(test.another_worker().await);
    let written = async {
        while test.one.ledger.event(event.id).await.expect("an answer").expect("it").rule.issued < 2
        {
            sleep(POLL).await;
        }
    };
    timeout(WAIT_MAX, written).await.expect("a worker writes it");
    rebuilt(&test, &event).await;
    assert_eq!(test.winners(&event).await.len(), 2);
}

/// It is not left half-way for ever.
async fn rebuilt(test: &Deployment, event: &EventRecord) {
    let loading = async {
        while test.redis.cli(&["HEXISTS", &key(event, "meta"), "loading"]).await == "1" {
            sleep(POLL).await;
        }
    };
    timeout(WAIT_MAX, loading).await.expect("it is rebuilt");
}

async fn what_began_to_be_rebuilt_is_rebuilt_though_nobody_claims(test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    assert_ne!(run(&test, LOAD, &event, &["take", "dead"]).await, "0");
    rebuilt(&test, &event).await;
    let audit = format!("/v1/events/{}/audit", event.id);
    let audit = test.one.admin(Method::GET, &audit, &Value::Null).await.json();
    assert_eq!(audit["verdict"], "pass", "{audit}");
}

/// Each waits for a worker, and there is none.
async fn a_few_at_a_time_are_rebuilt_that_nobody_claims_on(mut test: Deployment) {
    test.worker = None;
    let mut events = Vec::new();
    for _ in 0..12 {
        let event = test.event(Strategy::Redis, 9).await;
        assert_ne!(run(&test, LOAD, &event, &["take", "dead"]).await, "0");
        events.push(event);
    }
    let mut begun = HashSet::new();
    let all = async {
        while begun.len() < events.len() {
            let locks = test.redis.cli(&["KEYS", "firstcome:ev:*:sync"]).await;
            let under_way: Vec<_> = locks.lines().filter(|lock| !lock.is_empty()).collect();
            assert!(under_way.len() <= 8, "{under_way:?}");
            begun.extend(under_way.into_iter().map(str::to_owned));
            sleep(POLL).await;
        }
    };
    timeout(WAIT_MAX, all).await.expect("each has its turn");
    test.worker = Some(test.another_worker().await);
    for event in &events {
        rebuilt(&test, event).await;
    }
}

/// It was restored from a backup that was made before Redis began its epoch.
async fn what_only_redis_has_is_written_to_a_ledger_that_has_forgotten_its_epoch(
    mut test: Deployment,
) {
    let event = promised(&mut test).await;
    test.act(&event, "sync").await;
    assert_eq!(issued(decided(&test.one, &event, "lee").await).sequence.get(), 3);
    let super::Place::Server(database) = &test.ledger else { panic!("a server") };
    database.execute("UPDATE events SET epoch = 1").await;
    test.act(&event, "sync").await;
    assert_eq!(held(decided(&test.one, &event, "lee").await).sequence.get(), 3);
    assert_eq!(test.winners(&event).await.len(), 3);
}

/// It was half copied when the ledger was restored: what is lost there counts no more.
async fn a_copy_of_what_a_restored_ledger_lacks_is_not_gone_on_with(test: Deployment) {
    let event = test.event(Strategy::Redis, 3).await;
    for user in ["kim", "lee", "park"] {
        issued(decided(&test.one, &event, user).await);
    }
    assert_eq!(test.winners(&event).await.len(), 3);
    test.act(&event, "sync").await;
    let super::Place::Server(database) = &test.ledger else { panic!("a server") };
    database.execute("DELETE FROM issued_coupons WHERE sequence > 1").await;
    database.execute("UPDATE events SET epoch = 1, issued = 1").await;
    let meta = key(&event, "meta");
    let copied = ["loading", "1", "token", "dead", "loaded", "3", "copied", "3"];
    test.redis.cli(&[&["HSET", &meta][..], &copied].concat()).await;
    test.act(&event, "sync").await;
    assert_eq!(held(decided(&test.one, &event, "kim").await).sequence.get(), 1);
    for user in ["choi", "jung"] {
        issued(decided(&test.one, &event, user).await);
    }
    assert_eq!(decided(&test.one, &event, "late").await, Decision::SoldOut);
    assert_eq!(test.winners(&event).await.len(), 3);
}

/// Somebody has named another Redis, and an epoch has begun there.
async fn what_was_promised_before_another_redis_decided_is_written(mut test: Deployment) {
    let event = promised(&mut test).await;
    let super::Place::Server(database) = &test.ledger else { panic!("a server") };
    let elsewhere = RedisServer::start().await;
    let other = process(&elsewhere.url(), database.url(), None).await;
    let sync = format!("/v1/events/{}/sync", event.id);
    assert_eq!(other.admin(Method::POST, &sync, &Value::Null).await.status, 200);
    test.act(&event, "sync").await;
    assert_eq!(held(decided(&test.one, &event, "kim").await).sequence.get(), 2);
    assert_eq!(test.winners(&event).await.len(), 2);
    // A place that was given twice is one person's, and the event goes on.
    assert_eq!(issued(decided(&test.one, &event, "lee").await).sequence.get(), 3);
    assert_eq!(other.admin(Method::POST, &sync, &Value::Null).await.status, 200);
    assert_eq!(issued(decided(&other, &event, "park").await).sequence.get(), 3);
    assert_eq!(other.admin(Method::POST, &sync, &Value::Null).await.status, 200);
    test.act(&event, "sync").await;
    assert_eq!(held(decided(&test.one, &event, "park").await).sequence.get(), 3);
    assert_eq!(issued(decided(&test.one, &event, "lee").await).sequence.get(), 4);
    assert_eq!(test.winners(&event).await.len(), 4);
}

/// In the same epoch: the ledger was restored to a state before it.
async fn a_place_that_the_ledger_has_given_away_shuts_no_event(mut test: Deployment) {
    let event = promised(&mut test).await;
    let kims = held(decided(&test.one, &event, "kim").await);
    let won = Won {
        user_id: UserId::parse("lee").expect("a user id"),
        sequence: kims.sequence,
        issued_at: kims.issued_at,
        validity: None,
    };
    let recording = Recording {
        event: event.id,
        epoch: epoch(&test.redis, &event).await,
        wins: &[won],
        told: Told::Already,
        tried: Tried::Never,
    };
    let recorded = test.one.ledger.record_wins(&[recording]).await.remove(0);
    assert!(matches!(recorded, Ok(Recorded::Held(_))), "{recorded:?}");
    test.act(&event, "sync").await;
    assert_eq!(held(decided(&test.one, &event, "lee").await).sequence, kims.sequence);
    assert_eq!(issued(decided(&test.one, &event, "kim").await).sequence.get(), 3);
    assert_eq!(test.winners(&event).await.len(), 3);
}

async fn what_is_pending_outlives_all_else_that_is_known(mut test: Deployment) {
    let event = promised(&mut test).await;
    test.redis.cli(&["DEL", &key(&event, "meta")]).await;
    assert_eq!(mine(&test, &event, "kim").await, 200, "nobody claims");
    no_longer_pending(&test, &event).await;

    let event = promised(&mut test).await;
    test.redis.cli(&["DEL", &key(&event, "meta")]).await;
    let audit = format!("/v1/events/{}/audit", event.id);
    let audit = test.one.admin(Method::GET, &audit, &Value::Null).await.json();
    assert_eq!((&audit["verdict"], &audit["pending"]), (&"pass".into(), &0.into()), "{audit}");

    let event = promised(&mut test).await;
    let told = held(decided(&test.one, &event, "kim").await);
    // It is valid for as long as was told, too.
    let week = Validity::Days(Days::parse(7).expect("days"));
    let change = move |found: &CouponRecord| {
        Ok::<_, Infallible>(CouponDraft { validity: week, ..found.draft.clone() })
    };
    let changed = test.one.ledger.change_coupon(event.coupon_id, change).await.expect("an answer");
    changed.expect("the coupon").expect("it is not refused");
    test.redis.cli(&["DEL", &key(&event, "meta")]).await;
    test.worker = Some(test.another_worker().await);
    no_longer_pending(&test, &event).await;
    assert_eq!(test.winners(&event).await[1..], [told]);

    let event = promised(&mut test).await;
    test.redis.cli(&["DEL", &key(&event, "meta")]).await;
    assert_eq!(issued(decided(&test.one, &event, "lee").await).sequence.get(), 3);
    assert_eq!(held(decided(&test.one, &event, "kim").await).sequence.get(), 2);
    assert_eq!(test.winners(&event).await.len(), 3);
}

async fn no_longer_pending(test: &Deployment, event: &EventRecord) {
    let pending = async {
        while test.redis.cli(&["HLEN", &key(event, "pending")]).await != "0" {
            sleep(POLL).await;
        }
    };
    timeout(WAIT_MAX, pending).await.expect("it is rebuilt");
}

/// Those before were lost, each with what Redis knew, and are given to nobody else.
async fn places_may_go_beyond_the_largest_quantity(test: Deployment) {
    let event = test.event(Strategy::Redis, 10_000_000).await;
    issued(decided(&test.one, &event, "first").await);
    test.act(&event, "sync").await;
    test.redis.cli(&["HSET", &key(&event, "meta"), "next", "10000000"]).await;
    for (user, place) in [("kim", 10_000_000), ("lee", 10_000_001)] {
        assert_eq!(issued(decided(&test.one, &event, user).await).sequence.get(), place);
    }
    assert_eq!(test.winners(&event).await.len(), 3);
    test.act(&event, "sync").await;
    assert_eq!(held(decided(&test.one, &event, "lee").await).sequence.get(), 10_000_001);
    assert_eq!(issued(decided(&test.one, &event, "park").await).sequence.get(), 10_000_002);
}

/// The topic was made anew, or the address is of another Kafka.
async fn what_another_journal_would_have_is_not_taken_for_written(mut test: Deployment) {
    assert_eq!(test.commit, Commit::Kafka);
    let event = promised(&mut test).await;
    let super::Place::Server(database) = &test.ledger else { panic!("a server") };
    database.execute("UPDATE journal_positions SET next_offset = next_offset + 1000").await;
    assert_eq!(mine(&test, &event, "kim").await, 503);
    let path = format!("/v1/events/{}/sync", event.id);
    let refused = test.one.admin(Method::POST, &path, &Value::Null).await;
    refused.problem(503, "unavailable");
}

async fn each_of_two_deployments_on_one_redis_is_swept(engine: Engine) {
    let mut test = Deployment::new(engine).await;
    let database = TestDatabase::new(engine).await;
    let other = process(&test.redis.url(), database.url(), None).await;
    let ours = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &ours, "kim").await);
    let first = mem::replace(&mut test.one, other);
    let theirs = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &theirs, "kim").await);
    change_in_ledger_alone(&test, &theirs, |event| event.rule.paused = true).await;
    followed(&test, &theirs).await;
    test.one = first;
    change_in_ledger_alone(&test, &ours, |event| event.rule.paused = true).await;
    followed(&test, &ours).await;
}

/// Else it would be written under the name of a user who was erased in between.
async fn what_is_in_doubt_is_settled_for_who_asks(test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    assert_eq!(test.winners(&event).await.len(), 1);
    // By a process that died before it could tell.
    let claim = format!("local shared = {{}}\n{CLAIM}");
    let decided = run(&test, &claim, &event, &["raw", "1 d30", "lee"]).await;
    assert!(decided.contains("W1"), "{decided}");
    test.one.handle.promised().is_settled().await.expect("all answer");
    let event = test.one.ledger.event(event.id).await.expect("an answer").expect("the event");
    assert_eq!(event.rule.issued, 2);
}

/// What a batch has won before may still be written, under the name of who was erased since.
async fn what_is_being_rebuilt_is_not_settled(test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    assert_eq!(test.winners(&event).await.len(), 1);
    let promised = test.one.handle.promised();
    promised.is_settled().await.expect("all answer");
    // Nobody ends it, as long as this is somebody's.
    let lock = key(&event, "sync");
    test.redis.cli(&["SET", &lock, "dead"]).await;
    assert_ne!(run(&test, LOAD, &event, &["take", "dead"]).await, "0");
    promised.is_settled().await.expect_err("it is being rebuilt");
    test.redis.cli(&["DEL", &lock]).await;
    rebuilt(&test, &event).await;
    promised.is_settled().await.expect("it is rebuilt");
}

/// Its batch may still write it, and nobody claims on the event, so that no rebuild has begun.
async fn what_redis_has_lost_is_not_settled(test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    assert_eq!(test.winners(&event).await.len(), 1);
    let promised = test.one.handle.promised();
    promised.is_settled().await.expect("all answer");
    let before = epoch(&test.redis, &event).await;
    test.redis.cli(&["FLUSHALL"]).await;
    promised.is_settled().await.expect_err("Redis cannot tell");
    let settled = async {
        while promised.is_settled().await.is_err() {
            sleep(POLL).await;
        }
    };
    timeout(WAIT_MAX, settled).await.expect("it is rebuilt");
    assert!(epoch(&test.redis, &event).await > before);
}

/// As where the memory has gone back to what it was before the present one began.
async fn what_is_pending_is_told_of_its_own_epoch_alone(test: Deployment) {
    const PENDING: &str = include_str!("../../../src/strategy/redis/pending.lua");
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    let epoch = epoch(&test.redis, &event).await;
    let told = async |epoch: u64| {
        run(&test, PENDING, &event, &[&epoch.to_string(), "0", "8"]).await.is_empty()
    };
    assert_eq!(
        [told(epoch - 1).await, told(epoch).await, told(epoch + 1).await],
        [true, false, true]
    );
}

/// What is no longer pending then was not seen to be written.
async fn what_begins_to_be_rebuilt_meanwhile_is_not_settled(test: Deployment) {
    let super::Place::Server(database) = &test.ledger else { panic!("a server") };
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    assert_eq!(test.winners(&event).await.len(), 1);
    test.redis.cli(&["SET", &key(&event, "sync"), "dead"]).await;
    let claim = format!("local shared = {{}}\n{CLAIM}");
    let decided = run(&test, &claim, &event, &["raw", "1 d30", "lee"]).await;
    assert!(decided.contains("W1"), "{decided}");
    // It is seen to be pending, and waits in the ledger.
    hold(database, &event).await;
    let seen = test.redis.calls_of("hscan").await;
    let promised = test.one.handle.promised();
    let taken = async {
        while test.redis.calls_of("hscan").await == seen {
            sleep(POLL).await;
        }
        assert_ne!(run(&test, LOAD, &event, &["take", "dead"]).await, "0");
        let_go(database).await;
    };
    let both = async { tokio::join!(promised.is_settled(), taken) };
    let (settled, ()) = timeout(WAIT_MAX, both).await.expect("it is seen");
    settled.expect_err("it is being rebuilt");
}
