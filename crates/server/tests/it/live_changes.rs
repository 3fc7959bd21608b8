//! Changes by an admin in the midst of a drop.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use firstcome_testkit::{Answer, Wire};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::chance::Chance;
use crate::shop::Shop;

const CONNECTIONS: usize = 16;
const USERS: usize = 6_000;

/// Clients that claim for one user after another while an admin does other things.
struct Crowd {
    clients: JoinSet<Vec<Told>>,
    enough: Arc<AtomicBool>,
    wins: watch::Receiver<usize>,
}

/// What a claim was told.
struct Told {
    /// It was sent after the admin had heard that the event is closed.
    after_close: bool,
    answer: Answer,
}

impl Crowd {
    fn gather(shop: &Shop, event: &str, tokens: &Arc<Vec<String>>) -> (Self, Arc<AtomicBool>) {
        let (next, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let closed = Arc::new(AtomicBool::new(false));
        let (won, wins) = watch::channel(0);
        let mut clients = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let (authority, what) =
                (shop.server.authority().to_owned(), format!("POST /v1/events/{event}/claims"));
            let (tokens, next, won) = (Arc::clone(tokens), Arc::clone(&next), won.clone());
            let (enough, closed) = (Arc::clone(&enough), Arc::clone(&closed));
            clients.spawn(async move {
                let mut wire = Wire::connect(&authority).await.expect("the server listens");
                let mut told = Vec::new();
                while !enough.load(Ordering::SeqCst) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let after_close = closed.load(Ordering::SeqCst);
                    let token = &tokens[number % tokens.len()];
                    wire.request(&what, token, "").await.expect("the server reads");
                    let answer = wire.answer().await.expect("an answer");
                    if answer.status == 201 {
                        won.send_modify(|count| *count += 1);
                    }
                    told.push(Told { after_close, answer });
                }
                told
            });
        }
        (Self { clients, enough, wins }, closed)
    }

    /// Waits until so many have won.
    async fn has_won(&mut self, count: usize) {
        let reached = self.wins.wait_for(|wins| *wins >= count);
        let limit = std::time::Duration::from_secs(20);
        let reached = tokio::time::timeout(limit, reached).await;
        let _ = reached.unwrap_or_else(|_| panic!("never {count} wins")).expect("clients claim");
    }

    /// Sends everybody home; what they were told.
    async fn disperse(self) -> Vec<Told> {
        self.enough.store(true, Ordering::SeqCst);
        self.clients.join_all().await.into_iter().flatten().collect()
    }
}

/// Sequences of the wins, in order.
fn won(told: &[Told]) -> Vec<u64> {
    let won = told.iter().filter(|told| told.answer.status == 201);
    let mut sequences: Vec<u64> =
        won.map(|told| told.answer.member("/sequence").as_u64().expect("a sequence")).collect();
    sequences.sort_unstable();
    sequences
}

/// Every claim had a verdict, and nobody won twice.
fn check(told: &[Told]) {
    let mut winners = HashSet::new();
    for Told { answer, .. } in told {
        match answer.status {
            201 => assert!(winners.insert(answer.member_text("/user_id")), "twice: {answer}"),
            409 => {
                let verdicts = ["already_claimed", "sold_out", "paused", "closed"];
                assert!(verdicts.contains(&answer.code().as_str()), "{answer}");
            }
            _ => panic!("no verdict: {answer}"),
        }
    }
}

/// Each raise lets exactly as many more win, however often the event was sold out before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn raised_again_and_again() {
    let shop = Shop::open().await;
    let event = shop.event(5).await;
    let tokens = Arc::new(shop.server.tokens("shopper", USERS).await);
    let (mut crowd, _) = Crowd::gather(&shop, &event, &tokens);
    let mut chance = Chance::new(11);
    let mut quantity = 5;
    for _ in 0..40 {
        crowd.has_won(quantity).await;
        quantity += 1 + chance.below(9);
        let _ = shop.change_event(&event, json!({"quantity": quantity})).await.expect(200);
    }
    crowd.has_won(quantity).await;
    let told = crowd.disperse().await;
    check(&told);
    assert_eq!(won(&told), (1..=quantity as u64).collect::<Vec<_>>());
    shop.expect_audit(&event, quantity).await;
}

/// Paused and resumed, raised and lowered, and closed at last: the ledger has exactly who was told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_at_once_and_closed() {
    let shop = Shop::open().await;
    let event = shop.event(100).await;
    let tokens = Arc::new(shop.server.tokens("shopper", USERS).await);
    let (mut crowd, closed) = Crowd::gather(&shop, &event, &tokens);
    let mut chance = Chance::new(12);
    let mut highest = 100;
    crowd.has_won(10).await;
    for _ in 0..40 {
        match chance.below(4) {
            0 => {
                let _ = shop.act(&event, "pause").await.expect(200);
                let _ = shop.act(&event, "resume").await.expect(200);
            }
            1 => {
                highest += 50;
                let _ = shop.change_event(&event, json!({"quantity": highest})).await.expect(200);
            }
            _ => {
                let asked = 1 + chance.below(highest);
                let answer = shop.change_event(&event, json!({"quantity": asked})).await;
                if answer.status != 200 {
                    let _ = answer.expect_problem(409, "quantity_below_issued");
                }
            }
        }
    }
    let _ = shop.act(&event, "close").await.expect(200);
    closed.store(true, Ordering::SeqCst);
    let issued_at_close = shop.issued(&event).await;
    let told = crowd.disperse().await;
    check(&told);
    let wins = won(&told);
    assert!(wins.len() <= highest, "{} won of at most {highest}", wins.len());
    assert_eq!(wins, (1..=wins.len() as u64).collect::<Vec<_>>());
    let late = told.iter().filter(|told| told.after_close && told.answer.status == 201);
    assert_eq!(late.count(), 0, "won after the close was told");
    assert_eq!(issued_at_close.len(), wins.len(), "won after the close");
    shop.expect_audit(&event, wins.len()).await;
}

/// An audit in the midst of a drop sees one moment of it; so do lists and the export.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audited_while_it_runs() {
    let shop = Shop::open().await;
    let event = shop.event(5_000).await;
    let tokens = Arc::new(shop.server.tokens("shopper", USERS).await);
    let (mut crowd, _) = Crowd::gather(&shop, &event, &tokens);
    let path = format!("/v1/events/{event}/issued-coupons");
    let mut seen = 0;
    for round in 1..=20 {
        crowd.has_won(round * 20).await;
        let audit = shop.audit(&event).await;
        assert_eq!(audit.member("/verdict"), "pass", "{audit}");
        assert!(audit.member("/issued").as_u64() >= Some(round as u64 * 20), "{audit}");
        let export = shop.api.get(&path).token(&shop.admin).header("accept", "text/csv").await;
        let rows = export.expect(200).text().lines().count() - 1;
        assert!(rows >= round * 20 && rows >= seen, "{rows} rows after {}", round * 20);
        seen = rows;
    }
    let outside = shop.server.command(&["audit", "--all"]).await;
    assert_eq!(outside.code, Some(0), "{outside:?}");
    let told = crowd.disperse().await;
    check(&told);
    shop.expect_audit(&event, won(&told).len()).await;
}

/// Of many changes that saw the same version, one is made.
#[tokio::test]
async fn of_many_changes_of_one_version_one_is_made() {
    let shop = Shop::open().await;
    let event = shop.event(10).await;
    let etag = shop.read_event(&event).await.header("etag").to_owned();
    let mut changes = JoinSet::new();
    for number in 0..20 {
        let call = shop.api.patch(&format!("/v1/events/{event}")).token(&shop.admin);
        let call = call.header("if-match", &etag).json(json!({"name": format!("변경 {number}")}));
        changes.spawn(call.into_future());
    }
    let answers = changes.join_all().await;
    let (made, refused): (Vec<Answer>, Vec<Answer>) =
        answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!(made.len(), 1, "{made:?}");
    for answer in refused {
        let _ = answer.expect_problem(412, "precondition_failed");
    }
    assert_eq!(shop.read_event(&event).await.member("/name"), made[0].member("/name"));
}
