//! What Redis loses is rebuilt, and nobody who was told anything is told otherwise.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use firstcome_core::{Commit, Strategy};
use firstcome_issuance::{NoVerdict, RedisStrategy, Undecided};
use firstcome_ledger::{Decision, EventRecord, Ledger, LedgerOptions, Purpose};
use firstcome_testkit::{CommitFault, Engine, ManualClock, Proxy, RedisServer, draft};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::locks::{hold, let_go};
use super::sleepers::{CHANGE, LOAD, run};
use super::{
    Deployment, POLL, Place, WAIT_MAX, claim, connection, decided, held, issued, on_a_file,
    on_every_server, process_as, proxy_of,
};
use crate::support::TestIssuance;

/// Makes a test of each function, for every commit that loses nothing with Redis.
macro_rules! for_every_safe_commit {
    ($($test:ident),+ $(,)?) => {
        mod ledger { super::super::for_commit! { Ledger: $($test),+ } }
        mod kafka { super::super::for_commit! { Kafka: $($test),+ } }
    };
}

for_every_safe_commit! {
    whatever_redis_loses_is_rebuilt,
    what_redis_knew_once_is_not_believed,
    everything_is_lost_again_and_again_while_claims_go_on,
    a_redis_that_is_away_is_told_soon_and_one_that_is_back_is_used,
    a_redis_that_hangs_is_told_soon,
    the_word_of_a_decider_that_was_replaced_is_not_told,
    of_what_redis_decides_while_the_database_is_away_nothing_is_told,
    a_rebuild_goes_on_without_who_asked_for_it,
    a_rebuild_that_ended_half_way_is_gone_on_with,
    winners_that_are_lost_while_they_are_copied_are_copied_anew,
    what_is_left_of_an_event_that_is_over_ends,
    what_is_long_over_is_told_by_the_ledger,
}

mod redis_stream {
    super::super::for_commit! {
        RedisStream:
        winners_that_are_lost_while_they_are_copied_are_copied_anew,
        what_is_long_over_is_told_by_the_ledger,
    }
}

mod on_postgres {
    mod kafka {
        super::super::super::for_commit! {
            Kafka on Postgres: what_is_long_over_waits_for_no_event_that_is_open
        }
    }
}

on_a_file! {
    a_redis_that_is_away_is_told_soon_and_one_that_is_back_is_used,
}

on_every_server! {
    a_win_whose_commit_was_lost_is_recorded_by_whoever_meets_it,
    a_place_in_line_that_was_lost_is_not_given_again,
}

pub(super) fn key(event: &EventRecord, name: &str) -> String {
    format!("firstcome:ev:{{{}}}:{name}", event.id)
}

/// By whose word Redis decides.
pub(super) async fn epoch(redis: &RedisServer, event: &EventRecord) -> u64 {
    let epoch = redis.cli(&["HGET", &key(event, "meta"), "epoch"]).await;
    epoch.trim().parse().expect("a number")
}

/// Waits until nothing is pending.
pub(super) async fn settled(redis: &RedisServer, event: &EventRecord) {
    let pending = key(event, "pending");
    let settled = async {
        while redis.cli(&["HLEN", &pending]).await != "0" {
            sleep(POLL).await;
        }
    };
    timeout(WAIT_MAX, settled).await.expect("what is pending is made durable");
}

async fn whatever_redis_loses_is_rebuilt(test: Deployment) {
    let event = test.event(Strategy::Redis, 100).await;
    let first = issued(decided(&test.one, &event, "kim").await);
    let mut won = 1;
    let (meta, winners, pending) =
        (key(&event, "meta"), key(&event, "winners"), key(&event, "pending"));
    for loss in [
        &["FLUSHALL"][..],
        &["DEL", &meta],
        &["DEL", &winners],
        // Its time to live is over.
        &["PEXPIREAT", &winners, "1"],
        &["HDEL", &winners, "kim"],
        &["HDEL", &meta, "incarnation"],
        &["HSET", &meta, "script", "0"],
        &["HSET", &meta, "count", "0"],
        &["HSET", &pending, "99", "1 nobody"],
        &["SCRIPT", "FLUSH"],
    ] {
        let before = epoch(&test.redis, &event).await;
        test.redis.cli(loss).await;
        assert_eq!(held(decided(&test.one, &event, "kim").await), first, "after {loss:?}");
        let is_rebuilt = epoch(&test.redis, &event).await > before;
        assert_eq!(is_rebuilt, loss[0] != "SCRIPT", "after {loss:?}");
        won += 1;
        let next = issued(decided(&test.one, &event, &format!("user-{won}")).await);
        assert_eq!(next.sequence.get(), won, "after {loss:?}");
        for key in [&meta, &winners] {
            assert_eq!(test.redis.cli(&["TTL", key]).await, "-1", "{key} ends by itself");
        }
    }
    assert_eq!(test.winners(&event).await.len(), won as usize);
}

/// Nobody claims on it any more, so that nothing is rebuilt.
async fn what_is_left_of_an_event_that_is_over_ends(test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    settled(&test.redis, &event).await;
    // Not while it is open by the clock that decides.
    assert_eq!(run(&test, CHANGE, &event, &["expire", "600"]).await, "0");
    test.act(&event, "close").await;
    let winners = key(&event, "winners");
    test.redis.cli(&["DEL", &key(&event, "meta")]).await;
    test.redis.cli(&["PERSIST", &winners]).await;
    let ttl = async || {
        let ttl = test.redis.cli(&["TTL", &winners]).await;
        ttl.parse::<i64>().expect("seconds")
    };
    let ends = async {
        while ttl().await == -1 {
            sleep(POLL).await;
        }
    };
    timeout(WAIT_MAX, ends).await.expect("it ends by itself");
    // Whoever sweeps once more puts it off no longer.
    test.redis.cli(&["EXPIRE", &winners, "600"]).await;
    let swept = test.redis.calls_of("ttl").await;
    let again = async {
        while test.redis.calls_of("ttl").await < swept + 3 {
            sleep(POLL).await;
        }
    };
    timeout(WAIT_MAX, again).await.expect("it is looked at again");
    assert!((1..=600).contains(&ttl().await));
}

/// Redis would be filled with all that ever was by whoever claims on it.
async fn what_is_long_over_is_told_by_the_ledger(test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    let first = issued(decided(&test.one, &event, "kim").await);
    assert_eq!(test.winners(&event).await.len(), 1);
    test.act(&event, "close").await;
    let before = epoch(&test.redis, &event).await;
    let Place::Server(database) = &test.ledger else { panic!("a server") };
    database.execute("UPDATE events SET updated_at = created_at - 3600000000").await;
    test.redis.cli(&["FLUSHALL"]).await;
    // One that has not heard of it lately.
    let one = test.another().await;
    assert_eq!(held(decided(&one, &event, "kim").await), first);
    assert_eq!(decided(&one, &event, "lee").await, Decision::Closed);
    assert_eq!(test.redis.cli(&["EXISTS", &key(&event, "winners")]).await, "0");
    let now = test.one.ledger.event(event.id).await.expect("an answer").expect("the event");
    assert_eq!(now.epoch, before);
    // It is not, where its end was only moved into the past: somebody may be recording a win.
    let moved = "UPDATE events SET closed = FALSE, updated_at = created_at, \
                 opens_at = created_at - 7200000000, closes_at = created_at - 3600000000";
    database.execute(moved).await;
    let one = test.another().await;
    assert_eq!(decided(&one, &event, "lee").await, Decision::Closed);
    assert!(epoch(&test.redis, &event).await > before);
}

/// Of the same partition, where a worker never comes to the end in a drop.
async fn what_is_long_over_waits_for_no_event_that_is_open(mut test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    let first = issued(decided(&test.one, &event, "kim").await);
    let partition = async |event: &EventRecord| {
        let now = test.one.ledger.event(event.id).await.expect("an answer").expect("the event");
        now.partition.expect("it was decided")
    };
    let open = loop {
        let open = test.event(Strategy::Redis, 9).await;
        issued(decided(&test.one, &open, "kim").await);
        if partition(&open).await == partition(&event).await {
            break open;
        }
    };
    test.act(&event, "close").await;
    for event in [&event, &open] {
        assert_eq!(test.winners(event).await.len(), 1);
    }
    let Place::Server(database) = &test.ledger else { panic!("a server") };
    database.execute("UPDATE events SET updated_at = created_at - 3600000000").await;
    let keys = ["meta", "winners", "pending"].map(|name| key(&event, name));
    test.redis.cli(&["DEL", &keys[0], &keys[1], &keys[2]]).await;
    let one = test.another().await;
    test.worker = None;
    issued(decided(&test.one, &open, "lee").await);
    let refused = one.handle.claim(claim(&event, "kim")).await;
    assert_eq!(refused, Err(NoVerdict::Undecided(Undecided::Unavailable)));
    test.worker = Some(test.another_worker().await);
    assert_eq!(test.winners(&open).await.len(), 2);
    test.worker = None;
    issued(decided(&test.one, &open, "park").await);
    assert_eq!(held(decided(&one, &event, "kim").await), first);
}

/// A snapshot from before is sound in itself, and the ledger would not notice what it leads to
/// refuse.
async fn what_redis_knew_once_is_not_believed(mut test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    test.act(&event, "pause").await;
    test.redis.cli(&["SAVE"]).await;
    test.act(&event, "resume").await;
    let lees = issued(decided(&test.one, &event, "lee").await);
    test.redis.kill9();
    test.redis.restart().await;
    assert_eq!(test.redis.cli(&["HGET", &key(&event, "meta"), "paused"]).await.trim(), "1");
    let parks = issued(decided(&test.one, &event, "park").await);
    assert_eq!(parks.sequence.get(), 3);
    assert_eq!(held(decided(&test.one, &event, "lee").await), lees);
    assert_eq!(test.winners(&event).await.len(), 3);
}

/// Claims of a crowd at two processes while Redis is emptied and restarted; each user claims until
/// there is a verdict, and then once more.
async fn everything_is_lost_again_and_again_while_claims_go_on(mut test: Deployment) {
    const QUANTITY: u32 = 400;
    const USERS: u32 = 600;
    const CROWD: u32 = 12;
    let event = test.event(Strategy::Redis, QUANTITY).await;
    let processes = Arc::new([test.another().await, test.another().await]);
    let mut crowd = JoinSet::new();
    for member in 0..CROWD {
        let (event, processes) = (event.clone(), Arc::clone(&processes));
        crowd.spawn(async move {
            let mut told = Vec::new();
            for number in (member..USERS).step_by(CROWD as usize) {
                let process = &processes[(number % 2) as usize];
                let user = format!("user-{number}");
                told.push((user.clone(), decided(process, &event, &user).await));
            }
            told
        });
    }
    let over = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&over);
    let told = tokio::spawn(async move {
        let told = crowd.join_all().await.concat();
        ended.store(true, Ordering::Release);
        told
    });
    let mut losses = 0;
    while !over.load(Ordering::Acquire) && losses < 40 {
        match losses % 3 {
            0 => drop(test.redis.cli(&["FLUSHALL"]).await),
            1 => drop(test.redis.cli(&["DEL", &key(&event, "winners")]).await),
            _ => {
                test.redis.kill9();
                test.redis.restart_empty().await;
            }
        }
        losses += 1;
        // Some are decided in between.
        let rows = test.one.ledger.event(event.id).await.expect("an answer").expect("it");
        let more = async {
            loop {
                let now = test.one.ledger.event(event.id).await.expect("an answer").expect("it");
                if over.load(Ordering::Acquire) || now.rule.issued >= rows.rule.issued + 10 {
                    return;
                }
                sleep(POLL).await;
            }
        };
        timeout(WAIT_MAX, more).await.expect("claims go on");
    }
    assert!(losses >= 3, "only {losses} losses");
    let told = timeout(WAIT_MAX, told).await.expect("in time").expect("no panic");
    let winners = test.winners(&event).await;
    assert_eq!(winners.len(), QUANTITY as usize);
    let mut acknowledged = 0;
    for (user, decision) in told {
        let row = winners.iter().find(|row| row.user_id.as_str() == user);
        match (decision, row) {
            (Decision::Issued(coupon) | Decision::AlreadyClaimed(coupon), Some(row)) => {
                assert_eq!(&coupon, row);
                acknowledged += 1;
            }
            (Decision::SoldOut, None) => {}
            (decision, row) => panic!("{user} was told {decision:?} and has {row:?}"),
        }
    }
    assert_eq!(acknowledged, QUANTITY);
}

async fn a_redis_that_is_away_is_told_soon_and_one_that_is_back_is_used(mut test: Deployment) {
    for strategy in test.beside() {
        let event = test.event(*strategy, 9).await;
        let first = issued(decided(&test.one, &event, "kim").await);
        test.redis.kill9();
        for user in ["kim", "lee"] {
            let began = Instant::now();
            let refused = test.one.claim(event.id, user).await;
            // The lock's holder asks the ledger nothing; who asks Redis to decide may be in doubt.
            let is_in_doubt = *strategy == Strategy::Redis && refused.json()["code"] == "in_doubt";
            refused.problem(503, if is_in_doubt { "in_doubt" } else { "unavailable" });
            assert!(began.elapsed() < Duration::from_secs(3), "after {:?}", began.elapsed());
        }
        test.redis.restart_empty().await;
        assert_eq!(held(decided(&test.one, &event, "kim").await), first);
        assert_eq!(issued(decided(&test.one, &event, "lee").await).sequence.get(), 2);
        assert_eq!(test.winners(&event).await.len(), 2);
    }
}

async fn a_redis_that_hangs_is_told_soon(test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    test.redis.hang();
    let began = Instant::now();
    let refused = test.one.handle.claim(claim(&event, "lee")).await;
    assert!(matches!(refused, Err(NoVerdict::Undecided(_))), "{refused:?}");
    assert!(began.elapsed() < Duration::from_secs(3), "after {:?}", began.elapsed());
    test.redis.go_on();
    // It may have executed what it was sent: nobody was told, and nothing is lost by it.
    match decided(&test.one, &event, "lee").await {
        Decision::Issued(coupon) | Decision::AlreadyClaimed(coupon) => {
            assert_eq!(coupon.sequence.get(), 2);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(test.winners(&event).await.len(), 2);
}

/// A process that reaches the database directly, and one that does through a proxy.
pub(super) async fn proxied(engine: Engine) -> (Deployment, TestIssuance, Proxy) {
    let test = Deployment::new(engine).await;
    let url = test.ledger.url();
    let proxy = proxy_of(&url).await;
    // Nothing but what it records is committed by a visitor.
    let url = proxy.url(&url);
    let visitor = process_as(&test.redis.url(), &url, None, Purpose::Visit).await;
    (test, visitor, proxy)
}

async fn a_win_whose_commit_was_lost_is_recorded_by_whoever_meets_it(engine: Engine) {
    let (test, visitor, proxy) = proxied(engine).await;
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&visitor, &event, "kim").await);
    // Both tries of the record are lost, and the win is pending.
    proxy.on_commit(CommitFault::LoseRequest, 0, 2);
    let lost = visitor.handle.claim(claim(&event, "lee")).await;
    assert_eq!(lost, Err(NoVerdict::Undecided(Undecided::InDoubt)));
    // Its user, at another process.
    let other = &test.one;
    let lees = held(decided(other, &event, "lee").await);
    assert_eq!(lees.sequence.get(), 2);
    assert_eq!(held(decided(&visitor, &event, "lee").await), lees);
    // Nobody who claims: whoever keeps the event.
    proxy.on_commit(CommitFault::LoseRequest, 0, 2);
    let lost = visitor.handle.claim(claim(&event, "park")).await;
    assert_eq!(lost, Err(NoVerdict::Undecided(Undecided::InDoubt)));
    let kept = async {
        while other.ledger.event(event.id).await.expect("an answer").expect("it").rule.issued < 3 {
            sleep(POLL).await;
        }
    };
    timeout(WAIT_MAX, kept).await.expect("it is recorded");
    assert_eq!(held(decided(other, &event, "park").await).sequence.get(), 3);
    assert_eq!(test.winners(&event).await.len(), 3);
}

/// Behind it others have theirs.
async fn a_place_in_line_that_was_lost_is_not_given_again(engine: Engine) {
    let (test, visitor, proxy) = proxied(engine).await;
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    proxy.on_commit(CommitFault::LoseRequest, 0, 2);
    let lost = visitor.handle.claim(claim(&event, "lee")).await;
    assert_eq!(lost, Err(NoVerdict::Undecided(Undecided::InDoubt)));
    assert_eq!(issued(decided(&test.one, &event, "park").await).sequence.get(), 3);
    test.redis.cli(&["FLUSHALL"]).await;
    assert_eq!(issued(decided(&test.one, &event, "choi").await).sequence.get(), 4);
    match decided(&test.one, &event, "lee").await {
        Decision::Issued(coupon) => assert_eq!(coupon.sequence.get(), 5),
        // Whoever keeps the event was quicker than the loss.
        Decision::AlreadyClaimed(coupon) => assert_eq!(coupon.sequence.get(), 2),
        other => panic!("{other:?}"),
    }
    assert_eq!(test.winners(&event).await.len(), 4);
}

/// Another decider has begun an epoch: what this one says is not told, and it is rebuilt.
async fn the_word_of_a_decider_that_was_replaced_is_not_told(test: Deployment) {
    let event = test.event(Strategy::Redis, 2).await;
    let first = issued(decided(&test.one, &event, "kim").await);
    for user in ["kim", "lee"] {
        test.begin_epoch(&event).await;
        let refused = test.one.handle.claim(claim(&event, user)).await;
        assert!(matches!(refused, Err(NoVerdict::Undecided(_))), "{refused:?}");
        if test.commit == Commit::Ledger {
            assert_eq!(test.winners(&event).await.len(), 1);
        }
        assert_eq!(held(decided(&test.one, &event, "kim").await), first);
    }
    match decided(&test.one, &event, "lee").await {
        Decision::Issued(_) => {}
        // It was in the journal before the fence.
        Decision::AlreadyClaimed(_) => assert_eq!(test.commit, Commit::Kafka),
        other => panic!("{other:?}"),
    }
    // Whoever keeps the event would rebuild it for what is pending, and Redis go by the new epoch.
    settled(&test.redis, &event).await;
    test.begin_epoch(&event).await;
    // Sold out by the word of the old one.
    let refused = test.one.handle.claim(claim(&event, "park")).await;
    assert!(matches!(refused, Err(NoVerdict::Undecided(_))), "{refused:?}");
    assert_eq!(decided(&test.one, &event, "park").await, Decision::SoldOut);
}

/// To nobody, whatever it is; and it is told when the database is back.
async fn of_what_redis_decides_while_the_database_is_away_nothing_is_told(test: Deployment) {
    let url = test.ledger.url();
    let proxy = Proxy::start(&url).await;
    let options = LedgerOptions::parse_url(&proxy.url(&url), Purpose::Visit).expect("a URL");
    let clock = Arc::new(ManualClock::new(draft::OPENS_AT));
    let ledger = Ledger::open(options, clock).await.expect("the database is a ledger");
    let process = TestIssuance::beside(connection(&test.redis.url()), test.journal(), ledger);
    let event = test.event(Strategy::Redis, 2).await;
    let kims = issued(decided(&process, &event, "kim").await);
    settled(&test.redis, &event).await;
    proxy.refuse(true);
    proxy.reset().await;
    for (user, code) in [("kim", "unavailable"), ("lee", "in_doubt"), ("park", "unavailable")] {
        let began = Instant::now();
        process.claim(event.id, user).await.problem(503, code);
        assert!(began.elapsed() < Duration::from_secs(3), "after {:?}", began.elapsed());
    }
    assert_eq!(test.redis.cli(&["HLEN", &key(&event, "winners")]).await, "2", "it has decided");
    proxy.refuse(false);
    assert_eq!(held(decided(&process, &event, "kim").await), kims);
    let lees = held(decided(&process, &event, "lee").await);
    assert_eq!(lees.sequence.get(), 2);
    assert_eq!(decided(&process, &event, "park").await, Decision::SoldOut);
    assert_eq!(test.winners(&event).await, [kims, lees]);
}

async fn a_rebuild_goes_on_without_who_asked_for_it(test: Deployment) {
    let Place::Server(database) = &test.ledger else { panic!("a row is held on a server") };
    let event = test.event(Strategy::Redis, 9).await;
    let first = issued(decided(&test.one, &event, "kim").await);
    let before = epoch(&test.redis, &event).await;
    let meta = key(&event, "meta");
    let is_loading = async || test.redis.cli(&["HEXISTS", &meta, "loading"]).await == "1";
    let begins = async {
        while !is_loading().await {
            sleep(POLL).await;
        }
    };
    let ledger = test.one.ledger.clone();
    let strategy = RedisStrategy::new(connection(&test.redis.url()), ledger, test.journal());
    hold(database, &event).await;
    tokio::select! {
        synced = strategy.sync_event(event.id) => panic!("{synced:?}"),
        begun = timeout(WAIT_MAX, begins) => begun.expect("it begins"),
    }
    let_go(database).await;
    let ends = async {
        while is_loading().await || epoch(&test.redis, &event).await == before {
            sleep(POLL).await;
        }
    };
    timeout(WAIT_MAX, ends).await.expect("it comes to its end");
    assert_eq!(held(decided(&test.one, &event, "kim").await), first);
    assert_eq!(test.winners(&event).await, [first]);
}

/// By the word of the same epoch, and with what was copied: its process has died between two steps.
async fn a_rebuild_that_ended_half_way_is_gone_on_with(test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    for user in ["kim", "lee", "park"] {
        issued(decided(&test.one, &event, user).await);
    }
    settled(&test.redis, &event).await;
    let before = epoch(&test.redis, &event).await;
    // All at once: whoever keeps the event goes on with it in the next moment.
    let half = "redis.call('HDEL', KEYS[2], 'park')
        redis.call('HSET', KEYS[1], 'loading', '1', 'token', 'dead', 'loaded', '2', 'copied', '2')";
    run(&test, half, &event, &[]).await;
    assert_eq!(held(decided(&test.one, &event, "park").await).sequence.get(), 3);
    assert_eq!(issued(decided(&test.one, &event, "choi").await).sequence.get(), 4);
    assert_eq!(epoch(&test.redis, &event).await, before);
    assert_eq!(test.winners(&event).await.len(), 4);
}

/// By an operator's `DEL` of all keys, one after the other, or since they have ended.
async fn winners_that_are_lost_while_they_are_copied_are_copied_anew(test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    let mut told = Vec::new();
    for user in ["kim", "lee", "park"] {
        told.push((user, issued(decided(&test.one, &event, user).await)));
    }
    assert_eq!(test.winners(&event).await.len(), 3);
    // All at once: whoever keeps the event goes on with it in the next moment.
    let lose = "redis.call('DEL', KEYS[2])
        redis.call('HSET', KEYS[1], 'loading', '1', 'token', 'dead', 'loaded', '1', 'copied', '1')";
    let epoch = epoch(&test.redis, &event).await.to_string();
    for script in [format!("{lose}\n{LOAD}"), format!("{lose}\nreturn 0")] {
        assert_eq!(run(&test, &script, &event, &["add", "dead", &epoch, "lee", "2"]).await, "0");
        for (user, coupon) in &told {
            assert_eq!(held(decided(&test.one, &event, user).await), *coupon);
        }
    }
    assert_eq!(issued(decided(&test.one, &event, "choi").await).sequence.get(), 4);
    assert_eq!(test.winners(&event).await.len(), 4);
}
