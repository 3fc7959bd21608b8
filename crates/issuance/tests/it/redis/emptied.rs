//! Redis is emptied in the midst of a drop, and it alone has had some of the wins: what is lost,
//! and that nothing else is.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;

use firstcome_core::Strategy;
use firstcome_ledger::{Decision, IssuedCouponRecord};
use futures_util::future::join_all;

use super::crowd::Crowd;
use super::sleepers::run;
use super::{Deployment, decided, held, issued};

mod redis_stream {
    super::super::for_commit! {
        RedisStream: no_more_is_lost_than_what_redis_alone_had,
    }
}

/// In one step: what nobody but Redis has, and nothing any more.
const EMPTY: &str = "local pending = redis.call('HVALS', KEYS[3])
    redis.call('FLUSHALL')
    return pending";

/// The users of batches that are pending: `<first sequence> <user> <user> ...`, perhaps behind
/// `=<validity> `.
fn users_of(pending: &str) -> HashSet<&str> {
    let words = pending.lines().flat_map(|batch| {
        let words = batch.split(' ').skip_while(|word| word.starts_with('=') || word.is_empty());
        words.skip(1)
    });
    words.collect()
}

async fn no_more_is_lost_than_what_redis_alone_had(mut test: Deployment) {
    const QUANTITY: u32 = 1_500;
    /// Wins that are written before the crowd comes, and verdicts of each part of the drop.
    const DECIDED: usize = 100;
    let other = test.another().await;
    let event = test.event(Strategy::Redis, QUANTITY).await;
    let early = (0..DECIDED).map(async |number| {
        let user = format!("early-{number}");
        let won = issued(decided(&test.one, &event, &user).await);
        (user, Decision::Issued(won))
    });
    let mut told = join_all(early).await;
    assert_eq!(test.winners(&event).await.len(), DECIDED);
    let crowd = Crowd::gather(&event, [&test.one, &other]);
    crowd.is_decided(DECIDED).await;
    test.worker = None;
    crowd.is_decided(DECIDED).await;
    let before = test.rows(&event).await;
    let pending = run(&test, EMPTY, &event, &[]).await;
    let pending = users_of(&pending);
    assert!(!pending.is_empty(), "there is nothing to lose");
    // It comes back by itself, within 30 seconds, and needs no worker.
    crowd.is_decided(DECIDED).await;
    test.worker = Some(test.another_worker().await);
    told.extend(crowd.sold_out().await.1);

    let winners = test.winners(&event).await;
    assert_eq!(winners.len(), QUANTITY as usize);
    let winners: BTreeMap<&str, &IssuedCouponRecord> =
        winners.iter().map(|row| (row.user_id.as_str(), row)).collect();
    assert_eq!(winners.len(), QUANTITY as usize, "nobody has two");
    for row in &before {
        assert_eq!(winners.get(row.user_id.as_str()), Some(&row), "the ledger had it");
    }
    let again = told.iter().enumerate().map(|(number, (user, _))| {
        let process = if number % 2 == 0 { &test.one } else { &other };
        decided(process, &event, user)
    });
    let mut lost = HashSet::new();
    for ((user, decision), again) in told.iter().zip(join_all(again).await) {
        let row = winners.get(user.as_str());
        match (decision, row) {
            (Decision::Issued(coupon) | Decision::AlreadyClaimed(coupon), Some(row)) => {
                assert_eq!(coupon, *row);
                assert_eq!(held(again), *coupon);
            }
            (Decision::Issued(_) | Decision::AlreadyClaimed(_), None) => {
                assert_eq!(again, Decision::SoldOut);
                lost.insert(user.as_str());
            }
            (Decision::SoldOut, None) => assert_eq!(again, Decision::SoldOut),
            (decision, row) => panic!("{user} was told {decision:?} and has {row:?}"),
        }
    }
    let (count, of) = (lost.len(), pending.len());
    // Told where the test passes, too.
    let _ = writeln!(std::io::stderr(), "{count} of {of} wins that Redis alone had are lost");
    assert!(lost.is_subset(&pending), "{:?}", lost.difference(&pending));
}
