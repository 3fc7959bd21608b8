//! Erasing a user: nothing is left that tells who it was, and nobody gets a second coupon by it.

use std::time::Duration;

use firstcome_core::{AccountId, Email, EventId, Timestamp, UserId};
use firstcome_ledger::{
    By, ChangeQuery, Decision, EventRecord, IssuedCouponRecord, IssuedQuery, Ledger, NewAccount,
    NewSession, PasswordHash, Purpose, Resource,
};
use sea_orm::{ConnectionTrait as _, Database, Statement, TransactionTrait as _};
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::{
    HOUR, OPENS_AT, Store, TestLedger, batch, on_every_server, on_every_store, verdicts,
};

on_every_store! {
    an_erased_user_leaves_a_pseudonym,
    a_pseudonym_that_nobody_was_given_fails_the_audit,
    an_erased_user_gets_no_second_coupon,
    an_account_goes_with_its_sessions_and_frees_its_address,
    who_left_nothing_is_not_found,
    the_trail_names_no_foreign_user,
    a_user_who_claims_meanwhile_is_erased_all_the_same,
}

mod listed {
    use super::{holders_are_listed_under_the_pseudonym, nobody_lists_holders_during_an_erasure};

    super::on_every_server! {
        holders_are_listed_under_the_pseudonym,
        nobody_lists_holders_during_an_erasure,
    }
}

fn user(id: &str) -> UserId {
    UserId::parse(id).expect("a user id")
}

async fn erase(ledger: &Ledger, id: &str) -> bool {
    ledger.erase_user(user(id)).await.expect("the ledger answers")
}

fn won(decision: &Decision) -> &IssuedCouponRecord {
    match decision {
        Decision::Issued(coupon) => coupon,
        other => panic!("not won: {other:?}"),
    }
}

async fn issued(test: &TestLedger, event: &EventRecord) -> Vec<IssuedCouponRecord> {
    test.ledger.issued_coupons_of_event(event.no, None, 100).await.expect("the ledger answers")
}

async fn held(ledger: &Ledger, id: &str) -> usize {
    let now = Timestamp::from_micros(OPENS_AT);
    let query = IssuedQuery { user_id: user(id), state: None, now, after: None, limit: 100 };
    ledger.issued_coupons_of(&query).await.expect("the ledger answers").len()
}

async fn check_audit(test: &TestLedger, event: EventId) {
    let audit = test.ledger.audit(event).await.expect("an answer").expect("the event");
    assert!(audit.pass(), "{audit:?}");
}

async fn an_erased_user_leaves_a_pseudonym(store: Store) {
    let test = TestLedger::new(store).await;
    let events = [test.event(10).await, test.event(10).await];
    for event in &events {
        test.claim(event, &["kim", "lee"]).await;
    }
    assert!(erase(&test.ledger, "kim").await);
    assert_eq!((held(&test.ledger, "kim").await, held(&test.ledger, "lee").await), (0, 2));
    let mut pseudonyms = Vec::new();
    for event in &events {
        let [kims, lees] = &issued(&test, event).await[..] else { panic!("two coupons") };
        assert!(kims.user_id.as_str().starts_with("erased-"), "{kims:?}");
        assert_eq!((kims.sequence.get(), lees.user_id.as_str()), (1, "lee"));
        pseudonyms.push(kims.user_id.clone());
        check_audit(&test, event.id).await;
    }
    assert_eq!(pseudonyms[0], pseudonyms[1], "who it was is not known, that it was one is");
    let kims = held(&test.ledger, pseudonyms[0].as_str()).await;
    assert_eq!(kims, 2);
}

async fn a_pseudonym_that_nobody_was_given_fails_the_audit(store: Store) {
    let test = TestLedger::new(store).await;
    let event = test.event(10).await;
    test.claim(&event, &["kim", "lee"]).await;
    let test = if store == Store::Sqlite { test.settle().await } else { test };
    let pseudonym = "erased-8bb35bf92808f4910db29d10d6f41924";
    let sql = format!("UPDATE issued_coupons SET user_id = '{pseudonym}' WHERE user_id = 'lee'");
    test.tamper(&sql).await;
    let audit = test.ledger.audit(event.id).await.expect("an answer").expect("the event");
    let ids = audit.checks.iter().find(|check| check.name == "ids_match");
    assert!(ids.is_some_and(|check| !check.pass), "{audit:?}");
}

async fn an_erased_user_gets_no_second_coupon(store: Store) {
    let test = TestLedger::new(store).await;
    let (event, other) = (test.event(3).await, test.event(3).await);
    // By now a process on a server knows the event, and would issue without a look.
    let before = test.claim(&event, &["kim"]).await;
    test.claim(&event, &["lee"]).await;
    assert!(erase(&test.ledger, "kim").await);
    // A batch on one event is what a server takes in one message.
    let at_once = test.claim(&event, &["kim"]).await;
    assert!(matches!(at_once[0], Decision::AlreadyClaimed(_)), "{at_once:?}");
    let test = if store == Store::Sqlite { test.settle().await } else { test };
    let later = test.claim(&event, &["kim"]).await;
    assert!(matches!(later[0], Decision::AlreadyClaimed(_)), "{later:?}");
    let mut both = batch(&event, &["kim", "park", "choi"]);
    both.extend(batch(&other, &["kim"]));
    let again = verdicts(&test.ledger, both).await;
    let Decision::AlreadyClaimed(again_kims) = &again[0] else { panic!("{again:?}") };
    let first = won(&before[0]);
    assert_eq!((again_kims.id, again_kims.sequence), (first.id, first.sequence));
    assert_eq!(again_kims.code, first.code);
    assert_ne!(again_kims.user_id, first.user_id);
    assert_eq!(won(&again[1]).sequence.get(), 3);
    assert_eq!(again[2], Decision::SoldOut);
    assert_eq!(won(&again[3]).user_id, user("kim"), "of another event it is a claim like any");
    check_audit(&test, event.id).await;
    check_audit(&test, other.id).await;
}

async fn account(ledger: &Ledger, email: &str) -> AccountId {
    let new = NewAccount {
        id: AccountId::from_uuid(Uuid::now_v7()),
        email: Email::parse(email).expect("an address"),
        password_hash: PasswordHash::new("$argon2id$".to_owned()),
        scope: "user".to_owned(),
    };
    let made = ledger.create_account(new).await.expect("the ledger answers");
    made.expect("the address is free").id
}

async fn an_account_goes_with_its_sessions_and_frees_its_address(store: Store) {
    let test = TestLedger::new(store).await;
    let (kim, lee) = (
        account(&test.ledger, "kim@example.com").await,
        account(&test.ledger, "lee@example.com").await,
    );
    for (account_id, hash) in [(kim, 1), (kim, 2), (lee, 3)] {
        let expires_at = Timestamp::from_micros(OPENS_AT + HOUR);
        let id = Uuid::now_v7();
        let new = NewSession { id, account_id, refresh_hash: [hash; 32], expires_at };
        test.ledger.create_session(new).await.expect("the ledger answers");
    }
    let upper = kim.to_string().to_uppercase();
    assert!(!erase(&test.ledger, &upper).await, "that is another user");
    assert!(erase(&test.ledger, &kim.to_string()).await);
    assert_eq!(test.ledger.account(kim).await.expect("an answer"), None);
    for (hash, is_there) in [(1, false), (2, false), (3, true)] {
        let session = test.ledger.session_by_refresh_hash(&[hash; 32]).await.expect("an answer");
        assert_eq!(session.is_some(), is_there);
    }
    assert_ne!(account(&test.ledger, "kim@example.com").await, kim);
    assert!(test.ledger.account(lee).await.expect("an answer").is_some());
}

async fn who_left_nothing_is_not_found(store: Store) {
    let test = TestLedger::new(store).await;
    let by = By { actor: user("admin"), action: "erase", request_id: "r".to_owned() };
    assert!(!erase(&test.ledger.by(by), "nobody").await);
    assert_eq!(changes(&test.ledger).await, []);
    let event = test.event(10).await;
    test.claim(&event, &["kim"]).await;
    assert!(erase(&test.ledger, "kim").await);
    assert!(!erase(&test.ledger, "kim").await, "of whom nothing is left any more");
}

async fn changes(ledger: &Ledger) -> Vec<(Resource, String)> {
    let query = ChangeQuery { limit: 100, ..ChangeQuery::default() };
    let changes = ledger.changes(&query).await.expect("the ledger answers");
    changes.into_iter().map(|change| (change.resource, change.resource_id)).collect()
}

async fn the_trail_names_no_foreign_user(store: Store) {
    let test = TestLedger::new(store).await;
    let by = By { actor: user("admin"), action: "erase", request_id: "r".to_owned() };
    let ledger = test.ledger.by(by);
    let event = test.event(10).await;
    test.claim(&event, &["kim@example.com"]).await;
    assert!(erase(&ledger, "kim@example.com").await);
    let pseudonym = issued(&test, &event).await[0].user_id.as_str().to_owned();
    assert_eq!(changes(&ledger).await, [(Resource::User, pseudonym)]);
    let lee = account(&test.ledger, "lee@example.com").await.to_string();
    test.claim(&event, &[lee.as_str()]).await;
    assert!(erase(&ledger, &lee).await);
    assert_eq!(changes(&ledger).await[0], (Resource::User, lee));
}

async fn a_user_who_claims_meanwhile_is_erased_all_the_same(store: Store) {
    let test = TestLedger::new(store).await;
    let mut events = Vec::new();
    for _ in 0..12 {
        events.push(test.event(100).await);
    }
    let mut work = JoinSet::new();
    for chunk in events.chunks(4) {
        let (ledger, chunk) = (test.ledger.clone(), chunk.to_vec());
        work.spawn(async move {
            for event in &chunk {
                ledger.claim(batch(event, &["kim", "lee"])).await.expect("verdicts");
            }
        });
    }
    for _ in 0..3 {
        let ledger = test.ledger.clone();
        work.spawn(async move {
            erase(&ledger, "kim").await;
        });
    }
    work.join_all().await;
    erase(&test.ledger, "kim").await;
    assert_eq!((held(&test.ledger, "kim").await, held(&test.ledger, "lee").await), (0, 12));
    for event in &events {
        assert_eq!(issued(&test, event).await.len(), 2);
        let again = test.claim(event, &["kim"]).await;
        assert!(matches!(again[0], Decision::AlreadyClaimed(_)), "{again:?}");
        check_audit(&test, event.id).await;
    }
}

async fn holders_are_listed_under_the_pseudonym(store: Store) {
    for listed_first in [true, false] {
        let test = TestLedger::new(store).await.reopen(Purpose::Visit).await;
        let event = test.event(10).await;
        test.claim(&event, &["kim", "lee"]).await;
        let test = if listed_first {
            let test = test.reopen(Purpose::Serve).await;
            test.listed().await;
            test
        } else {
            test
        };
        assert!(erase(&test.ledger, "kim").await);
        let test = test.reopen(Purpose::Serve).await;
        test.listed().await;
        let left = "SELECT count(*) FROM holders WHERE user_id = 'kim'";
        assert_eq!(test.place().database().number(left).await, 0);
        assert_eq!(held(&test.ledger, "lee").await, 1);
        check_audit(&test, event.id).await;
    }
}

/// A list made of what an erasure is about to change would name the user for ever.
async fn nobody_lists_holders_during_an_erasure(store: Store) {
    const WAIT_MAX: Duration = Duration::from_secs(20);
    let test = TestLedger::new(store).await.reopen(Purpose::Visit).await;
    let event = test.event(10).await;
    test.claim(&event, &["kim", "lee"]).await;
    let database = Database::connect(test.place().database().url()).await.expect("a connection");
    let holds_up = database.begin().await.expect("a transaction");
    let theirs = "SELECT user_id FROM issued_coupons WHERE user_id = 'kim' FOR UPDATE";
    holds_up.execute_unprepared(theirs).await.expect("the row");
    let ledger = test.ledger.clone();
    let erasing = tokio::spawn(async move { erase(&ledger, "kim").await });

    // What whoever lists takes first, or goes away without.
    let turn = "SELECT name FROM secrets WHERE name = 'code' FOR UPDATE SKIP LOCKED";
    let turn = Statement::from_string(database.get_database_backend(), turn);
    let is_free = async || database.query_one_raw(turn.clone()).await.expect("an answer").is_some();
    let kept_off = timeout(WAIT_MAX, async { while is_free().await {} }).await;
    assert!(kept_off.is_ok() && !erasing.is_finished(), "holders could be listed meanwhile");
    holds_up.rollback().await.expect("the row is let go");
    assert!(erasing.await.expect("no panic"));
    assert!(is_free().await, "the turn is given back");
}
