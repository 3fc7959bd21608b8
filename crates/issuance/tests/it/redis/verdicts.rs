//! The verdicts are those of the rule, whoever decides.

use firstcome_core::{Commit, EventId, Strategy, UserId};
use firstcome_issuance::{LedgerStrategy, Strategy as _, Undecided};
use firstcome_ledger::{Decision, EventRecord};
use futures_util::future::join_all;
use serde_json::json;

use super::losses::{epoch, key};
use super::{Deployment, Place, claim, decided, for_every_commit, held, issued, on_a_file};

for_every_commit! {
    an_event_from_its_opening_to_its_close,
    of_many_at_once_at_all_processes_each_wins_once,
    an_erased_user_gets_no_second_coupon,
    a_change_by_another_process_is_followed,
    a_process_without_redis_decides_nothing_of_redis,
    a_process_without_redis_decides_what_is_the_ledgers_all_the_same,
    an_event_that_fails_hinders_no_other_of_its_batch,
    an_open_event_keeps_who_decides_it_and_what_holds_its_wins,
}

on_a_file! {
    an_event_from_its_opening_to_its_close,
    of_many_at_once_at_all_processes_each_wins_once,
}

async fn an_event_from_its_opening_to_its_close(test: Deployment) {
    for strategy in test.beside() {
        let event = test.event(*strategy, 3).await;
        let claim = async |user: &str| decided(&test.one, &event, user).await;
        let first = issued(claim("kim").await);
        assert_eq!(first.sequence.get(), 1);
        assert_eq!(held(claim("kim").await), first);
        assert_eq!(test.act(&event, "pause").await["state"], "paused");
        assert_eq!(claim("lee").await, Decision::Paused);
        assert_eq!(held(claim("kim").await), first);
        assert_eq!(test.act(&event, "resume").await["state"], "open");
        assert_eq!(issued(claim("lee").await).sequence.get(), 2);
        assert_eq!(test.set_quantity(&event, 1).await, 409);
        assert_eq!(test.set_quantity(&event, 2).await, 200);
        assert_eq!(claim("park").await, Decision::SoldOut);
        assert_eq!(test.set_quantity(&event, 4).await, 200);
        assert_eq!(issued(claim("park").await).sequence.get(), 3);
        assert_eq!(test.act(&event, "sync").await["state"], "open");
        assert_eq!(held(claim("kim").await), first);
        assert_eq!(test.act(&event, "close").await["state"], "closed");
        assert_eq!(claim("choi").await, Decision::Closed);
        assert_eq!(held(claim("kim").await), first);
        assert_eq!(test.winners(&event).await.len(), 3);
    }
    let nobody = test.event(test.beside()[0], 1).await;
    let unknown = EventRecord { id: EventId::from_uuid(uuid::Uuid::now_v7()), ..nobody };
    assert_eq!(decided(&test.one, &unknown, "kim").await, Decision::EventNotFound);
}

async fn of_many_at_once_at_all_processes_each_wins_once(test: Deployment) {
    const QUANTITY: u32 = 150;
    let other = match test.ledger {
        Place::Server(_) => Some(test.another().await),
        Place::File(_) => None,
    };
    for strategy in test.beside() {
        let event = test.event(*strategy, QUANTITY).await;
        let claims = (0..800).map(|number| {
            let process = other.as_ref().filter(|_| number % 3 == 0).unwrap_or(&test.one);
            let user = format!("{:08}-0000-4000-8000-{:012}", 1, number % 200);
            let event = &event;
            async move { (user.clone(), decided(process, event, &user).await) }
        });
        let told = join_all(claims).await;
        let winners = test.winners(&event).await;
        assert_eq!(winners.len(), QUANTITY as usize);
        let last = winners.last().expect("winners").sequence.get();
        assert_eq!(last, QUANTITY, "without holes");
        let mut issued = 0;
        for (user, decision) in told {
            let row = winners.iter().find(|row| row.user_id.as_str() == user);
            match (decision, row) {
                (Decision::Issued(coupon), Some(row)) => {
                    assert_eq!(&coupon, row);
                    issued += 1;
                }
                (Decision::AlreadyClaimed(coupon), Some(row)) => assert_eq!(&coupon, row),
                (Decision::SoldOut, None) => {}
                (decision, row) => panic!("{user} was told {decision:?} and has {row:?}"),
            }
        }
        assert_eq!(issued, QUANTITY);
    }
}

async fn an_erased_user_gets_no_second_coupon(test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    let first = issued(decided(&test.one, &event, "kim").await);
    // It knows the event from before, when nobody had been erased.
    let stale = test.another().await;
    issued(decided(&stale, &event, "choi").await);
    // Who erases sees to it that the ledger has all that was promised.
    assert_eq!(test.winners(&event).await.len(), 2);
    let kim = UserId::parse("kim").expect("a user id");
    assert!(test.one.ledger.erase_user(kim).await.expect("an answer"));
    // By what Redis knew before, and by what it was rebuilt from.
    for other in ["lee", "park"] {
        let before = epoch(&test.redis, &event).await;
        for process in [&stale, &test.one] {
            let again = held(decided(process, &event, "kim").await);
            assert_eq!((again.id, again.sequence), (first.id, first.sequence));
        }
        issued(decided(&test.one, &event, other).await);
        assert_eq!(epoch(&test.redis, &event).await, before, "nothing contradicts the ledger");
        test.act(&event, "sync").await;
    }
    let names = test.redis.cli(&["HKEYS", &key(&event, "winners")]).await;
    assert!(!names.contains("kim"), "{names}");
    assert_eq!(test.winners(&event).await.len(), 4);
}

async fn a_change_by_another_process_is_followed(test: Deployment) {
    let other = test.another().await;
    let event = test.event(Strategy::Redis, 1).await;
    issued(decided(&other, &event, "kim").await);
    assert_eq!(decided(&other, &event, "lee").await, Decision::SoldOut);
    assert_eq!(test.set_quantity(&event, 2).await, 200);
    // A latch of the other process may outlive the change by a second.
    let no_longer_sold_out = async |user: &str| {
        loop {
            match decided(&other, &event, user).await {
                Decision::SoldOut => tokio::time::sleep(super::POLL).await,
                decision => return decision,
            }
        }
    };
    let raised = tokio::time::timeout(super::WAIT_MAX, no_longer_sold_out("lee"));
    assert_eq!(issued(raised.await.expect("it follows")).sequence.get(), 2);
    test.act(&event, "close").await;
    let closed = tokio::time::timeout(super::WAIT_MAX, no_longer_sold_out("park"));
    assert_eq!(closed.await.expect("it follows"), Decision::Closed);
}

/// Whoever asks for another is refused, and claims go on as before.
async fn an_open_event_keeps_who_decides_it_and_what_holds_its_wins(test: Deployment) {
    let strategies = [Strategy::Ledger, Strategy::RedisLock, Strategy::Redis];
    let commits = [Commit::Ledger, Commit::Kafka, Commit::RedisStream];
    let other = test.another().await;
    for strategy in strategies {
        let event = test.event(strategy, 3).await;
        let kims = issued(decided(&test.one, &event, "kim").await);
        assert_eq!(test.winners(&event).await, std::slice::from_ref(&kims));
        let stored = async || test.one.ledger.event(event.id).await.expect("an answer");
        let before = stored().await.expect("the event");
        assert_eq!((before.strategy, before.commit), (event.strategy, event.commit));

        let others = strategies.into_iter().filter(|another| *another != strategy);
        let strategies = others.map(|another| json!({"strategy": another.as_str()}));
        let others = commits.into_iter().filter(|another| *another != event.commit);
        let commits = others.map(|another| json!({"commit": another.as_str()}));
        for mut change in strategies.chain(commits) {
            assert_eq!(test.patch(&event, &change).await, 400, "{change}");
            // Nor beside what may be changed.
            change["quantity"] = json!(9);
            assert_eq!(test.patch(&event, &change).await, 400, "{change}");
            for process in [&test.one, &other] {
                assert_eq!(held(decided(process, &event, "kim").await), kims, "{change}");
            }
        }
        assert_eq!(stored().await, Some(before));

        let lees = issued(decided(&other, &event, "lee").await);
        let parks = issued(decided(&test.one, &event, "park").await);
        for process in [&test.one, &other] {
            assert_eq!(decided(process, &event, "choi").await, Decision::SoldOut);
            assert_eq!(held(decided(process, &event, "lee").await), lees);
        }
        let known = test.redis.cli(&["HLEN", &key(&event, "winners")]).await;
        assert_eq!(known, if strategy == Strategy::Redis { "3" } else { "0" }, "who decides");
        assert_eq!(test.winners(&event).await, [kims, lees, parks]);
    }
}

async fn an_event_that_fails_hinders_no_other_of_its_batch(test: Deployment) {
    let event = async |quantity: u32| {
        let event = test.event(Strategy::Redis, quantity).await;
        issued(decided(&test.one, &event, "kim").await);
        event
    };
    let [fine, full, broken, replaced, other] =
        [event(9).await, event(1).await, event(9).await, event(9).await, event(9).await];
    let unknown = EventRecord { id: EventId::from_uuid(uuid::Uuid::now_v7()), ..fine.clone() };
    // Its script fails. What only Redis had would be lost.
    assert_eq!(test.winners(&broken).await.len(), 1);
    let meta = key(&broken, "meta");
    test.redis.cli(&["SET", &meta, "x"]).await;
    // Redis alone answers where it is the commit.
    let is_replaced = test.commit != Commit::RedisStream;
    if is_replaced {
        test.begin_epoch(&replaced).await;
    }

    let all = [&fine, &full, &unknown, &broken, &fine, &replaced, &other];
    let users = ["lee", "lee", "lee", "lee", "lee", "lee", "park"];
    let batch = all.iter().zip(users).map(|(event, user)| claim(event, user));
    let told = test.decided_together(batch.collect()).await;
    let first = issued(told[0].clone().expect("a verdict"));
    assert_eq!((first.event_id, first.user_id.as_str()), (fine.id, "lee"));
    assert_eq!(told[1], Ok(Decision::SoldOut));
    assert_eq!(told[2], Ok(Decision::EventNotFound));
    assert_eq!(told[3], Err(Undecided::InDoubt));
    assert_eq!(held(told[4].clone().expect("a verdict")), first);
    match &told[5] {
        Err(undecided) => assert_eq!((undecided, is_replaced), (&Undecided::InDoubt, true)),
        Ok(_) => assert!(!is_replaced, "by whose word?"),
    }
    let last = issued(told[6].clone().expect("a verdict"));
    assert_eq!((last.event_id, last.user_id.as_str()), (other.id, "park"));

    // What was told is so, and who was told nothing gets an answer.
    for (event, user, coupon) in [(&fine, "lee", &first), (&other, "park", &last)] {
        assert_eq!(&held(decided(&test.one, event, user).await), coupon);
    }
    test.redis.cli(&["DEL", &meta]).await;
    issued(decided(&test.one, &broken, "lee").await);
    decided(&test.one, &replaced, "lee").await;
    for (event, winners) in [(&fine, 2), (&full, 1), (&broken, 2), (&replaced, 2), (&other, 2)] {
        assert_eq!(test.winners(event).await.len(), winners);
    }
}

/// It would be a second decider.
async fn a_process_without_redis_decides_nothing_of_redis(test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    let alone = test.one.ledger.clone();
    for _ in ["before it is loaded", "afterwards"] {
        let told = alone.claim(vec![claim(&event, "kim")]).await.expect("an answer").remove(0);
        let refused = told.expect_err("no verdict").to_string();
        assert!(refused.contains("--redis-url"), "{refused}");
        decided(&test.one, &event, "lee").await;
    }
    assert_eq!(test.winners(&event).await.len(), 1);
}

/// What is the ledger's to decide it decides, a lock or none, whoever claims of Redis's meanwhile.
async fn a_process_without_redis_decides_what_is_the_ledgers_all_the_same(test: Deployment) {
    let strategies = [Strategy::Ledger, Strategy::RedisLock, Strategy::Redis];
    let [ours, ordered, theirs] = strategies.map(|strategy| test.event(strategy, 9));
    let (ours, ordered, theirs) = (ours.await, ordered.await, theirs.await);
    let alone = LedgerStrategy::new(test.one.ledger.clone());
    issued(decided(&test.one, &theirs, "kim").await);
    for user in ["kim", "lee"] {
        let batch = [&theirs, &ours, &theirs, &ordered].map(|event| claim(event, user));
        let told = alone.decide(batch.to_vec()).await;
        for (place, event) in [(1, &ours), (3, &ordered)] {
            let won = issued(told[place].clone().expect("a verdict"));
            assert_eq!((won.event_id, won.user_id.as_str()), (event.id, user));
        }
        for place in [0, 2] {
            assert_eq!(told[place], Err(Undecided::Unavailable));
        }
    }
    for (event, winners) in [(&ours, 2), (&ordered, 2), (&theirs, 1)] {
        assert_eq!(test.winners(event).await.len(), winners);
    }
}
