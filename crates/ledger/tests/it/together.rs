//! Several processes on one database.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use firstcome_core::{Action, Clock};
use firstcome_ledger::{ClaimError, Decision, EventRecord, Ledger, LedgerError, Purpose};

use crate::support::{Place, Store, TestClock, TestLedger, batch, on_every_server, open, verdicts};

on_every_server! {
    two_processes_issue_every_coupon_once,
    two_processes_claim_many_events_in_any_order,
    a_claim_waits_for_no_other_event,
    any_isolation_level_of_the_database_gives_the_same,
    a_change_by_one_process_is_met_by_the_next_claim_of_the_other,
    processes_that_take_turns_meet_what_the_other_has_issued,
    processes_that_start_at_once_migrate_once,
    the_previous_schema_is_brought_up_with_its_rows,
    a_visitor_does_not_migrate,
}

/// Claims for all of these users, in small batches, from each of the processes at once, in an
/// order of its own. What each user was told, by process.
async fn rush(ledgers: &[Ledger], event: &EventRecord, users: u32) -> Vec<BTreeMap<u32, Decision>> {
    let rush = |(process, ledger): (usize, &Ledger)| {
        let (ledger, event) = (ledger.clone(), event.clone());
        tokio::spawn(async move {
            let mut told = BTreeMap::new();
            // 7 and 11 have no factor in common with the number of users.
            let step = [7, 11][process % 2];
            let order: Vec<u32> = (0..users).map(|place| place * step % users).collect();
            for chunk in order.chunks(16) {
                let names: Vec<String> = chunk.iter().map(|user| format!("u{user}")).collect();
                let decisions = verdicts(&ledger, batch(&event, &names)).await;
                told.extend(chunk.iter().copied().zip(decisions));
            }
            told
        })
    };
    let rushes: Vec<_> = ledgers.iter().enumerate().map(rush).collect();
    let mut told = Vec::new();
    for rush in rushes {
        told.push(rush.await.expect("it ends"));
    }
    told
}

/// Checks that exactly so many won, once each, and that nobody was told two things.
fn check(told: &[BTreeMap<u32, Decision>], quantity: u32) {
    let mut sequences = BTreeSet::new();
    let mut holders = BTreeMap::new();
    for (user, decision) in told.iter().flatten() {
        match decision {
            Decision::Issued(coupon) => {
                assert!(sequences.insert(coupon.sequence.get()), "a sequence twice");
                holders.insert(user, coupon.clone());
            }
            Decision::AlreadyClaimed(_) | Decision::SoldOut => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(sequences.into_iter().eq(1..=quantity), "every coupon is issued, without holes");
    for (user, decision) in told.iter().flatten() {
        if let Decision::AlreadyClaimed(coupon) = decision {
            assert_eq!(holders.get(user), Some(coupon));
        }
    }
}

async fn two_processes_issue_every_coupon_once(store: Store) {
    let test = TestLedger::new(store).await;
    let event = test.event(150).await;
    let told = rush(&[test.ledger.clone(), test.another().await], &event, 400).await;
    check(&told, 150);
    assert!(test.ledger.audit(event.id).await.expect("an answer").expect("the event").pass());
}

async fn any_isolation_level_of_the_database_gives_the_same(store: Store) {
    let test = TestLedger::new(store).await;
    let event = test.event(150).await;
    let database = test.place().database();
    if store == Store::Postgres {
        let name = database.name();
        let level = "default_transaction_isolation = 'serializable'";
        database.execute(&format!("ALTER DATABASE {name} SET {level}")).await;
    }
    // MariaDB's own default is REPEATABLE READ.
    let told = rush(&[test.another().await, test.another().await], &event, 400).await;
    check(&told, 150);
}

/// Each process hands in its events in another order: whoever waits for a lock holds none that
/// the other one waits for.
async fn two_processes_claim_many_events_in_any_order(store: Store) {
    let test = TestLedger::new(store).await;
    let mut events = Vec::new();
    for _ in 0..6 {
        events.push(test.event(40).await);
    }
    let other = test.another().await;
    let rush = |ledger: Ledger, events: Vec<EventRecord>, process: &'static str| {
        tokio::spawn(async move {
            for round in 0..20 {
                let user = format!("{process}-{round}");
                let batch = events.iter().flat_map(|event| batch(event, &[&user])).collect();
                let told: Result<_, ClaimError> = ledger.claim(batch).await;
                let told = told.expect("no deadlock");
                assert!(told.iter().all(|it| matches!(it, Ok(Decision::Issued(_)))));
            }
        })
    };
    let backwards: Vec<EventRecord> = events.iter().rev().cloned().collect();
    let (one, two) =
        (rush(test.ledger.clone(), events.clone(), "one"), rush(other, backwards, "two"));
    one.await.expect("it ends");
    two.await.expect("it ends");
    for event in events {
        let audit = test.ledger.audit(event.id).await.expect("an answer").expect("the event");
        assert!(audit.pass());
        assert_eq!(audit.rows, 40);
    }
}

/// However few events there are: all rows of a small table might be read, and locked.
async fn a_claim_waits_for_no_other_event(store: Store) {
    let test = TestLedger::new(store).await;
    let (event, other) = (test.event(5).await, test.event(5).await);
    let held = test.hold(&other).await;
    for user in ["kim", "lee"] {
        let told = verdicts(&test.ledger, batch(&event, &[user])).await;
        assert!(matches!(told[..], [Decision::Issued(_)]), "{told:?}");
    }
    held.rollback().await.expect("the row is let go");
}

async fn a_change_by_one_process_is_met_by_the_next_claim_of_the_other(store: Store) {
    let test = TestLedger::new(store).await;
    let event = test.event(1).await;
    let other = test.another().await;
    let act = |action: Action| {
        let (ledger, clock) = (test.ledger.clone(), Arc::clone(&test.clock));
        async move {
            let act = move |mut event: EventRecord| {
                event.rule = event.rule.apply(action, clock.now())?;
                Ok::<_, firstcome_core::WrongState>(event)
            };
            let changed = ledger.change_event(event.id, act).await.expect("an answer");
            changed.expect("the event").expect("it fits the state");
        }
    };
    let claim = |user: &'static str| {
        let (other, event) = (other.clone(), event.clone());
        async move { verdicts(&other, batch(&event, &[user])).await.remove(0) }
    };
    assert!(matches!(claim("kim").await, Decision::Issued(_)));
    act(Action::Pause).await;
    assert_eq!(claim("lee").await, Decision::Paused);
    act(Action::Resume).await;
    assert_eq!(claim("lee").await, Decision::SoldOut);
    act(Action::Close).await;
    assert_eq!(claim("lee").await, Decision::Closed);
    assert!(matches!(claim("kim").await, Decision::AlreadyClaimed(_)));
}

/// Whatever a process knows of an event from its last batch, another one may have changed.
async fn processes_that_take_turns_meet_what_the_other_has_issued(store: Store) {
    let test = TestLedger::new(store).await;
    let event = test.event(40).await;
    let ledgers = [test.ledger.clone(), test.another().await];
    let mut next = 1;
    for turn in 0..12 {
        let claim = |ledger: Ledger, users: Vec<String>| {
            let batch = batch(&event, &users);
            async move { verdicts(&ledger, batch).await }
        };
        // Each goes on for a while alone, so that it knows the event, and then hears of the other.
        for round in 0..3 {
            let won = claim(ledgers[turn % 2].clone(), vec![format!("u-{turn}-{round}")]).await;
            assert!(matches!(&won[0], Decision::Issued(it) if it.sequence.get() == next));
            next += 1;
        }
        let others = (0..3).map(|round| format!("u-{turn}-{round}")).collect();
        let held = claim(ledgers[(turn + 1) % 2].clone(), others).await;
        assert!(held.iter().all(|held| matches!(held, Decision::AlreadyClaimed(_))), "{held:?}");
    }
    assert!(test.ledger.audit(event.id).await.expect("an answer").expect("the event").pass());
}

async fn processes_that_start_at_once_migrate_once(store: Store) {
    let place = Arc::new(Place::new(store).await);
    let start = || {
        let place = Arc::clone(&place);
        tokio::spawn(async move {
            open(&place, Purpose::Serve, &Arc::new(TestClock::default())).await.expect("it opens")
        })
    };
    let starts: Vec<_> = (0..4).map(|_| start()).collect();
    let mut ledgers = Vec::new();
    for start in starts {
        ledgers.push(start.await.expect("it ends"));
    }
    let applied = place.database().number("SELECT count(*) FROM seaql_migrations").await;
    let options = place.options(Purpose::Visit);
    assert_eq!(Ledger::pending_migrations(&options).await.expect("an answer"), [""; 0]);
    assert_eq!(applied, 6);
    let secret = ledgers[0].secret("cursor").await.expect("an answer");
    for ledger in ledgers {
        assert_eq!(ledger.secret("cursor").await.expect("an answer"), secret, "one for all");
    }
}

/// What the migrations after the first have done, undone.
const FIRST_SCHEMA: &str = "
    DROP TABLE clients;
    ALTER TABLE sessions DROP COLUMN rotated_hash;
    CREATE UNIQUE INDEX issued_coupons_id ON issued_coupons (id);
    CREATE INDEX issued_coupons_user ON issued_coupons (user_id, issued_at);
    ALTER TABLE issued_coupons ADD FOREIGN KEY (event_no) REFERENCES events (no);
    DROP TABLE holders;
    ALTER TABLE events DROP COLUMN unlisted_after;
    ALTER TABLE events DROP COLUMN erased;
    DROP TABLE changes;
    DROP TABLE idempotency_keys;
    ALTER TABLE events DROP COLUMN commit_to;
    ALTER TABLE events DROP COLUMN journal_partition;
    ALTER TABLE events DROP COLUMN fence;
    DROP TABLE journal_positions;
    DROP TABLE journal_skips;
    ALTER TABLE events DROP COLUMN sync_copied;
    ALTER TABLE events DROP COLUMN sync_told_at;
    DELETE FROM seaql_migrations WHERE version > 'm0002'";

async fn the_previous_schema_is_brought_up_with_its_rows(store: Store) {
    let test = TestLedger::new(store).await;
    let event = test.event(10).await;
    let before = test.claim(&event, &["kim", "lee"]).await;
    test.tamper(FIRST_SCHEMA).await;
    if store == Store::Postgres {
        test.tamper("DROP FUNCTION refuse_change").await;
    }
    let options = test.place().options(Purpose::Visit);
    let pending = Ledger::pending_migrations(&options).await.expect("an answer");
    let later = ["m0002_holders", "m0003_clients", "m0004_trail", "m0005_journal", "m0006_syncs"];
    assert_eq!(pending, later);
    let test = test.reopen(Purpose::Serve).await;
    assert_eq!(test.place().database().number("SELECT count(*) FROM holders").await, 2);
    assert_eq!(Ledger::pending_migrations(&options).await.expect("an answer"), [""; 0]);
    let again = test.claim(&event, &["kim", "lee", "park"]).await;
    for (before, again) in before.iter().zip(&again) {
        let (Decision::Issued(won), Decision::AlreadyClaimed(held)) = (before, again) else {
            panic!("{before:?}, then {again:?}");
        };
        assert_eq!(won, held);
    }
    assert!(matches!(&again[2], Decision::Issued(coupon) if coupon.sequence.get() == 3));
    assert!(test.ledger.audit(event.id).await.expect("an answer").expect("the event").pass());
}

async fn a_visitor_does_not_migrate(store: Store) {
    let place = Place::new(store).await;
    let opened = open(&place, Purpose::Visit, &Arc::new(TestClock::default())).await;
    let Err(LedgerError::OlderSchema { missing }) = opened else { panic!("there is no schema") };
    assert_eq!(missing, "m0001_first_tables");
}
