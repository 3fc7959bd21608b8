//! `kill -9` at random moments of a drop: no acknowledged claim is lost or changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use firstcome_testkit::Wire;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::chance::Chance;
use crate::shop::{Shop, lasting};

const KILLS: usize = 20;
const CONNECTIONS: usize = 16;
const QUANTITY_MAX: usize = 300;
/// More than there are coupons, so that some rounds reach `sold_out`.
const USERS: usize = QUANTITY_MAX + 40;

/// What a user was told: the issued coupon.
type Acknowledged = (String, Value);

/// Claims for one user after another until the server is gone; tells of each acknowledgement.
async fn client(
    authority: String,
    event: String,
    tokens: Arc<Vec<String>>,
    next: Arc<AtomicUsize>,
    told: mpsc::UnboundedSender<Acknowledged>,
) {
    let what = format!("POST /v1/events/{event}/claims");
    let Ok(mut wire) = Wire::connect(&authority).await else { return };
    loop {
        // Some users claim a second time: then they are told again, of the same coupon.
        let number = next.fetch_add(1, Ordering::Relaxed) * 7 / 8;
        let Some(token) = tokens.get(number) else { return };
        if wire.request(&what, token, "").await.is_err() {
            return;
        }
        let Ok(answer) = wire.answer().await else { return };
        let issued = match (answer.status, answer.json()) {
            (201, issued) => issued,
            (409, problem) if problem["code"] == "already_claimed" => {
                problem["issued_coupon"].clone()
            }
            (409, problem) if problem["code"] == "sold_out" => continue,
            _ => panic!("{answer}"),
        };
        let user = issued["user_id"].as_str().expect("a user").to_owned();
        if told.send((user, lasting(&issued))).is_err() {
            return;
        }
    }
}

/// Lets clients claim until so many acknowledgements were heard, and kills the server then.
/// Whatever was heard until the clients noticed counts too.
async fn drop_until_killed(
    shop: &mut Shop,
    event: &str,
    tokens: &Arc<Vec<String>>,
    acknowledgements: usize,
) -> BTreeMap<String, Value> {
    let (told, mut heard) = mpsc::unbounded_channel();
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let authority = shop.server.authority().to_owned();
        let (tokens, next) = (Arc::clone(tokens), Arc::clone(&next));
        clients.spawn(client(authority, event.to_owned(), tokens, next, told.clone()));
    }
    drop(told);

    let mut acknowledged = BTreeMap::new();
    let mut count = 0;
    while let Some((user, issued)) = heard.recv().await {
        let before = acknowledged.insert(user, issued.clone());
        assert!(before.is_none_or(|before| before == issued), "told two things: {issued}");
        count += 1;
        if count == acknowledgements {
            shop.server.kill9();
        }
    }
    assert!(count >= acknowledgements, "killed in the midst of the drop, after {count}");
    clients.join_all().await;
    acknowledged
}

/// Every acknowledged claim is there as it was told, within the quantity, without a hole.
async fn check(shop: &Shop, event: &str, quantity: usize, told: &BTreeMap<String, Value>) {
    let issued = shop.issued(event).await;
    assert!(issued.len() <= quantity, "{} issued of {quantity}", issued.len());
    for (user, told) in told {
        assert_eq!(issued.get(user).map(lasting).as_ref(), Some(told), "lost or changed");
    }
    shop.expect_audit(event, issued.len()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_claim_is_lost() {
    let mut chance = Chance::new(20);
    let mut shop = Shop::open().await;
    let tokens = Arc::new(shop.server.tokens("shopper", USERS).await);
    let mut rounds = Vec::new();
    for round in 0..KILLS {
        let quantity = 20 + chance.below(QUANTITY_MAX - 20);
        let event = shop.event(quantity.try_into().expect("a small number")).await;
        let moment = 1 + chance.below(quantity);
        let told = drop_until_killed(&mut shop, &event, &tokens, moment).await;
        shop.reopen().await;
        check(&shop, &event, quantity, &told).await;

        // Users who were told are told the same again; the drop goes on where it was.
        let (user, issued) = told.iter().nth(chance.below(told.len())).expect("someone was told");
        let token = &tokens[index_of(user)];
        let again = shop.claim(&event, token).await.expect_problem(409, "already_claimed");
        assert_eq!(&lasting(&again.member("/issued_coupon")), issued, "round {round}");
        rounds.push((event, quantity, told));
    }
    for (event, quantity, told) in &rounds {
        check(&shop, event, *quantity, told).await;
    }
    // From outside, with the server down: every event, and the database file itself.
    assert_eq!(shop.server.terminate().await, Some(0));
    let audit = shop.server.command(&["audit", "--all"]).await;
    assert_eq!(audit.code, Some(0), "{audit:?}");
    for (event, ..) in &rounds {
        assert!(audit.stdout.contains(event), "{event} was not audited: {audit:?}");
    }
    let checked = audit.stdout.contains("pass the ledger's file");
    assert!(checked, "the file was not checked: {audit:?}");
}

/// The place of `shopper-1` in the list of tokens is 0.
fn index_of(name: &str) -> usize {
    let number = name.strip_prefix("shopper-").and_then(|number| number.parse::<usize>().ok());
    number.expect("a shopper's name") - 1
}
