//! A rebuild that lasts is seen in its event, with how far it is, until it is over; and every
//! rebuild in what is measured.

mod steps;

use std::collections::BTreeSet;

use firstcome_testkit::{Answer, Launch};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::promised::Promises;
use crate::shop::{BINARY, Shop, eventually, lasting};
use crate::startup::check_refused;

/// Rows that are copied in 200 steps, in about a second.
const WINNERS: u32 = 200_000;
/// What is measured of rebuilds.
const REBUILT: &str = "firstcome_syncs_total{outcome=\"rebuilt\"}";
const FAILED: &str = "firstcome_syncs_total{outcome=\"failed\"}";
const RUNNING: &str = "firstcome_syncs_running";
const COPIED: &str = "firstcome_sync_winners_total";
const TIMED: &str = "firstcome_sync_seconds_count";

/// The shop's one event as it is listed, which no cache delays.
async fn event_until(shop: &Shop, is_as: impl Fn(&Value) -> bool) -> Value {
    let ask = || async { shop.api.get("/v1/events").await.expect(200) };
    let listed = |answer: &Answer| answer.member("/items/0").clone();
    listed(&eventually("the event", ask, |answer: &Answer| is_as(&listed(answer))).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_waits_for_a_worker_says_so() {
    let Promises { shop, database, redis, .. } = &Promises::open("kafka").await;
    let event = shop.event(5).await;
    let kim = shop.user("kim").await;
    let won = eventually("a win", || shop.claim(&event, &kim), |it| it.status == 201).await;
    shop.expect_audit(&event, 1).await;
    let before = event_until(shop, |_| true).await;
    assert_eq!(before.get("sync"), None, "{before}");
    // What workers have written is read, and none writes.
    database.execute("BEGIN; LOCK TABLE journal_positions IN EXCLUSIVE MODE").await;
    redis.cli(&["FLUSHALL"]).await;
    let _ = shop.claim(&event, &kim).await.expect(503);
    let told = event_until(shop, |event| event.get("sync").is_some()).await;
    assert_eq!(told["sync"], json!({"copied": 0, "of": 1}));
    assert_eq!(told["updated_at"], before["updated_at"], "nobody has changed it");
    database.execute("ROLLBACK").await;
    event_until(shop, |event| event.get("sync").is_none()).await;
    let again = eventually("an answer", || shop.claim(&event, &kim), |it| it.status == 409).await;
    let held = &again.json()["issued_coupon"];
    assert_eq!(lasting(held), lasting(&won.json()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_rebuild_says_how_far_it_is() {
    let Promises { shop, database, redis, .. } = &Promises::open("ledger").await;
    let event = shop.event(WINNERS).await;
    shop.ready(&event).await;
    let before = shop.metric(REBUILT).await;
    let filled = format!(
        "INSERT INTO issued_coupons
                (event_no, sequence, id, user_id, issued_at, valid_from, expires_at)
         SELECT e.no, n, gen_random_uuid(), 'user-' || n, e.opens_at, e.opens_at, e.closes_at
         FROM events AS e, generate_series(1, {WINNERS}) AS n WHERE e.id = '{event}';
         UPDATE events SET issued = {WINNERS} WHERE id = '{event}'"
    );
    database.execute(&filled).await;
    redis.cli(&["FLUSHALL"]).await;
    let winners = format!("firstcome:ev:{{{event}}}:winners");
    let count = || async { redis.cli(&["HLEN", &winners]).await };
    let kim = shop.user("kim").await;
    let stop_half_way = async {
        eventually("some winners", count, |count: &String| count != "0").await;
        // Copying goes no further until the lock is let go.
        database.execute("BEGIN; LOCK TABLE issued_coupons IN ACCESS EXCLUSIVE MODE").await;
    };
    let (refused, ()) = tokio::join!(shop.claim(&event, &kim), stop_half_way);
    let _ = refused.expect(503);
    let is_told = |event: &Value| event["sync"]["copied"].as_u64().is_some_and(|it| it > 0);
    let told = event_until(shop, is_told).await;
    let copied: u64 = count().await.parse().expect("a number");
    assert!((1..u64::from(WINNERS)).contains(&copied), "{copied}");
    assert_eq!(told["sync"], json!({"copied": copied, "of": WINNERS}));
    assert_eq!((shop.metric(COPIED).await, shop.metric(RUNNING).await), (copied, 1));
    assert_eq!(shop.metric(REBUILT).await, before);
    database.execute("ROLLBACK").await;
    event_until(shop, |event| event.get("sync").is_none()).await;
    eventually("one more", || shop.metric(REBUILT), |rebuilt| *rebuilt == before + 1).await;
    for (series, value) in [(COPIED, WINNERS.into()), (RUNNING, 0), (TIMED, before + 1)] {
        assert_eq!(shop.metric(series).await, value, "{series}");
    }
    assert_eq!(count().await, WINNERS.to_string());
    let late = eventually("an answer", || shop.claim(&event, &kim), |it| it.status == 409).await;
    assert_eq!(late.member("/code"), "sold_out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_for_a_rebuild_that_runs_waits_for_that_one() {
    let Promises { shop, database, redis, .. } = &Promises::open("ledger").await;
    let other = shop.beside().await;
    let event = shop.event(5).await;
    let kim = shop.user("kim").await;
    eventually("a win", || shop.claim(&event, &kim), |it| it.status == 201).await;
    let epoch = || database.number("SELECT epoch FROM events");
    let before = epoch().await;
    // Copying does not begin until the lock is let go.
    database.execute("BEGIN; LOCK TABLE issued_coupons IN ACCESS EXCLUSIVE MODE").await;
    let (begun, asked) = (Notify::new(), Notify::new());
    let first = async { shop.act(&event, "sync").await.expect(200) };
    let second = async {
        begun.notified().await;
        asked.notify_one();
        other.act(&event, "sync").await.expect(200)
    };
    let let_go = async {
        let meta = format!("firstcome:ev:{{{event}}}:meta");
        let loading = || async { redis.cli(&["HGET", &meta, "loading"]).await };
        eventually("a rebuild", loading, |loading: &String| !loading.is_empty()).await;
        begun.notify_one();
        asked.notified().await;
        // Who waits for a lock asks for it again and again.
        let tries = redis.calls_of("set").await;
        let now = || redis.calls_of("set");
        eventually("somebody waits", now, |now| *now >= tries + 10).await;
        database.execute("ROLLBACK").await;
    };
    tokio::join!(first, second, let_go);
    assert_eq!(epoch().await, before + 1);
    let again = shop.claim(&event, &kim).await.expect_problem(409, "already_claimed");
    assert_eq!(again.member("/issued_coupon/sequence"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_rebuilds_one_event_or_all() {
    let mut promises = Promises::open("ledger").await;
    let Promises { shop, database, redis, .. } = &mut promises;
    let database = &*database;
    let by_ledger = shop.event_of(|body| body.with("/strategy", "ledger")).await;
    let over = shop.event(5).await;
    let _ = shop.act(&over, "close").await.expect(200);
    let (one, other) = (shop.event(5).await, shop.event(5).await);
    let kim = shop.user("kim").await;
    eventually("a win", || shop.claim(&one, &kim), |it| it.status == 201).await;
    let epoch_of = |event: &str| {
        let sql = format!("SELECT epoch FROM events WHERE id = '{event}'");
        async move { database.number(&sql).await }
    };
    let before = [epoch_of(&one).await, epoch_of(&other).await, epoch_of(&over).await];
    redis.cli(&["FLUSHALL"]).await;
    let sync =
        async |arguments: &[&str]| shop.server.command(&[&["sync"], arguments].concat()).await;

    let rebuilt = sync(&["--event", &one]).await;
    assert_eq!((rebuilt.code, &*rebuilt.stderr), (Some(0), ""), "{rebuilt:?}");
    let told = format!("{one}: 1 winners, epoch {}, ", before[0] + 1);
    assert!(rebuilt.stdout.starts_with(&told), "{rebuilt:?}");
    let again = shop.claim(&one, &kim).await.expect_problem(409, "already_claimed");
    assert_eq!(again.member("/issued_coupon/sequence"), 1);

    let rebuilt = sync(&[]).await;
    assert_eq!(rebuilt.code, Some(0), "{rebuilt:?}");
    for (event, winners) in [(&one, 1), (&other, 0)] {
        assert!(rebuilt.stdout.contains(&format!("{event}: {winners} winners, ")), "{rebuilt:?}");
    }
    assert_eq!(rebuilt.stdout.lines().count(), 2, "{rebuilt:?}");
    let after = [epoch_of(&one).await, epoch_of(&other).await, epoch_of(&over).await];
    assert_eq!(after, [before[0] + 2, before[1] + 1, before[2]]);

    let by_ledger = by_ledger.member_text("/id");
    for (event, why) in [
        (by_ledger.as_str(), "is decided by the strategy ledger"),
        ("0199a8e1-5f2c-7a10-9b00-0123456789ab", "there is no event"),
    ] {
        let refused = sync(&["--event", event]).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains(why) && refused.stderr.contains(event), "{refused:?}");
    }
    // Also where no event is decided so by default.
    let ledger = ["sync", "--ledger-url", database.url(), "--redis-url", &redis.url()];
    redis.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    check_refused(Launch::new(BINARY, &ledger), &["maxmemory-policy", "noeviction"]).await;
    redis.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    redis.cli(&["CONFIG", "SET", "requirepass", "another"]).await;
    check_refused(Launch::new(BINARY, &ledger), &["password"]).await;
    let refused = sync(&[]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("password"), "{refused:?}");
    redis.kill9();
    let address = redis.url().replace("redis://", "");
    check_refused(Launch::new(BINARY, &ledger), &[address.trim_end_matches('/')]).await;
}

#[tokio::test]
async fn where_redis_decides_nothing_there_is_nothing_to_rebuild() {
    let shop = Shop::open().await;
    let _ = shop.event(5).await;
    let told = shop.server.command(&["sync"]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.stdout.contains("no event that Redis decides is open"), "{told:?}");
}

/// Who runs it after Redis was lost must not believe that it has done something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_without_redis_fails_where_redis_decides() {
    let Promises { shop, database, .. } = &Promises::open("ledger").await;
    let sync = async |more: &[&str]| {
        let command = [&["sync", "--ledger-url", database.url()][..], more].concat();
        Launch::new(BINARY, &command).run().await
    };
    let event = shop.event(5).await;
    let all: &[&str] = &[];
    for arguments in [all, &["--event", event.as_str()]] {
        let refused = sync(arguments).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        for name in ["redis.url", event.as_str()] {
            assert!(refused.stderr.contains(name), "{refused:?}");
        }
    }
    let _ = shop.act(&event, "close").await.expect(200);
    let told = sync(all).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    let away = ["sync", "--ledger-url", "postgres://someone:secret@127.0.0.1:1/shop"];
    check_refused(Launch::new(BINARY, &away), &["127.0.0.1:1"]).await;
}

/// More than are listed at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_rebuilds_however_many_there_are() {
    let mut promises = Promises::open("ledger").await;
    let Promises { shop, database, .. } = &mut promises;
    let event = shop.event(5).await;
    assert_eq!(shop.server.terminate().await, Some(0));
    let columns = "coupon_id, name, quantity, issued, opens_at, closes_at, opened_early, paused, \
                   closed, strategy, commit_to, epoch, fence, version, erased, created_at, \
                   updated_at";
    let copied = format!(
        "INSERT INTO events (id, {columns})
         SELECT gen_random_uuid(), {columns} FROM events, generate_series(1, 201)"
    );
    database.execute(&copied).await;
    let rebuilt = shop.server.command(&["sync"]).await;
    assert_eq!(rebuilt.code, Some(0), "{rebuilt:?}");
    let rebuilt: BTreeSet<&str> =
        rebuilt.stdout.lines().filter_map(|line| line.split(':').next()).collect();
    assert!(rebuilt.len() == 202 && rebuilt.contains(event.as_str()), "{rebuilt:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_that_is_asked_for_is_counted_whether_it_succeeds_or_fails() {
    let Promises { shop, database, .. } = &Promises::open("ledger").await;
    let event = shop.event(5).await;
    shop.ready(&event).await;
    let kim = shop.user("kim").await;
    let _ = shop.claim(&event, &kim).await.expect(201);
    let before = shop.metric(REBUILT).await;
    let sync = || shop.act(&event, "sync");
    let _ = sync().await.expect(200);
    assert_eq!((shop.metric(REBUILT).await, shop.metric(COPIED).await), (before + 1, 1));
    assert_eq!((shop.metric(FAILED).await, shop.metric(RUNNING).await), (0, 0));

    database.execute("ALTER TABLE issued_coupons RENAME TO elsewhere").await;
    let _ = sync().await.expect_problem(503, "unavailable");
    assert_eq!(shop.metric(REBUILT).await, before + 1);
    assert!(shop.metric(FAILED).await > 0);
    let _ = shop.claim(&event, &kim).await.expect_problem(503, "unavailable");
    database.execute("ALTER TABLE elsewhere RENAME TO issued_coupons").await;
    eventually("an answer", || shop.claim(&event, &kim), |it| it.status == 409).await;
    eventually("by itself", || shop.metric(REBUILT), |rebuilt| *rebuilt == before + 2).await;
    assert_eq!((shop.metric(COPIED).await, shop.metric(RUNNING).await), (2, 0));
}
