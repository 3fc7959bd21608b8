//! A whole drop: 1,000 coupons, 20,000 claims by 8,000 users over 200 connections, and every
//! twentieth client gone before its answer.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use firstcome_testkit::{Answer, Wire};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::chance::Chance;
use crate::shop::{Shop, lasting};

const QUANTITY: usize = 1_000;
const USERS: usize = 8_000;
const CLAIMS: usize = 20_000;
const CONNECTIONS: usize = 200;
/// One in so many clients goes away.
const GONE_ONE_IN: usize = 20;

/// One claim to be sent.
struct Planned {
    user: usize,
    /// The client goes as soon as it has sent.
    goes: bool,
}

/// What one claim came to; no answer when the client went.
type Outcome = (usize, Option<Answer>);

/// Every user claims at least once; who repeats, and in which order, is chance.
fn plan() -> Vec<Planned> {
    let mut chance = Chance::new(3);
    let mut users: Vec<usize> = (0..USERS).collect();
    users.resize_with(CLAIMS, || chance.below(USERS));
    chance.shuffle(&mut users);
    let planned = |(index, user)| Planned { user, goes: index % GONE_ONE_IN == 0 };
    users.into_iter().enumerate().map(planned).collect()
}

/// Sends claims of the plan over one connection after another, until none is left.
async fn client(
    authority: String,
    what: String,
    tokens: Arc<Vec<String>>,
    plan: Arc<Vec<Planned>>,
    next: Arc<AtomicUsize>,
) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut wire = Wire::connect(&authority).await.expect("the server listens");
    while let Some(&Planned { user, goes }) = plan.get(next.fetch_add(1, Ordering::Relaxed)) {
        wire.request(&what, &tokens[user], "").await.expect("the server reads");
        if goes {
            wire = Wire::connect(&authority).await.expect("the server listens");
            outcomes.push((user, None));
        } else {
            outcomes.push((user, Some(wire.answer().await.expect("an answer"))));
        }
    }
    outcomes
}

/// The drop, its connections dealt over the processes of a shop.
async fn drop_on(shops: &[&Shop], event: &str) -> Vec<Outcome> {
    let tokens = Arc::new(shops[0].server.tokens("shopper", USERS).await);
    let (plan, next) = (Arc::new(plan()), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for shop in shops.iter().cycle().take(CONNECTIONS) {
        clients.spawn(client(
            shop.server.authority().to_owned(),
            format!("POST /v1/events/{event}/claims"),
            Arc::clone(&tokens),
            Arc::clone(&plan),
            Arc::clone(&next),
        ));
    }
    clients.join_all().await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_claims() {
    twenty_thousand_claims_on(&[&Shop::open().await]).await;
}

/// The whole drop on the processes of one shop; each of them tells the same of it.
pub(crate) async fn twenty_thousand_claims_on(shops: &[&Shop]) {
    let event = shops[0].event(QUANTITY.try_into().expect("a small number")).await;
    shops[0].ready(&event).await;
    let outcomes = drop_on(shops, &event).await;
    assert_eq!(outcomes.len(), CLAIMS);

    shops[0].recorded(&event).await;
    let issued = shops[0].issued(&event).await;
    check_line(&issued);
    let heard = check_answers(&outcomes, &issued);
    // Who won and was never told so had gone before the answer.
    let went: HashSet<usize> =
        outcomes.iter().filter(|(_, answer)| answer.is_none()).map(|(user, _)| *user).collect();
    let untold = issued.keys().filter(|name| !heard.contains(*name));
    let untold: Vec<&String> = untold.collect();
    for name in &untold {
        assert!(went.contains(&index_of(name)), "{name} won, stayed, and was not told");
    }
    assert_eq!(heard.len() + untold.len(), QUANTITY, "as many wins as coupons");
    for shop in shops {
        assert_eq!(shop.issued(&event).await, issued);
        shop.expect_audit(&event, QUANTITY).await;
    }
}

/// The place of `shopper-1` in the list of tokens is 0.
fn index_of(name: &str) -> usize {
    let number = name.strip_prefix("shopper-").and_then(|number| number.parse::<usize>().ok());
    number.expect("a shopper's name") - 1
}

/// As many issued coupons as the quantity, with the sequences 1 to the quantity.
fn check_line(issued: &BTreeMap<String, Value>) {
    let mut line: Vec<u64> =
        issued.values().map(|row| row["sequence"].as_u64().expect("a sequence")).collect();
    line.sort_unstable();
    assert_eq!(line, (1..=QUANTITY as u64).collect::<Vec<_>>());
    let codes: HashSet<&str> =
        issued.values().map(|row| row["code"].as_str().expect("a code")).collect();
    assert_eq!(codes.len(), QUANTITY, "each its own code");
}

/// Each answer is the one that the ledger's rows justify; who was answered 201, each once.
fn check_answers(outcomes: &[Outcome], issued: &BTreeMap<String, Value>) -> HashSet<String> {
    let mut heard = HashSet::new();
    for (user, answer) in outcomes {
        let Some(answer) = answer else { continue };
        let name = format!("shopper-{}", user + 1);
        let row = issued.get(&name).map(lasting);
        match answer.status {
            201 => {
                assert_eq!(Some(lasting(&answer.json())), row, "{answer}");
                assert!(heard.insert(name), "two wins: {answer}");
            }
            409 if answer.code() == "already_claimed" => {
                assert_eq!(Some(lasting(&answer.member("/issued_coupon"))), row, "{answer}");
            }
            409 if answer.code() == "sold_out" => assert_eq!(row, None, "{answer}"),
            _ => panic!("neither won, nor already claimed, nor sold out: {answer}"),
        }
    }
    heard
}
