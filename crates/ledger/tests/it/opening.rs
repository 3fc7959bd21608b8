//! Opening: who may, and what is refused.

use std::sync::Arc;

use firstcome_ledger::{LedgerError, LedgerOptions, Purpose};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::support::{TestClock, TestLedger, open};

#[tokio::test]
async fn a_second_server_on_the_same_data_is_refused_and_a_visitor_is_not() {
    let test = TestLedger::new().await;
    let second = open(test.path(), Purpose::Serve, &test.clock).await;
    let Err(LedgerError::InUse { path }) = second else { panic!("the data is in use") };
    assert!(path.ends_with("ledger.lock"));
    open(test.path(), Purpose::Visit, &test.clock).await.expect("a visitor may come");
}

#[tokio::test]
async fn a_newer_schema_is_refused_by_name_and_left_alone() {
    let test = TestLedger::new().await;
    let (path, clock) = (test.path(), Arc::clone(&test.clock));
    let row = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_later', 0)";
    Connection::open(&path).and_then(|db| db.execute(row, [])).expect("the row goes in");
    let Err(error) = open(path, Purpose::Visit, &clock).await else { panic!("it is newer") };
    assert!(error.to_string().contains("m9999_later"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path().join("ledger.db");
    let text = "not a database, ".repeat(1_000);
    std::fs::write(&path, &text).expect("the file is written");
    let opened = open(path.clone(), Purpose::Serve, &Arc::new(TestClock::default())).await;
    let Err(LedgerError::Unusable { path: named, .. }) = opened else { panic!("it is unusable") };
    assert_eq!(named, path);
    assert_eq!(std::fs::read_to_string(&path).expect("it is still there"), text);
}

#[tokio::test]
async fn a_visitor_does_not_make_a_ledger() {
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path().join("ledger.db");
    let opened = open(path.clone(), Purpose::Visit, &Arc::new(TestClock::default())).await;
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

#[cfg(unix)]
#[tokio::test]
async fn a_new_ledger_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;

    let test = TestLedger::new().await;
    let mode = std::fs::metadata(test.path()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
