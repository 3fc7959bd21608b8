//! Processes that sleep or die in the middle of what they do with Redis, and a clock that steps
//! back under it: others go on, and the sleeper does no harm.

use std::mem;
use std::time::Duration;

use axum::http::Method;
use firstcome_core::{Quantity, Strategy, Timestamp, Window};
use firstcome_issuance::{NoVerdict, Undecided};
use firstcome_ledger::{Decision, EventRecord, Limits};
use firstcome_testkit::{CommitFault, Direction, Engine, Proxy};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::behind::another_ledger;
use super::losses::{epoch, key, proxied, settled};
use super::{
    Deployment, POLL, Place, WAIT_MAX, claim, connection, decided, held, issued, on_every_server,
    process,
};
use crate::support::TestIssuance;

pub(super) const LOAD: &str = include_str!("../../../src/strategy/redis/load.lua");
pub(super) const CHANGE: &str = include_str!("../../../src/strategy/redis/change.lua");

on_every_server! {
    who_took_redis_before_another_does_no_further_step,
    what_a_dead_process_left_is_recorded_by_one_that_had_no_claims_on_it,
    what_a_dead_process_has_changed_is_followed,
    what_redis_could_not_be_told_is_followed_when_it_is_back,
    a_freeze_outlasts_what_others_change_beside_it,
    what_is_changed_while_it_is_loaded_is_not_opened_as_it_was,
    a_closing_that_is_moved_counts_though_redis_hears_of_it_late,
    erased_stays_erased_for_who_has_not_heard_of_it,
}

mod ledger {
    super::super::for_commit! {
        Ledger:
        no_two_batches_have_the_same_moment,
        nobody_is_refused_by_an_event_as_it_was,
    }
}

mod kafka {
    super::super::for_commit! {
        Kafka:
        no_two_batches_have_the_same_moment,
        nobody_is_refused_by_an_event_as_it_was,
        nobody_raises_what_another_is_lowering,
        who_cannot_lower_it_lets_go,
        a_lowering_that_is_refused_freezes_nothing,
        a_win_of_an_event_that_was_paused_meanwhile_is_told_later,
    }
}

mod on_postgres {
    mod kafka {
        super::super::super::for_commit! {
            Kafka on Postgres: nobody_wins_beyond_a_quantity_whose_lowering_is_in_doubt
        }
    }

    mod redis_stream {
        super::super::super::for_commit! {
            RedisStream on Postgres: nobody_wins_beyond_a_quantity_whose_lowering_is_in_doubt
        }
    }
}

mod redis_stream {
    super::super::for_commit! {
        RedisStream:
        no_two_batches_have_the_same_moment,
        nobody_raises_what_another_is_lowering,
        who_cannot_lower_it_lets_go,
        a_lowering_that_is_refused_freezes_nothing,
        nobody_wins_what_was_closed_by_one_who_lost_redis,
    }
}

/// What a script answers about an event, by another process.
pub(super) async fn run(
    test: &Deployment,
    script: &str,
    event: &EventRecord,
    words: &[&str],
) -> String {
    let keys = ["meta", "winners", "pending"].map(|name| key(event, name));
    let [meta, winners, pending] = keys.each_ref().map(String::as_str);
    let call = ["EVAL", script, "3", meta, winners, pending];
    test.redis.cli(&[call.as_slice(), words].concat()).await
}

/// As an admin's call does whose process dies before Redis hears of it.
pub(super) async fn change_in_ledger_alone(
    test: &Deployment,
    event: &EventRecord,
    change: impl FnOnce(&mut EventRecord) + Send + 'static,
) {
    let changed = test.one.ledger.change_event(event.id, move |mut event| {
        change(&mut event);
        Ok::<_, ()>(event)
    });
    changed.await.expect("an answer").expect("the event").expect("not refused");
}

async fn who_took_redis_before_another_does_no_further_step(engine: Engine) {
    let test = Deployment::new(engine).await;
    let event = test.event(Strategy::Redis, 9).await;
    let first = issued(decided(&test.one, &event, "kim").await);
    let load = async |words: &[&str]| run(&test, LOAD, &event, words).await;
    let next = (epoch(&test.redis, &event).await + 7).to_string();
    let begin = ["begin", "sleeper", &next];
    let add = ["add", "sleeper", &next, "ghost", "2"];
    let finish = ["finish", "sleeper", &next, "1", "2", "1", "quantity", "9"];
    let steps = [begin.as_slice(), &add, &finish];
    assert_ne!(load(&["take", "sleeper"]).await, "0");
    assert_ne!(load(&["take", "other"]).await, "0");
    assert_eq!(load(steps[0]).await, "0", "another has taken it");
    assert_eq!(load(&["begin", "other", &next]).await, "1");
    for step in steps {
        assert_eq!(load(step).await, "0", "{step:?} while another rebuilds it");
    }
    // The other is dead, and the process goes on.
    assert_eq!(issued(decided(&test.one, &event, "lee").await).sequence.get(), 2);
    let before = epoch(&test.redis, &event).await;
    for step in steps {
        assert_eq!(load(step).await, "0", "{step:?} after it was rebuilt");
    }
    assert_eq!(held(decided(&test.one, &event, "kim").await), first);
    assert_eq!(issued(decided(&test.one, &event, "ghost").await).sequence.get(), 3);
    assert_eq!(epoch(&test.redis, &event).await, before);
    assert_eq!(test.winners(&event).await.len(), 3);
}

/// The clock of Redis has stepped back, or has not moved since.
async fn no_two_batches_have_the_same_moment(test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    let first = issued(decided(&test.one, &event, "first").await);
    let last = first.issued_at.as_micros() + 3_600_000_000;
    test.redis.cli(&["HSET", &key(&event, "meta"), "last", &last.to_string()]).await;
    for number in 1..=3 {
        let coupon = issued(decided(&test.one, &event, &format!("user-{number}")).await);
        assert_eq!(coupon.issued_at.as_micros(), last + number);
    }
    assert_eq!(test.winners(&event).await.len(), 4);
}

async fn nobody_raises_what_another_is_lowering(test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    // The ledger is about to have the lower quantity, too.
    // Nobody wins more, nor hears that it is sold out: it may never do so.
    run(&test, CHANGE, &event, &["lower", "1", "another", "0"]).await;
    assert_frozen(&test, &event).await;
    test.act(&event, "pause").await;
    test.act(&event, "resume").await;
    assert_frozen(&test, &event).await;
    // Refused or not, a second who lowers it would be followed by what the ledger has until then.
    for quantity in [1, 2] {
        assert_eq!(test.set_quantity(&event, quantity).await, 503);
        assert_frozen(&test, &event).await;
    }
    // It has died, and is waited for no more.
    test.act(&event, "sync").await;
    assert_eq!(issued(decided(&test.one, &event, "lee").await).sequence.get(), 2);
    assert_eq!(test.winners(&event).await.len(), 2);
}

/// Redis has not heard of the change, and nobody sweeps so soon.
async fn nobody_is_refused_by_an_event_as_it_was(test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    test.act(&event, "pause").await;
    change_in_ledger_alone(&test, &event, |event| event.rule.paused = false).await;
    assert_eq!(issued(decided(&test.one, &event, "lee").await).sequence.get(), 2);
    // Nor for ever, where Redis knows more than the ledger, which was restored from a backup.
    test.act(&event, "pause").await;
    let Place::Server(database) = &test.ledger else { panic!("a server") };
    database.execute("UPDATE events SET version = 1, paused = FALSE").await;
    assert_eq!(issued(decided(&test.one, &event, "park").await).sequence.get(), 3);
}

/// Redis has lowered the quantity, and its answer is lost.
async fn who_cannot_lower_it_lets_go(mut test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    let proxy = Proxy::start(&test.redis.url()).await;
    let Place::Server(database) = &test.ledger else { panic!("a server") };
    let admins = process(&format!("redis://{}", proxy.authority()), database.url(), None).await;
    let shoppers = mem::replace(&mut test.one, admins);
    let meta = key(&event, "meta");
    let lowers = async |wanted: &str| {
        while test.redis.cli(&["HEXISTS", &meta, "lowering"]).await != wanted {
            sleep(POLL).await;
        }
    };
    // Redis knows the script by its digest from here on.
    assert_eq!(test.set_quantity(&event, 8).await, 200);
    proxy.cut(Direction::ToClient);
    let both = async { tokio::join!(test.set_quantity(&event, 1), lowers("1")) };
    let (status, ()) = timeout(WAIT_MAX, both).await.expect("Redis has lowered it");
    assert_eq!(status, 503);
    proxy.heal().await;
    // Long before it counts as dead.
    timeout(Duration::from_secs(20), lowers("0")).await.expect("it lets go");
    assert_eq!(issued(decided(&shoppers, &event, "lee").await).sequence.get(), 2);
}

/// The ledger has done it all but its commit when the admin's process waits no longer, as where a
/// synchronous standby is away.
async fn nobody_wins_beyond_a_quantity_whose_lowering_is_in_doubt(mut test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    assert_eq!(test.winners(&event).await.len(), 1);
    let Place::Server(database) = &test.ledger else { panic!("a server") };
    database.execute(COMMITS_WAIT).await;
    let brief = |limits: &mut Limits| {
        limits.acquire_timeout = Duration::from_secs(1);
        limits.statement_timeout = Duration::from_secs(1);
    };
    let ledger = another_ledger(database.url(), brief).await;
    let admins = TestIssuance::beside(connection(&test.redis.url()), test.journal(), ledger);
    // Nobody rebuilds it, as long as this is somebody's.
    let sync = key(&event, "sync");
    test.redis.cli(&["SET", &sync, "another"]).await;
    let shoppers = mem::replace(&mut test.one, admins);
    assert_eq!(test.set_quantity(&event, 2).await, 503);
    // The freeze ends in time; what was lowered stays so.
    assert_eq!(issued(decided(&shoppers, &event, "lee").await).sequence.get(), 2);
    let refused = shoppers.handle.claim(claim(&event, "park")).await;
    assert_eq!(refused, Err(NoVerdict::Undecided(Undecided::Unavailable)));
    database.execute("SELECT pg_advisory_unlock(1)").await;
    test.redis.cli(&["DEL", &sync]).await;
    test.one = shoppers;
    assert_eq!(decided(&test.one, &event, "park").await, Decision::SoldOut);
    assert_eq!(test.winners(&event).await.len(), 2);
}

/// Whoever lowers a quantity commits when the lock of the test's own connection is let go of.
const COMMITS_WAIT: &str = "SELECT pg_advisory_lock(1); \
    CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
        PERFORM set_config('lock_timeout', '0', true), pg_advisory_xact_lock_shared(1); \
        RETURN NULL; \
    END $$; \
    CREATE CONSTRAINT TRIGGER waits AFTER UPDATE ON events DEFERRABLE INITIALLY DEFERRED \
        FOR EACH ROW WHEN (NEW.quantity < OLD.quantity) EXECUTE FUNCTION wait()";

/// It was changed since who loads it has read it, and they are told so.
async fn what_is_changed_while_it_is_loaded_is_not_opened_as_it_was(engine: Engine) {
    let test = Deployment::new(engine).await;
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    let epoch = epoch(&test.redis, &event).await.to_string();
    let load = async |words: &[&str]| run(&test, LOAD, &event, words).await;
    // Nobody ends it, as long as this is somebody's.
    test.redis.cli(&["SET", &key(&event, "sync"), "dead"]).await;
    load(&["take", "one"]).await;
    // A memory that has gone back has forgotten who has taken it since.
    let meta = key(&event, "meta");
    let memory = test.redis.cli(&["HGET", &meta, "taken_in"]).await;
    test.redis.cli(&["HSET", &meta, "taken_in", "another"]).await;
    assert_eq!(load(&["begin", "one", &epoch]).await, "0");
    test.redis.cli(&["HSET", &meta, "taken_in", &memory]).await;
    // Whoever freezes it meanwhile has frozen what is there then.
    assert_eq!(run(&test, CHANGE, &event, &["freeze", "dead", MINUTE]).await, "0");
    assert_eq!(load(&["begin", "one", &epoch]).await, "1");
    assert_eq!(run(&test, CHANGE, &event, &["follow", "", &epoch, "7"]).await, "0");
    for (version, answer) in [("6", "-1"), ("7", "1")] {
        let finish = ["finish", "one", &epoch, "0", "1", version, "quantity", "9"];
        let rest = ["opens_at", "0", "closes_at", "9007199254740991", "paused", "0"];
        assert_eq!(load(&[&finish[..], &rest].concat()).await, answer);
    }
    assert_frozen(&test, &event).await;
    freeze(&test, &event, "dead", "0").await;
    assert_ne!(test.redis.cli(&["HEXISTS", &meta, "frozen_until"]).await, "1");
}

/// Another is at it, and has died.
async fn a_lowering_that_is_refused_freezes_nothing(test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    run(&test, CHANGE, &event, &["lower", "5", "another", "0"]).await;
    let meta = key(&event, "meta");
    let frozen_until = async || test.redis.cli(&["HGET", &meta, "frozen_until"]).await;
    let before = frozen_until().await;
    assert_eq!(test.set_quantity(&event, 3).await, 503);
    assert_eq!(frozen_until().await, before);
    let told = test.one.handle.claim(claim(&event, "lee")).await;
    assert!(matches!(told, Ok(Decision::Issued(_))), "{told:?}");
    // Nor does one that is not of the event as it is: Redis is told nothing.
    test.act(&event, "sync").await;
    settled(&test.redis, &event).await;
    let scripts = async || {
        let stats = test.redis.cli(&["INFO", "commandstats"]).await;
        stats.lines().find(|line| line.starts_with("cmdstat_evalsha:")).map(str::to_owned)
    };
    let before = scripts().await;
    let path = format!("/v1/events/{}", event.id);
    for (tag, status) in [(Some("\"0\""), 412), (None, 428)] {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(tag.map(|tag| ("if-match", tag)));
        let change =
            test.one.send(("admin", "admin"), Method::PATCH, &path, &headers, r#"{"quantity": 3}"#);
        assert_eq!(change.await.status, status);
    }
    assert_eq!(scripts().await, before);
    // Nor is anything left of one that the ledger refuses.
    test.act(&event, "sync").await;
    assert_eq!(test.set_quantity(&event, 1).await, 409);
    let told = test.one.handle.claim(claim(&event, "park")).await;
    assert!(matches!(told, Ok(Decision::Issued(_))), "{told:?}");
    assert_eq!(test.winners(&event).await.len(), 3);
}

/// Redis has not heard of it: the win is in the journal, and counts, but is no answer to somebody
/// who came after the pause.
async fn a_win_of_an_event_that_was_paused_meanwhile_is_told_later(test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    change_in_ledger_alone(&test, &event, |event| event.rule.paused = true).await;
    let refused = test.one.handle.claim(claim(&event, "lee")).await;
    assert_eq!(refused, Err(NoVerdict::Undecided(Undecided::InDoubt)));
    // Whoever keeps the event makes it durable.
    settled(&test.redis, &event).await;
    assert_eq!(held(decided(&test.one, &event, "lee").await).sequence.get(), 2);
    assert_eq!(test.winners(&event).await.len(), 2);
}

async fn what_a_dead_process_has_changed_is_followed(engine: Engine) {
    let test = Deployment::new(engine).await;
    let event = test.event(Strategy::Redis, 1).await;
    issued(decided(&test.one, &event, "kim").await);
    assert_eq!(decided(&test.one, &event, "lee").await, Decision::SoldOut);
    let raised = Quantity::parse(2).expect("a number");
    change_in_ledger_alone(&test, &event, move |event| event.rule.quantity = raised).await;
    followed(&test, &event).await;
    let raised = timeout(WAIT_MAX, async {
        // A latch may outlive the change by a second.
        while decided(&test.one, &event, "lee").await == Decision::SoldOut {
            sleep(POLL).await;
        }
    });
    raised.await.expect("the top-up counts");
    change_in_ledger_alone(&test, &event, |event| event.rule.closed = true).await;
    followed(&test, &event).await;
    assert_eq!(decided(&test.one, &event, "park").await, Decision::Closed);
    assert_eq!(test.winners(&event).await.len(), 2);
}

/// By the process that changed it, and has read the event anew since.
async fn what_redis_could_not_be_told_is_followed_when_it_is_back(engine: Engine) {
    let mut test = Deployment::new(engine).await;
    let proxy = Proxy::start(&test.redis.url()).await;
    let (redis, ledger) = (format!("redis://{}", proxy.authority()), test.ledger.url());
    let one = process(&redis, &ledger, None).await;
    let before = mem::replace(&mut test.one, one);
    before.service.shutdown(Duration::from_secs(10)).await.expect("it ends in time");
    let event = test.event(Strategy::Redis, 1).await;
    let first = issued(decided(&test.one, &event, "kim").await);
    proxy.cut(Direction::ToServer);
    assert_eq!(test.set_quantity(&event, 2).await, 200);
    // Others would go on until they hear of it.
    let earlier = event.rule.window.closes_at().as_micros() - 1;
    let earlier = json!({"closes_at": Timestamp::from_micros(earlier)});
    assert_eq!(test.patch(&event, &earlier).await, 503);
    proxy.heal().await;
    assert_eq!(held(decided(&test.one, &event, "kim").await), first);
    followed(&test, &event).await;
    assert_eq!(issued(decided(&test.one, &event, "lee").await).sequence.get(), 2);
    assert_eq!(test.winners(&event).await.len(), 2);
}

/// Between the freeze and the end of it: others can reach Redis.
async fn nobody_wins_what_was_closed_by_one_who_lost_redis(test: Deployment) {
    let Place::Server(database) = &test.ledger else { panic!("a server") };
    let proxy = Proxy::start(&test.redis.url()).await;
    let admins = format!("redis://{}", proxy.authority());
    let admins = process(&admins, database.url(), None).await;
    let event = test.event(Strategy::Redis, 10_000).await;
    issued(decided(&test.one, &event, "kim").await);
    assert_eq!(test.winners(&event).await.len(), 1);
    // The close waits in the ledger until Redis is out of its reach.
    database.execute("BEGIN").await;
    database.execute("UPDATE events SET name = name").await;
    let path = format!("/v1/events/{}/close", event.id);
    let close = admins.admin(Method::POST, &path, &Value::Null);
    let lose_redis = async {
        while test.redis.cli(&["HGET", &key(&event, "meta"), "frozen_until"]).await.is_empty() {
            sleep(POLL).await;
        }
        proxy.cut(Direction::ToServer);
        database.execute("ROLLBACK").await;
    };
    let both = async { tokio::join!(close, lose_redis) };
    let (closed, ()) = timeout(WAIT_MAX, both).await.expect("it is frozen, and closed");
    assert_eq!(closed.status, 200, "{closed:?}");
    let mut late = 0;
    let told = async {
        loop {
            late += 1;
            match test.one.handle.claim(claim(&event, &format!("late-{late}"))).await {
                Err(NoVerdict::Undecided(_)) => sleep(POLL).await,
                told => break told,
            }
        }
    };
    let told = timeout(WAIT_MAX, told).await.expect("a verdict");
    assert_eq!(told, Ok(Decision::Closed));
    // Who closed it ends that, as soon as it can.
    proxy.heal().await;
    let ends = async {
        while !test.redis.cli(&["HGET", &key(&event, "meta"), "frozen_until"]).await.is_empty() {
            sleep(POLL).await;
        }
    };
    timeout(Duration::from_secs(20), ends).await.expect("it is frozen no more");
    assert_eq!(test.winners(&event).await.len(), 1);
}

/// Waits until Redis has the event as the ledger has it.
pub(super) async fn followed(test: &Deployment, event: &EventRecord) {
    let now = test.one.ledger.event(event.id).await.expect("an answer").expect("the event");
    let version = now.version.to_string();
    let meta = key(event, "meta");
    let follows = async {
        while test.redis.cli(&["HGET", &meta, "version"]).await != version {
            sleep(POLL).await;
        }
    };
    timeout(WAIT_MAX, follows).await.expect("Redis follows");
}

async fn what_a_dead_process_left_is_recorded_by_one_that_had_no_claims_on_it(engine: Engine) {
    let (test, visitor, proxy) = proxied(engine).await;
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&visitor, &event, "kim").await);
    proxy.on_commit(CommitFault::LoseRequest, 0, 2);
    let lost = visitor.handle.claim(claim(&event, "lee")).await;
    assert_eq!(lost, Err(NoVerdict::Undecided(Undecided::InDoubt)));
    visitor.service.shutdown(Duration::from_secs(10)).await.expect("it ends in time");
    assert_ne!(test.redis.cli(&["HLEN", &key(&event, "pending")]).await, "0");
    let recorded = timeout(WAIT_MAX, async {
        while test.one.ledger.event(event.id).await.expect("an answer").expect("it").rule.issued < 2
        {
            sleep(POLL).await;
        }
    });
    recorded.await.expect("another records it");
    assert_eq!(held(decided(&test.one, &event, "lee").await).sequence.get(), 2);
    assert_eq!(test.winners(&event).await.len(), 2);
}

const MINUTE: &str = "60000000";

async fn freeze(test: &Deployment, event: &EventRecord, hand: &str, micros: &str) {
    assert_eq!(run(test, CHANGE, event, &["freeze", hand, micros]).await, "1");
}

async fn assert_frozen(test: &Deployment, event: &EventRecord) {
    let told = test.one.handle.claim(claim(event, "lee")).await;
    assert_eq!(told, Err(NoVerdict::Undecided(Undecided::Unavailable)));
}

/// Each has made ready for its own.
async fn a_freeze_outlasts_what_others_change_beside_it(engine: Engine) {
    let test = Deployment::new(engine).await;
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    for hand in ["a", "b"] {
        freeze(&test, &event, hand, MINUTE).await;
    }
    for let_go in ["a", "b"] {
        // Of its own change, and what the keepers make Redis follow.
        assert_eq!(test.set_quantity(&event, 8).await, 200);
        let raised = Quantity::parse(9).expect("a number");
        change_in_ledger_alone(&test, &event, move |event| event.rule.quantity = raised).await;
        followed(&test, &event).await;
        assert_frozen(&test, &event).await;
        freeze(&test, &event, let_go, "0").await;
    }
    assert_eq!(issued(decided(&test.one, &event, "lee").await).sequence.get(), 2);
}

/// The clock has closed it by the moment of before.
async fn a_closing_that_is_moved_counts_though_redis_hears_of_it_late(engine: Engine) {
    let test = Deployment::new(engine).await;
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    let meta = key(&event, "meta");
    let closes = async |at: &str| test.redis.cli(&["HSET", &meta, "closes_at", at]).await;
    // Not while somebody changes it.
    freeze(&test, &event, "dead", MINUTE).await;
    closes("1").await;
    assert_frozen(&test, &event).await;
    freeze(&test, &event, "dead", "0").await;
    assert_eq!(decided(&test.one, &event, "lee").await, Decision::Closed);
    let until = event.rule.window.closes_at().as_micros() + 1;
    let later = Window::new(event.rule.window.opens_at(), Timestamp::from_micros(until));
    let later = later.expect("a window");
    change_in_ledger_alone(&test, &event, move |event| event.rule.window = later).await;
    followed(&test, &event).await;
    assert_eq!(issued(decided(&test.one, &event, "lee").await).sequence.get(), 2);
    // Another change opens nothing that the clock has closed.
    test.redis.cli(&["HSET", &meta, "closed", "1"]).await;
    let raised = Quantity::parse(10).expect("a number");
    change_in_ledger_alone(&test, &event, move |event| event.rule.quantity = raised).await;
    followed(&test, &event).await;
    assert_eq!(decided(&test.one, &event, "park").await, Decision::Closed);
}

/// They have read the event before a rebuild found somebody erased, and change nothing else.
async fn erased_stays_erased_for_who_has_not_heard_of_it(engine: Engine) {
    let test = Deployment::new(engine).await;
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    let meta = key(&event, "meta");
    test.redis.cli(&["HSET", &meta, "erased", "1"]).await;
    let raised = Quantity::parse(10).expect("a number");
    change_in_ledger_alone(&test, &event, move |event| event.rule.quantity = raised).await;
    followed(&test, &event).await;
    assert_eq!(test.redis.cli(&["HGET", &meta, "erased"]).await, "1");
    assert_eq!(issued(decided(&test.one, &event, "lee").await).sequence.get(), 2);
}
