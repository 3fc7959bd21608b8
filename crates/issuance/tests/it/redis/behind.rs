//! Wins that are promised before the ledger has them: nobody hears of two truths.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use firstcome_core::limits::CLAIM_BATCH_MAX;
use firstcome_core::{Commit, CouponDraft, Days, Strategy, Validity};
use firstcome_issuance::{NoVerdict, RedisStrategy, Strategy as _, Undecided};
use firstcome_ledger::{
    CouponRecord, Decision, EventRecord, IssuedCouponRecord, Ledger, LedgerOptions, Limits, Purpose,
};
use firstcome_testkit::{Direction, ManualClock, Proxy, draft};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::losses::{epoch, key, settled};
use super::{
    Deployment, POLL, WAIT_MAX, claim, connection, decided, held, issued, process, proxy_of,
};

mod kafka {
    super::super::for_commit! {
        Kafka:
        what_is_promised_comes_to_the_ledger_as_it_was_told,
        a_quantity_is_never_lowered_below_what_is_promised,
        a_retry_while_the_ledger_lags_is_told_the_same,
        a_win_is_valid_as_long_as_was_told_whatever_becomes_of_its_coupon,
        an_event_is_loaded_only_with_all_that_was_promised,
        workers_share_a_drop_and_end_at_any_moment,
    }
}

mod redis_stream {
    super::super::for_commit! {
        RedisStream:
        what_is_promised_comes_to_the_ledger_as_it_was_told,
        a_quantity_is_never_lowered_below_what_is_promised,
        a_retry_while_the_ledger_lags_is_told_the_same,
        a_win_is_valid_as_long_as_was_told_whatever_becomes_of_its_coupon,
        an_event_is_loaded_only_with_all_that_was_promised,
        workers_share_a_drop_and_end_at_any_moment,
        batches_as_large_as_may_be_are_written,
        what_only_redis_has_outlives_its_restart,
        who_wins_is_told_though_nobody_knows_what_others_hold,
        who_slept_before_the_epoch_began_makes_nothing_void,
        who_cannot_reach_redis_stops_no_event,
    }
}

/// How many coupons the ledger has of it.
async fn rows(test: &Deployment, event: &EventRecord) -> u32 {
    test.one.ledger.event(event.id).await.expect("an answer").expect("the event").rule.issued
}

/// The event is ready, and from then on no worker runs.
pub(super) async fn lagging(test: &mut Deployment, quantity: u32) -> EventRecord {
    let event = test.event(Strategy::Redis, quantity).await;
    issued(decided(&test.one, &event, "first").await);
    assert_eq!(test.winners(&event).await.len(), 1);
    test.worker = None;
    event
}

/// Claims that win, each of a user of its own.
async fn won(test: &Deployment, event: &EventRecord, users: u32) -> Vec<IssuedCouponRecord> {
    let claims = (0..users).map(|number| {
        let user = format!("user-{number}");
        async move { issued(decided(&test.one, event, &user).await) }
    });
    let mut won = join_all(claims).await;
    won.sort_by_key(|coupon| coupon.sequence);
    won
}

async fn what_is_promised_comes_to_the_ledger_as_it_was_told(mut test: Deployment) {
    let event = lagging(&mut test, 40).await;
    let told = won(&test, &event, 30).await;
    if test.commit == Commit::Kafka {
        // Else the audit appends once more what is not known to be there.
        settled(&test.redis, &event).await;
        assert_eq!(rows(&test, &event).await, 1, "nobody writes");
        let audit = format!("/v1/events/{}/audit", event.id);
        let audit = test.one.admin(Method::GET, &audit, &Value::Null).await.json();
        assert_eq!(audit["pending"], 30, "{audit}");
        assert_eq!(audit["verdict"], "fail", "{audit}");
    }
    test.worker = Some(test.another_worker().await);
    assert_eq!(test.winners(&event).await[1..], told);
}

async fn a_quantity_is_never_lowered_below_what_is_promised(mut test: Deployment) {
    let event = lagging(&mut test, 40).await;
    won(&test, &event, 9).await;
    for (quantity, status) in [(9, 409), (10, 200), (12, 200), (11, 200)] {
        assert_eq!(test.set_quantity(&event, quantity).await, status, "{quantity}");
    }
    issued(decided(&test.one, &event, "last").await);
    assert_eq!(decided(&test.one, &event, "late").await, Decision::SoldOut);
    // A refused change leaves no trace.
    assert_eq!(test.set_quantity(&event, 3).await, 409);
    assert_eq!(test.set_quantity(&event, 12).await, 200);
    test.worker = Some(test.another_worker().await);
    issued(decided(&test.one, &event, "twelfth").await);
    assert_eq!(decided(&test.one, &event, "late").await, Decision::SoldOut);
    assert_eq!(test.winners(&event).await.len(), 12);
}

async fn a_retry_while_the_ledger_lags_is_told_the_same(mut test: Deployment) {
    let event = lagging(&mut test, 40).await;
    let other = test.another().await;
    for coupon in won(&test, &event, 5).await {
        let user = coupon.user_id.as_str();
        assert_eq!(held(decided(&test.one, &event, user).await), coupon);
        assert_eq!(held(decided(&other, &event, user).await), coupon);
    }
    test.act(&event, "pause").await;
    assert_eq!(decided(&other, &event, "late").await, Decision::Paused);
    let told = held(decided(&other, &event, "user-0").await);
    test.worker = Some(test.another_worker().await);
    let winners = test.winners(&event).await;
    assert_eq!(winners.len(), 6);
    assert!(winners.contains(&told), "{told:?}");
}

async fn a_win_is_valid_as_long_as_was_told_whatever_becomes_of_its_coupon(mut test: Deployment) {
    let event = lagging(&mut test, 40).await;
    let other = test.another().await;
    let week = Validity::Days(Days::parse(7).expect("days"));
    let is_of_the_week = |coupon: &IssuedCouponRecord| {
        (coupon.valid_from, coupon.expires_at) == week.of_issue(coupon.issued_at)
    };
    let before = issued(decided(&test.one, &event, "before").await);
    assert!(!is_of_the_week(&before), "{before:?}");
    let change = move |found: &CouponRecord| {
        Ok::<_, Infallible>(CouponDraft { validity: week, ..found.draft.clone() })
    };
    let changed = test.one.ledger.change_coupon(event.coupon_id, change).await.expect("an answer");
    changed.expect("the coupon").expect("it is not refused");
    assert_eq!(held(decided(&other, &event, "before").await), before);
    let after = issued(decided(&other, &event, "after").await);
    assert!(is_of_the_week(&after), "{after:?}");
    // This process has read it before, and what goes in Redis goes for all.
    let late = issued(decided(&test.one, &event, "late").await);
    assert!(is_of_the_week(&late), "{late:?}");
    for (process, coupon) in [(&test.one, &after), (&test.one, &before), (&other, &late)] {
        assert_eq!(held(decided(process, &event, coupon.user_id.as_str()).await), *coupon);
    }
    test.worker = Some(test.another_worker().await);
    assert_eq!(test.winners(&event).await[1..], [before, after, late]);
}

/// Also by the word of the one before: it waits for a worker.
async fn an_event_is_loaded_only_with_all_that_was_promised(mut test: Deployment) {
    let event = lagging(&mut test, 8).await;
    let told = won(&test, &event, 5).await;
    if test.commit == Commit::Kafka {
        test.redis.cli(&["FLUSHALL"]).await;
    } else {
        test.redis.cli(&["HDEL", &key(&event, "meta"), "incarnation"]).await;
    }
    for user in ["user-0", "late"] {
        let began = Instant::now();
        let refused = test.one.handle.claim(claim(&event, user)).await;
        assert!(began.elapsed() < Duration::from_secs(3), "after {:?}", began.elapsed());
        if test.commit == Commit::Kafka {
            assert_eq!(refused, Err(NoVerdict::Undecided(Undecided::Unavailable)), "{user}");
        }
    }
    test.worker = Some(test.another_worker().await);
    assert_eq!(held(decided(&test.one, &event, "user-0").await).id, {
        let of_user = |coupon: &&IssuedCouponRecord| coupon.user_id.as_str() == "user-0";
        told.iter().find(of_user).expect("it has won").id
    });
    let mut left = 0;
    for number in 0..5 {
        match decided(&test.one, &event, &format!("late-{number}")).await {
            Decision::Issued(_) => left += 1,
            Decision::SoldOut => {}
            other => panic!("{other:?}"),
        }
    }
    let late =
        u32::from(matches!(decided(&test.one, &event, "late").await, Decision::AlreadyClaimed(_)));
    assert_eq!(left + late, 2);
    let winners = test.winners(&event).await;
    assert_eq!(winners.len(), 8);
    assert!(told.iter().all(|coupon| winners.contains(coupon)));
}

async fn workers_share_a_drop_and_end_at_any_moment(mut test: Deployment) {
    const QUANTITY: u32 = 500;
    let events =
        [test.event(Strategy::Redis, QUANTITY).await, test.event(Strategy::Redis, QUANTITY).await];
    let other = test.another().await;
    // Before workers come and go: an event is loaded with the help of one.
    for event in &events {
        issued(decided(&other, event, "first").await);
    }
    let mut more = Some(test.another_worker().await);
    let claims = (0..QUANTITY * 2 + 100).map(|number| {
        let event = &events[(number % 2) as usize];
        let process = if number % 3 == 0 { &other } else { &test.one };
        async move {
            let user = format!("user-{number}");
            (number, user.clone(), decided(process, event, &user).await)
        }
    });
    let claims = join_all(claims);
    tokio::pin!(claims);
    // The first ends as soon as the claims are made.
    let mut ends = interval(Duration::from_millis(50));
    ends.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut restarts = 0;
    let told = loop {
        tokio::select! {
            biased;
            told = &mut claims => break told,
            _ = ends.tick() => {
                restarts += 1;
                more = None;
                if restarts % 2 == 1 {
                    more = Some(test.another_worker().await);
                }
            }
        }
    };
    test.worker = None;
    test.worker = Some(test.another_worker().await);
    assert!(restarts > 0, "none has ended in the middle");
    drop(more);
    for (index, event) in events.iter().enumerate() {
        let winners = test.winners(event).await;
        let sequences: Vec<u32> = winners.iter().map(|row| row.sequence.get()).collect();
        assert_eq!(sequences, (1..=QUANTITY).collect::<Vec<_>>());
        for (_, user, decision) in told.iter().filter(|(number, ..)| *number as usize % 2 == index)
        {
            let row = winners.iter().find(|row| row.user_id.as_str() == user);
            match (decision, row) {
                (Decision::Issued(coupon) | Decision::AlreadyClaimed(coupon), Some(row)) => {
                    assert_eq!(coupon, row);
                }
                (Decision::SoldOut, None) => {}
                (decision, row) => panic!("{user} was told {decision:?} and has {row:?}"),
            }
        }
    }
}

/// Several of them wait, as at the height of a drop.
async fn batches_as_large_as_may_be_are_written(mut test: Deployment) {
    const WON: [usize; 4] = [CLAIM_BATCH_MAX, 1, CLAIM_BATCH_MAX - 1, 300];
    let event = test.event(Strategy::Redis, 9_000).await;
    issued(decided(&test.one, &event, "first").await);
    test.worker = None;
    for (batch, won) in WON.into_iter().enumerate() {
        let claims = (0..won).map(|number| claim(&event, &format!("{batch}-{number}"))).collect();
        let outcomes = test.decided_together(claims).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(Decision::Issued(_)))));
    }
    test.worker = Some(test.another_worker().await);
    assert_eq!(test.winners(&event).await.len(), 1 + WON.iter().sum::<usize>());
}

async fn what_only_redis_has_outlives_its_restart(mut test: Deployment) {
    let event = lagging(&mut test, 40).await;
    // Whoever keeps the event does not carry what is as young.
    let told = won(&test, &event, 10).await;
    let before = epoch(&test.redis, &event).await;
    test.redis.kill9();
    test.redis.restart().await;
    for coupon in &told {
        assert_eq!(&held(decided(&test.one, &event, coupon.user_id.as_str()).await), coupon);
    }
    assert!(epoch(&test.redis, &event).await > before, "another incarnation");
    assert_eq!(issued(decided(&test.one, &event, "next").await).sequence.get(), 12);
    assert_eq!(test.winners(&event).await[1..11], told);
}

/// The others go on to promise coupons on Redis's word.
async fn who_cannot_reach_redis_stops_no_event(test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    let redis = test.redis.url();
    let proxy = Proxy::start(&redis).await;
    proxy.refuse(true);
    let admin = process(&proxy.url(&redis), &test.ledger.url(), None).await;
    let act = async |action: &str| {
        let path = format!("/v1/events/{}/{action}", event.id);
        admin.admin(Method::POST, &path, &Value::Null).await
    };
    for action in ["pause", "close"] {
        act(action).await.problem(503, "unavailable");
    }
    issued(decided(&test.one, &event, "lee").await);
    proxy.refuse(false);
    let deadline = Instant::now() + WAIT_MAX;
    while act("close").await.status != 200 {
        assert!(Instant::now() < deadline, "it cannot be closed");
        sleep(POLL).await;
    }
    assert_eq!(decided(&test.one, &event, "park").await, Decision::Closed);
    assert_eq!(test.winners(&event).await.len(), 2);
}

/// The ledger does not answer, and a batch has also claims of those who have won long ago.
async fn who_wins_is_told_though_nobody_knows_what_others_hold(test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    let kims = issued(decided(&test.one, &event, "kim").await);
    assert_eq!(test.winners(&event).await.len(), 1);
    let url = test.ledger.url();
    let proxy = proxy_of(&url).await;
    let change = |limits: &mut Limits| {
        limits.acquire_timeout = Duration::from_secs(2);
        limits.statement_timeout = Duration::from_secs(2);
    };
    let ledger = another_ledger(&proxy.url(&url), change).await;
    let strategy = RedisStrategy::new(connection(&test.redis.url()), ledger, None);
    let knows = strategy.decide(vec![claim(&event, "kim")]).await;
    assert_eq!(knows, [Ok(Decision::AlreadyClaimed(kims))]);

    proxy.cut(Direction::ToServer);
    let told = strategy.decide(vec![claim(&event, "kim"), claim(&event, "lee")]).await;
    assert_eq!(told[0], Err(Undecided::Unavailable));
    let lees = issued(told[1].clone().expect("a verdict"));
    assert_eq!(held(decided(&test.one, &event, "lee").await), lees);
    assert_eq!(test.winners(&event).await.len(), 2);
}

/// A ledger of another process, by way of this address.
pub(super) async fn another_ledger(url: &str, change: impl FnOnce(&mut Limits)) -> Ledger {
    let mut options = LedgerOptions::parse_url(url, Purpose::Visit).expect("a URL");
    change(&mut options.limits);
    let clock = Arc::new(ManualClock::new(draft::OPENS_AT));
    Ledger::open(options, clock).await.expect("the ledger")
}

/// A rebuild waits for the ledger, and another has begun and ended meanwhile: what Redis has
/// promised since is by the word of the present epoch.
async fn who_slept_before_the_epoch_began_makes_nothing_void(mut test: Deployment) {
    let event = lagging(&mut test, 9).await;
    let change = |limits: &mut Limits| {
        limits.readers_max = 1;
        limits.acquire_timeout = WAIT_MAX;
    };
    let ledger = another_ledger(&test.ledger.url(), change).await;
    let sleeper = RedisStrategy::new(connection(&test.redis.url()), ledger.clone(), None);
    let knows = sleeper.decide(vec![claim(&event, "first")]).await;
    assert!(matches!(knows[..], [Ok(Decision::AlreadyClaimed(_))]), "{knows:?}");
    // Has the only connection until it is asked for.
    let reads = loop {
        let mut reads = Box::pin(ledger.event(event.id));
        if reads.as_mut().now_or_never().is_none() {
            break reads;
        }
    };
    let id = event.id;
    let slept = tokio::spawn(async move { sleeper.sync_event(id).await });
    let lock = key(&event, "sync");
    let begins = async {
        while test.redis.cli(&["EXISTS", &lock]).await == "0" {
            sleep(POLL).await;
        }
    };
    timeout(WAIT_MAX, begins).await.expect("it begins");
    test.redis.cli(&["FLUSHALL"]).await;
    let told = issued(decided(&test.one, &event, "kim").await);
    reads.await.expect("an answer");
    slept.await.expect("no fault").expect("it is rebuilt");
    test.worker = Some(test.another_worker().await);
    assert_eq!(held(decided(&test.one, &event, "kim").await), told);
    assert_eq!(test.winners(&event).await.len(), 2);
}
