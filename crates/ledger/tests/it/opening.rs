//! Opening: who may, and what is refused.

use std::sync::Arc;

use firstcome_core::Commit;
use firstcome_ledger::{Decision, Ledger, LedgerError, LedgerOptions, Purpose};

use crate::support::{Place, Store, TestClock, TestLedger, on_every_store, open};

on_every_store! {
    a_newer_schema_is_refused_by_name_and_left_alone,
    the_schema_before_journals_is_brought_up_with_its_rows,
}

#[tokio::test]
async fn a_second_server_on_the_same_data_is_refused_and_a_visitor_is_not() {
    let test = TestLedger::new(Store::Sqlite).await;
    let second = open(test.place(), Purpose::Serve, &test.clock).await;
    let Err(LedgerError::InUse { path }) = second else { panic!("the data is in use") };
    assert!(path.ends_with("ledger.lock"));
    open(test.place(), Purpose::Visit, &test.clock).await.expect("a visitor may come");
}

async fn a_newer_schema_is_refused_by_name_and_left_alone(store: Store) {
    let test = TestLedger::new(store).await;
    test.tamper("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_later', 0)")
        .await;
    let Err(error) = open(test.place(), Purpose::Visit, &test.clock).await else {
        panic!("it is newer")
    };
    assert!(error.to_string().contains("m9999_later"), "{error}");
}

/// What the migration for journals has done, undone.
const BEFORE_JOURNALS: &str = "
    ALTER TABLE events DROP COLUMN commit_to;
    ALTER TABLE events DROP COLUMN journal_partition;
    ALTER TABLE events DROP COLUMN fence;
    DROP TABLE journal_positions;
    DROP TABLE journal_skips;
    DELETE FROM seaql_migrations WHERE version = 'm0005_journal'";

async fn the_schema_before_journals_is_brought_up_with_its_rows(store: Store) {
    let test = TestLedger::new(store).await;
    let event = test.event(10).await;
    let before = test.claim(&event, &["kim", "lee"]).await;
    test.tamper(BEFORE_JOURNALS).await;
    let options = test.place().options(Purpose::Visit);
    let pending = Ledger::pending_migrations(&options).await.expect("an answer");
    assert_eq!(pending, ["m0005_journal"]);
    let test = test.reopen(Purpose::Serve).await;
    let found = test.ledger.event(event.id).await.expect("an answer").expect("the event");
    assert_eq!((found.commit, found.partition, found.fence), (Commit::Ledger, None, 0));
    assert_eq!(test.ledger.journal_positions("claims").await.expect("an answer"), []);
    let again = test.claim(&event, &["kim", "lee", "park"]).await;
    for (before, again) in before.iter().zip(&again) {
        let (Decision::Issued(won), Decision::AlreadyClaimed(held)) = (before, again) else {
            panic!("{before:?}, then {again:?}");
        };
        assert_eq!(won, held);
    }
    assert!(matches!(again[2], Decision::Issued(_)));
    assert!(test.ledger.audit(event.id).await.expect("an answer").expect("the event").pass());
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let place = Place::new(Store::Sqlite).await;
    let path = place.path();
    let text = "not a database, ".repeat(1_000);
    std::fs::write(&path, &text).expect("the file is written");
    let opened = open(&place, Purpose::Serve, &Arc::new(TestClock::default())).await;
    let Err(LedgerError::Unusable { path: named, .. }) = opened else { panic!("it is unusable") };
    assert_eq!(named, path);
    assert_eq!(std::fs::read_to_string(&path).expect("it is still there"), text);
}

#[tokio::test]
async fn a_visitor_does_not_make_a_ledger() {
    let place = Place::new(Store::Sqlite).await;
    let path = place.path();
    let opened = open(&place, Purpose::Visit, &Arc::new(TestClock::default())).await;
    assert!(opened.is_err());
    assert!(!path.exists());
}

#[test]
fn a_url_of_another_database_is_refused_without_its_password() {
    for url in ["oracle://app:hunter2@db/firstcome", "redis://a:hunter2@b/c", "sqlite:", ""] {
        let refused = LedgerOptions::parse_url(url, Purpose::Serve);
        let Err(LedgerError::UnsupportedUrl { url: shown }) = refused else { panic!("{url}") };
        assert!(!shown.contains("hunter2"));
    }
    let options = LedgerOptions::parse_url("sqlite:./data/ledger.db", Purpose::Serve);
    assert_eq!(options.expect("a path").shown(), "./data/ledger.db");
}

#[test]
fn what_is_wrong_in_a_url_is_named_without_its_password() {
    for (url, named) in [
        ("postgres://app:hunter2@db", "names no database"),
        ("mysql://app:hunter2@db/", "names no database"),
        ("postgres://app:hunter2@db/shop?sslmod=require", "sslmod"),
        ("mysql://app:hunter2@db/shop?sslmode=x&charset=latin1", "sslmode"),
        ("postgres://app:hunter2@db/shop?options=-c%20fsync%3Doff", "options"),
        ("postgres://app:hunter2@db:port/shop", "port"),
        ("postgres://app:hunter2@db/shop?sslmode=perhaps", "perhaps"),
    ] {
        let refused = LedgerOptions::parse_url(url, Purpose::Serve);
        let Err(error @ LedgerError::Url { .. }) = refused else { panic!("{url}: {refused:?}") };
        let said = error.to_string();
        assert!(said.contains(named) && !said.contains("hunter2"), "{said}");
    }
    let options = LedgerOptions::parse_url("postgres://app:hunter2@db:1/shop", Purpose::Serve);
    assert_eq!(options.expect("an address").shown(), "postgres://app@db:1/shop");
}

#[cfg(unix)]
#[tokio::test]
async fn a_new_ledger_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;

    let test = TestLedger::new(Store::Sqlite).await;
    let mode = std::fs::metadata(test.path()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
