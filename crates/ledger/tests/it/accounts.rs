//! Accounts.

use firstcome_core::{AccountId, Email, Timestamp};
use firstcome_ledger::{AccountRecord, EmailTaken, NewAccount, PasswordHash};
use uuid::Uuid;

use crate::support::{OPENS_AT, Store, TestLedger, on_every_store};

on_every_store! {
    an_account_is_found_by_id_and_by_address,
    an_address_has_one_account,
    a_scope_is_set_and_an_admin_found,
}

const HASH: &str = "$argon2id$secret";

fn new_account(email: &str) -> NewAccount {
    NewAccount {
        id: AccountId::from_uuid(Uuid::now_v7()),
        email: Email::parse(email).expect("an address"),
        password_hash: PasswordHash::new(HASH.to_owned()),
        scope: "user".to_owned(),
    }
}

pub(crate) async fn account(test: &TestLedger, email: &str) -> AccountRecord {
    let made = test.ledger.create_account(new_account(email)).await.expect("the ledger answers");
    made.expect("the address is free")
}

async fn an_account_is_found_by_id_and_by_address(store: Store) {
    let test = TestLedger::new(store).await;
    let made = account(&test, "kim@example.com").await;
    assert_eq!(made.created_at, Timestamp::from_micros(OPENS_AT));
    assert_eq!(test.ledger.account(made.id).await.expect("an answer").as_ref(), Some(&made));
    let found = test.ledger.account_by_email(&made.email).await.expect("an answer");
    let (found, hash) = found.expect("the account");
    assert_eq!((found, hash.expose()), (made, HASH));

    let other = new_account("lee@example.com");
    assert_eq!(test.ledger.account(other.id).await.expect("an answer"), None);
    assert_eq!(test.ledger.account_by_email(&other.email).await.expect("an answer"), None);
}

async fn an_address_has_one_account(store: Store) {
    let test = TestLedger::new(store).await;
    let made = account(&test, "kim@example.com").await;
    let again = test.ledger.create_account(new_account("Kim@Example.com")).await;
    assert_eq!(again.expect("the ledger answers"), Err(EmailTaken));
    assert_eq!(test.ledger.account(made.id).await.expect("an answer"), Some(made));
    account(&test, "lee@example.com").await;
}

async fn a_scope_is_set_and_an_admin_found(store: Store) {
    let test = TestLedger::new(store).await;
    let made = account(&test, "admin@example.com").await;
    assert!(!test.ledger.any_admin().await.expect("an answer"));
    let changed = test.ledger.set_scope(made.id, "user admin".to_owned()).await;
    let changed = changed.expect("an answer").expect("the account");
    assert_eq!(changed, AccountRecord { scope: "user admin".to_owned(), ..made });
    assert!(test.ledger.any_admin().await.expect("an answer"));
    let nobody = AccountId::from_uuid(Uuid::now_v7());
    assert_eq!(test.ledger.set_scope(nobody, "user".to_owned()).await.expect("an answer"), None);
}

#[test]
fn a_hash_is_never_shown() {
    let shown = format!("{:?}", new_account("kim@example.com"));
    assert!(!shown.contains("secret") && shown.contains("kim@example.com"), "{shown}");
}
