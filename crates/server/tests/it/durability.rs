//! `kill -9` at random moments of a drop: no acknowledged claim is lost or changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use firstcome_testkit::{Server, Wire};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::chance::Chance;
use crate::shop::{Shop, lasting};

const KILLS: usize = 20;
const CONNECTIONS: usize = 16;
/// Enough that what a dead process never answered is made up for by those who claim twice.
const QUANTITY_MIN: usize = 80;
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

/// Lets clients claim, dealt over the processes of a shop, and kills each process, and each that
/// works behind them, when so many acknowledgements were heard. Whatever was heard until the
/// clients noticed counts too.
async fn drop_until_killed(
    shops: &mut [Shop],
    behind: &mut [(&mut Server, usize)],
    event: &str,
    tokens: &Arc<Vec<String>>,
    acknowledgements: &[usize],
) -> BTreeMap<String, Value> {
    let (told, mut heard) = mpsc::unbounded_channel();
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for shop in shops.iter().cycle().take(CONNECTIONS) {
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
        if let Some(process) = acknowledgements.iter().position(|moment| *moment == count) {
            shops[process].server.kill9();
        }
        for (server, _) in behind.iter_mut().filter(|(_, moment)| *moment == count) {
            server.kill9();
        }
    }
    let last = acknowledgements.last();
    assert!(Some(&count) >= last, "killed in the midst of the drop, after {count}, not {last:?}");
    clients.join_all().await;
    acknowledged
}

/// Every acknowledged claim is there as it was told, within the quantity, without a hole.
pub(crate) async fn check(
    shop: &Shop,
    event: &str,
    quantity: usize,
    told: &BTreeMap<String, Value>,
) {
    let issued = check_told(shop, event, quantity, told).await;
    shop.expect_audit(event, issued).await;
}

/// Every acknowledged claim is there as it was told, within the quantity; how many are issued.
pub(crate) async fn check_told(
    shop: &Shop,
    event: &str,
    quantity: usize,
    told: &BTreeMap<String, Value>,
) -> usize {
    // What was won, told or not, may lie beside the ledger.
    shop.recorded(event).await;
    let issued = shop.issued(event).await;
    assert!(issued.len() <= quantity, "{} issued of {quantity}", issued.len());
    for (user, told) in told {
        assert_eq!(issued.get(user).map(lasting).as_ref(), Some(told), "lost or changed");
    }
    issued.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_claim_is_lost() {
    let mut shops = [Shop::open().await];
    let audit = kill_again_and_again(&mut shops, KILLS).await;
    let checked = audit.contains("pass the ledger's file");
    assert!(checked, "the file was not checked: {audit}");
}

/// Drops in each of which every process of a shop is killed, one after another; what the audit
/// says in the end.
pub(crate) async fn kill_again_and_again(shops: &mut [Shop], drops: usize) -> String {
    kill_all_again_and_again(shops, &mut [], drops).await
}

/// The same, where in each drop one of those is killed, too, that work behind the shop.
pub(crate) async fn kill_all_again_and_again(
    shops: &mut [Shop],
    behind: &mut [Server],
    drops: usize,
) -> String {
    let mut chance = Chance::new(20);
    let tokens = Arc::new(shops[0].server.tokens("shopper", USERS).await);
    let mut rounds = Vec::new();
    for round in 0..drops {
        shops.rotate_left(1);
        let quantity = QUANTITY_MIN + chance.below(QUANTITY_MAX - QUANTITY_MIN);
        let event = shops[0].event(quantity.try_into().expect("a small number")).await;
        shops[0].ready(&event).await;
        let mut moment = 0;
        let moments = shops.iter().map(|_| {
            moment += 1 + chance.below(quantity / shops.len());
            moment
        });
        let moments: Vec<usize> = moments.collect();
        let last = moments.last().copied().expect("a process");
        behind.rotate_left(1.min(behind.len()));
        let worker = behind.first_mut().map(|server| (server, 1 + chance.below(last)));
        let mut workers: Vec<(&mut Server, usize)> = worker.into_iter().collect();
        let told = drop_until_killed(shops, &mut workers, &event, &tokens, &moments).await;
        for (server, _) in workers {
            server.restart().await;
        }
        for shop in &mut *shops {
            shop.reopen().await;
        }

        // Users who were told are told the same again; the drop goes on where it was.
        let (user, issued) = told.iter().nth(chance.below(told.len())).expect("someone was told");
        for shop in &*shops {
            check(shop, &event, quantity, &told).await;
            let again = shop.claim(&event, &tokens[index_of(user)]).await;
            let again = again.expect_problem(409, "already_claimed");
            assert_eq!(&lasting(&again.member("/issued_coupon")), issued, "round {round}");
        }
        rounds.push((event, quantity, told));
    }
    for (event, quantity, told) in &rounds {
        check(&shops[0], event, *quantity, told).await;
    }
    // From outside, with no process up: every event, and the database itself.
    for server in shops.iter_mut().map(|shop| &mut shop.server).chain(behind) {
        assert_eq!(server.terminate().await, Some(0));
    }
    let audit = shops[0].server.command(&["audit", "--all"]).await;
    assert_eq!(audit.code, Some(0), "{audit:?}");
    for (event, ..) in &rounds {
        assert!(audit.stdout.contains(event), "{event} was not audited: {audit:?}");
    }
    audit.stdout
}

/// The place of `shopper-1` in the list of tokens is 0.
fn index_of(name: &str) -> usize {
    let number = name.strip_prefix("shopper-").and_then(|number| number.parse::<usize>().ok());
    number.expect("a shopper's name") - 1
}
