//! Wins of several events at once.

use firstcome_core::Timestamp;
use firstcome_ledger::{ClaimError, EventRecord, IssuedQuery, NotRecorded, Recorded, Tried};
use firstcome_testkit::proxy::CommitFault;
use sea_orm::ConnectionTrait as _;
use tokio::task::JoinSet;

use super::{begun, next_epoch, proxied, recorded, rows, try_record, user};
use crate::support::{OPENS_AT, Store, TestLedger};

/// The users and places in line of what was recorded.
fn places(recorded: &Result<Recorded, ClaimError>) -> Vec<(&str, u32)> {
    match recorded {
        Ok(Recorded::Held(held)) => {
            held.iter().map(|it| (it.user_id.as_str(), it.sequence.get())).collect()
        }
        other => panic!("{other:?}"),
    }
}

pub(super) async fn wins_of_several_events_are_recorded_together(store: Store, tried: Tried) {
    let test = TestLedger::new(store).await;
    let mut events = Vec::new();
    for _ in 0..3 {
        events.push(begun(&test, 5).await);
    }
    let [a, b, c] = [&events[0], &events[1], &events[2]];
    // One shopper may win of each event; a process that has just started has won none of the last.
    let told = try_record(
        tried,
        &test.ledger,
        &[(c, &[("kim", 2), ("lee", 1)]), (a, &[("kim", 1)]), (b, &[])],
    )
    .await;
    let shown: Vec<_> = told.iter().map(places).collect();
    assert_eq!(shown, [vec![("kim", 2), ("lee", 1)], vec![("kim", 1)], vec![]]);
    for (event, told) in [(c, &told[0]), (a, &told[1])] {
        let Ok(Recorded::Held(held)) = told else { panic!("{told:?}") };
        let mut held = held.clone();
        held.sort_by_key(|coupon| coupon.sequence);
        assert_eq!(rows(&test, event).await, held);
        let read = test.ledger.event(event.id).await.expect("an answer").expect("the event");
        assert_eq!(read.rule.issued as usize, held.len());
    }
    assert_eq!(rows(&test, b).await, []);
    test.listed().await;
    let query = IssuedQuery {
        user_id: user("kim"),
        state: None,
        now: Timestamp::from_micros(OPENS_AT),
        after: None,
        limit: 9,
    };
    assert_eq!(test.ledger.issued_coupons_of(&query).await.expect("a page").len(), 2);
}

pub(super) async fn an_event_that_takes_nothing_hinders_no_other(store: Store, tried: Tried) {
    let test = TestLedger::new(store).await;
    let [fine, full, stopped, rebuilt] = [
        begun(&test, 9).await,
        begun(&test, 1).await,
        begun(&test, 9).await,
        begun(&test, 9).await,
    ];
    let pause = |mut event: EventRecord| {
        event.rule.paused = true;
        Ok::<_, ()>(event)
    };
    let _ = test.ledger.change_event(stopped.id, pause).await.expect("an answer");
    next_epoch(&test, &rebuilt).await;
    let erased = begun(&test, 9).await;
    recorded(tried, &test.ledger, &erased, &[("a", 1)]).await;
    assert!(test.ledger.erase_user(user("a")).await.expect("an answer"));
    let nobody = EventRecord {
        id: firstcome_core::EventId::from_uuid(uuid::Uuid::now_v7()),
        ..fine.clone()
    };
    let told = try_record(
        tried,
        &test.ledger,
        &[
            (&full, &[("a", 1), ("b", 2)]),
            (&stopped, &[("a", 1)]),
            (&fine, &[("a", 1)]),
            (&rebuilt, &[("a", 1)]),
            (&erased, &[("a", 2), ("b", 2)]),
            (&nobody, &[("a", 1)]),
        ],
    )
    .await;
    let refused = |told: &Result<Recorded, ClaimError>| match told {
        Ok(Recorded::Refused(refused)) => *refused,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&told[0]), NotRecorded::Quantity);
    assert_eq!(refused(&told[1]), NotRecorded::Stopped);
    assert_eq!(places(&told[2]), [("a", 1)]);
    assert_eq!(refused(&told[3]), NotRecorded::Epoch { current: 2 });
    let Ok(Recorded::Held(held)) = &told[4] else { panic!("{:?}", told[4]) };
    assert_eq!(held.iter().map(|it| it.sequence.get()).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(refused(&told[5]), NotRecorded::EventNotFound);
    for (event, issued) in [(&full, 0), (&stopped, 0), (&fine, 1), (&rebuilt, 0), (&erased, 2)] {
        assert_eq!(rows(&test, event).await.len(), issued);
    }
}

pub(super) async fn who_holds_a_coupon_of_one_of_several_events_keeps_it(
    store: Store,
    tried: Tried,
) {
    let test = TestLedger::new(store).await;
    let (first, second) = (begun(&test, 9).await, begun(&test, 9).await);
    recorded(tried, &test.ledger, &second, &[("a", 1)]).await;
    let told = try_record(
        tried,
        &test.ledger,
        &[(&first, &[("a", 1), ("b", 2)]), (&second, &[("b", 2), ("a", 3)])],
    )
    .await;
    assert_eq!(places(&told[0]), [("a", 1), ("b", 2)]);
    assert_eq!(places(&told[1]), [("b", 2), ("a", 1)]);
    for event in [&first, &second] {
        assert_eq!(rows(&test, event).await.len(), 2);
    }
}

pub(super) async fn a_sequence_of_somebody_else_is_refused_to_its_event_alone(
    store: Store,
    tried: Tried,
) {
    let test = TestLedger::new(store).await;
    let [first, second, third] =
        [begun(&test, 9).await, begun(&test, 9).await, begun(&test, 9).await];
    recorded(tried, &test.ledger, &second, &[("a", 1)]).await;
    let told = try_record(
        tried,
        &test.ledger,
        &[(&first, &[("b", 1)]), (&second, &[("b", 1)]), (&third, &[("b", 1)])],
    )
    .await;
    assert_eq!(places(&told[0]), [("b", 1)]);
    assert!(
        matches!(told[1], Ok(Recorded::Refused(NotRecorded::Sequence))),
        "somebody else stands there: {:?}",
        told[1]
    );
    assert_eq!(places(&told[2]), [("b", 1)]);
    for event in [&first, &second, &third] {
        assert_eq!(rows(&test, event).await.len(), 1);
    }
}

pub(super) async fn of_several_events_a_lost_commit_is_found_or_done_again(
    store: Store,
    tried: Tried,
) {
    let test = TestLedger::new(store).await;
    let (first, second) = (begun(&test, 9).await, begun(&test, 9).await);
    let (proxy, ledger) = proxied(&test).await;
    for (fault, sequence) in [(CommitFault::LoseReply, 1), (CommitFault::LoseRequest, 2)] {
        proxy.on_commit(fault, 0, 1);
        let of = [("user-1", 1), ("user-2", 2)];
        let of = &of[sequence - 1..sequence];
        let told = try_record(tried, &ledger, &[(&first, of), (&second, of)]).await;
        assert_eq!(proxy.hits(), 1);
        assert!(told.iter().all(|told| places(told) == of), "{told:?}");
    }
    proxy.on_commit(CommitFault::LoseRequest, 0, 2);
    let of = &[("user-3", 3)][..];
    for lost in try_record(tried, &ledger, &[(&first, of), (&second, of)]).await {
        assert!(matches!(lost, Err(ClaimError::InDoubt(_))), "{lost:?}");
    }
    for event in [&first, &second] {
        assert_eq!(rows(&test, event).await.len(), 2);
    }
}

/// Each names them in another order, and both lock them in the same.
pub(super) async fn of_batches_on_the_same_events_all_are_counted(store: Store, tried: Tried) {
    const BATCHES: u32 = 40;
    let test = TestLedger::new(store).await;
    let mut events = Vec::new();
    for _ in 0..6 {
        events.push(begun(&test, 2 * BATCHES).await);
    }
    let mut recording = JoinSet::new();
    for (turn, ledger) in [test.ledger.clone(), test.another().await].into_iter().enumerate() {
        let mut events = events.clone();
        if turn == 1 {
            events.reverse();
        }
        recording.spawn(async move {
            for batch in 0..BATCHES {
                let place = 2 * batch + u32::try_from(turn).expect("few") + 1;
                let name = format!("user-{place}");
                let won = [(name.as_str(), place)];
                let of: Vec<_> = events.iter().map(|event| (event, &won[..])).collect();
                for told in try_record(tried, &ledger, &of).await {
                    assert_eq!(places(&told), won);
                }
            }
        });
    }
    recording.join_all().await;
    for event in &events {
        assert_eq!(rows(&test, event).await.len(), 2 * BATCHES as usize);
    }
}

pub(super) async fn of_several_events_a_change_is_waited_for(store: Store, tried: Tried) {
    let test = TestLedger::new(store).await;
    let (first, second) = (begun(&test, 9).await, begun(&test, 9).await);
    let held = test.hold(&second).await;
    let lower = format!("UPDATE events SET quantity = 1 WHERE no = {}", second.no.get());
    held.execute_unprepared(&lower).await.expect("a change");
    let (ledger, events) = (test.ledger.clone(), [first.clone(), second.clone()]);
    let recording = tokio::spawn(async move {
        let of = &[("a", 1), ("b", 2)][..];
        try_record(tried, &ledger, &[(&events[0], of), (&events[1], of)]).await
    });
    test.somebody_waits().await;
    held.commit().await.expect("the change");
    let told = recording.await.expect("it ends");
    assert_eq!(places(&told[0]), [("a", 1), ("b", 2)]);
    let refused = matches!(told[1], Ok(Recorded::Refused(NotRecorded::Quantity)));
    assert!(refused, "{:?}", told[1]);
    assert_eq!((rows(&test, &first).await.len(), rows(&test, &second).await.len()), (2, 0));
}
