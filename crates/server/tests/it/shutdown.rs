//! Stopping in the midst of a drop: every accepted claim is answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use firstcome_testkit::Wire;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::shop::{Shop, lasting};

const CONNECTIONS: usize = 32;
const USERS: usize = 4_000;
/// The server is asked to stop after so many wins.
const WINS_BEFORE: usize = 200;

/// Claims for one user after another until the server closes the connection.
async fn client(
    authority: String,
    event: String,
    tokens: Arc<Vec<String>>,
    next: Arc<AtomicUsize>,
    won: mpsc::UnboundedSender<Value>,
) {
    let what = format!("POST /v1/events/{event}/claims");
    let mut wire = Wire::connect(&authority).await.expect("the server listens");
    while let Some(token) = tokens.get(next.fetch_add(1, Ordering::Relaxed)) {
        if wire.request(&what, token, "").await.is_err() {
            return;
        }
        // The server may close an idle connection in the very moment of the next request: that
        // one was not accepted, and the ledger must not know of it.
        let Ok(answer) = wire.answer().await else { return };
        let issued = answer.expect(201).json();
        if won.send(issued).is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_accepted_claim_is_answered() {
    let mut shop = Shop::open().await;
    let event = shop.event(10_000).await;
    let tokens = Arc::new(shop.server.tokens("shopper", USERS).await);
    let (sender, mut wins) = mpsc::unbounded_channel();
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let authority = shop.server.authority().to_owned();
        let (tokens, next) = (Arc::clone(&tokens), Arc::clone(&next));
        clients.spawn(client(authority, event.clone(), tokens, next, sender.clone()));
    }
    drop(sender);
    let mut won: BTreeMap<String, Value> = BTreeMap::new();
    while let Some(issued) = wins.recv().await {
        won.insert(issued["user_id"].as_str().expect("a user").to_owned(), lasting(&issued));
        if won.len() == WINS_BEFORE {
            shop.server.ask_to_stop();
        }
    }
    clients.join_all().await;
    assert_eq!(shop.server.end().await, Some(0));
    assert!(won.len() < USERS, "stopped in the midst of the drop");

    shop.reopen().await;
    let issued: BTreeMap<String, Value> =
        shop.issued(&event).await.iter().map(|(user, row)| (user.clone(), lasting(row))).collect();
    let unanswered: Vec<&String> = issued.keys().filter(|user| !won.contains_key(*user)).collect();
    assert!(unanswered.is_empty(), "won and not answered: {unanswered:?}");
    assert_eq!(issued, won);
    shop.expect_audit(&event, won.len()).await;
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_the_server_up() {
    let mut shop = Shop::open().await;
    let event = shop.event(10).await;
    let user = shop.user("u").await;
    let mut idle = shop.wire().await;
    idle.request(&format!("POST /v1/events/{event}/claims"), &user, "").await.expect("it reads");
    let _ = idle.answer().await.expect("an answer").expect(201);
    let silent = shop.wire().await;
    assert_eq!(shop.server.terminate().await, Some(0));
    assert_eq!(idle.until_closed().await, b"");
    assert_eq!(silent.until_closed().await, b"");
}
