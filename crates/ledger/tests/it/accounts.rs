//! Accounts and sessions.

use firstcome_core::{AccountId, Email, Timestamp};
use firstcome_ledger::{AccountRecord, EmailTaken, NewAccount, NewSession, PasswordHash};
use uuid::Uuid;

use crate::support::{HOUR, OPENS_AT, Store, TestLedger, on_every_store};

on_every_store! {
    an_account_is_found_by_id_and_by_address,
    an_address_has_one_account,
    a_scope_is_set_and_an_admin_found,
    a_session_lives_until_it_expires_or_is_revoked,
    a_new_session_sweeps_out_the_ended_ones_of_its_account_alone,
    a_session_of_no_account_is_not_made,
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

fn new_session(account_id: AccountId, secret: u8) -> NewSession {
    let expires_at = Timestamp::from_micros(OPENS_AT + HOUR);
    NewSession { id: Uuid::now_v7(), account_id, refresh_hash: [secret; 32], expires_at }
}

async fn account(test: &TestLedger, email: &str) -> AccountRecord {
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

async fn a_session_lives_until_it_expires_or_is_revoked(store: Store) {
    let test = TestLedger::new(store).await;
    let account = account(&test, "kim@example.com").await;
    let made = test.ledger.create_session(new_session(account.id, 1)).await.expect("an answer");
    let found =
        || async { test.ledger.session_by_refresh_hash(&[1; 32]).await.expect("an answer") };
    assert_eq!(found().await, Some(made.clone()));
    assert_eq!(test.ledger.session_by_refresh_hash(&[2; 32]).await.expect("an answer"), None);
    assert!(made.is_live(Timestamp::from_micros(OPENS_AT + HOUR - 1)));
    assert!(!made.is_live(made.expires_at));

    test.clock.set(OPENS_AT + 1);
    test.ledger.revoke_session(made.id).await.expect("an answer");
    test.clock.set(OPENS_AT + 2);
    test.ledger.revoke_session(made.id).await.expect("the second time changes nothing");
    let revoked = found().await.expect("the session");
    assert_eq!(revoked.revoked_at, Some(Timestamp::from_micros(OPENS_AT + 1)));
    assert!(!revoked.is_live(Timestamp::from_micros(OPENS_AT)));
}

async fn a_new_session_sweeps_out_the_ended_ones_of_its_account_alone(store: Store) {
    let test = TestLedger::new(store).await;
    let (kim, lee) = (account(&test, "kim@a.example").await, account(&test, "lee@a.example").await);
    for (holder, secret) in [(&kim, 1), (&kim, 2), (&lee, 3)] {
        let made = test.ledger.create_session(new_session(holder.id, secret)).await;
        let made = made.expect("an answer");
        if secret == 1 {
            test.ledger.revoke_session(made.id).await.expect("an answer");
        }
    }
    let kept = async |secret| {
        let found = test.ledger.session_by_refresh_hash(&[secret; 32]).await;
        found.expect("an answer").is_some()
    };
    assert!(!kept(1).await && kept(2).await && kept(3).await);
    test.clock.set(OPENS_AT + HOUR);
    let expires_at = Timestamp::from_micros(OPENS_AT + 2 * HOUR);
    let next = NewSession { expires_at, ..new_session(kim.id, 4) };
    test.ledger.create_session(next).await.expect("an answer");
    assert!(!kept(2).await && kept(3).await && kept(4).await);
}

async fn a_session_of_no_account_is_not_made(store: Store) {
    let test = TestLedger::new(store).await;
    let nobody = AccountId::from_uuid(Uuid::now_v7());
    assert!(test.ledger.create_session(new_session(nobody, 1)).await.is_err());
    assert_eq!(test.ledger.session_by_refresh_hash(&[1; 32]).await.expect("an answer"), None);
}

#[test]
fn a_hash_is_never_shown() {
    let shown = format!("{:?}", new_account("kim@example.com"));
    assert!(!shown.contains("secret") && shown.contains("kim@example.com"), "{shown}");
}
