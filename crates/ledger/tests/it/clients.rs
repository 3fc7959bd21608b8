//! Clients: made, found, listed, deleted.

use firstcome_core::{ClientId, Name, Timestamp};
use firstcome_ledger::{ClientRecord, LedgerError, NewClient};
use uuid::Uuid;

use crate::support::{OPENS_AT, Store, TestLedger, on_every_store};

on_every_store! {
    a_client_is_found_with_the_hash_of_its_secret,
    an_id_is_taken_once,
    pages_are_newest_first_without_gap_or_repeat,
    a_deleted_client_is_none_and_stays_so,
}

fn new_client(name: &str) -> NewClient {
    NewClient {
        id: ClientId::from_uuid(Uuid::now_v7()),
        name: Name::parse(name).expect("a name"),
        scope: "admin redeem".to_owned(),
        secret_hash: [7; 32],
    }
}

async fn client(test: &TestLedger, name: &str) -> ClientRecord {
    test.ledger.create_client(new_client(name)).await.expect("an answer")
}

async fn a_client_is_found_with_the_hash_of_its_secret(store: Store) {
    let test = TestLedger::new(store).await;
    let made = client(&test, "체크아웃 🛒").await;
    assert_eq!(made.created_at, Timestamp::from_micros(OPENS_AT));
    assert_eq!((made.name.as_str(), made.scope.as_str()), ("체크아웃 🛒", "admin redeem"));
    let found = test.ledger.client(made.id).await.expect("an answer");
    assert_eq!(found, Some((made, [7; 32])));
    let nobody = ClientId::from_uuid(Uuid::now_v7());
    assert_eq!(test.ledger.client(nobody).await.expect("an answer"), None);
}

async fn an_id_is_taken_once(store: Store) {
    let test = TestLedger::new(store).await;
    let made = client(&test, "one").await;
    let again = NewClient { id: made.id, ..new_client("two") };
    let refused = test.ledger.create_client(again).await;
    assert!(matches!(refused, Err(LedgerError::Duplicate)), "{refused:?}");
    let found = test.ledger.client(made.id).await.expect("an answer").expect("the client");
    assert_eq!(found.0, made);
}

async fn pages_are_newest_first_without_gap_or_repeat(store: Store) {
    let test = TestLedger::new(store).await;
    let mut made = Vec::new();
    for number in 0..5 {
        made.push(client(&test, &format!("client {number}")).await);
    }
    assert!(test.ledger.delete_client(made.remove(2).id).await.expect("an answer"));
    made.reverse();
    let (mut walked, mut after) = (Vec::new(), None);
    loop {
        let page = test.ledger.clients(after, 3).await.expect("an answer");
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        walked.extend(page);
    }
    assert_eq!(walked, made);
}

async fn a_deleted_client_is_none_and_stays_so(store: Store) {
    let test = TestLedger::new(store).await;
    let (made, other) = (client(&test, "one").await, client(&test, "other").await);
    assert!(test.ledger.delete_client(made.id).await.expect("an answer"));
    assert!(!test.ledger.delete_client(made.id).await.expect("an answer"));
    let nobody = ClientId::from_uuid(Uuid::now_v7());
    assert!(!test.ledger.delete_client(nobody).await.expect("an answer"));
    assert_eq!(test.ledger.client(made.id).await.expect("an answer"), None);
    assert!(test.ledger.client(other.id).await.expect("an answer").is_some());
}
