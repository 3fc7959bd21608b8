//! Clients that go on claiming and reading whatever becomes of the database.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firstcome_testkit::{Answer, Wire};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::shop::{Shop, lasting};

const CLAIMERS: usize = 8;
const READERS: usize = 2;
/// More than claim in the time of a test.
const USERS: usize = 12_000;
pub(super) const QUANTITY: u32 = 100_000;
/// What a client does between two requests, so that a test is of an outage and not of a load.
const REST: Duration = Duration::from_millis(10);
const POLL: Duration = Duration::from_millis(20);
/// Longest that any request may take: the time-out of a claim, and what a busy machine adds.
const TOOK_MAX: Duration = Duration::from_millis(5_500);

/// Clients of one event.
pub(super) struct Crowd {
    clients: JoinSet<()>,
    enough: Arc<AtomicBool>,
    heard: Arc<Mutex<Vec<Heard>>>,
}

/// What was heard of a request.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    is_claim: bool,
    pub(super) begun: Instant,
    pub(super) took: Duration,
    pub(super) answer: Answer,
}

/// What one client asks for.
struct Client {
    authority: String,
    /// As `GET /path`, and whether that is a claim.
    what: String,
    is_claim: bool,
    tokens: Arc<Vec<String>>,
    next: Arc<AtomicUsize>,
    enough: Arc<AtomicBool>,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Crowd {
    /// Clients that claim for one user after another, and some that read the event.
    pub(super) async fn gather(shop: &Shop, event: &str) -> Self {
        let tokens = Arc::new(shop.server.tokens("shopper", USERS).await);
        let (next, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let mut clients = JoinSet::new();
        for number in 0..CLAIMERS + READERS {
            let is_claim = number < CLAIMERS;
            let claim = format!("POST /v1/events/{event}/claims");
            let client = Client {
                authority: shop.server.authority().to_owned(),
                what: if is_claim { claim } else { format!("GET /v1/events/{event}") },
                is_claim,
                tokens: Arc::clone(&tokens),
                next: Arc::clone(&next),
                enough: Arc::clone(&enough),
                heard: Arc::clone(&heard),
            };
            clients.spawn(client.ask());
        }
        Self { clients, enough, heard }
    }

    /// Waits until so many answers are such, of requests that began from `since` on.
    pub(super) async fn hears(
        &self,
        count: usize,
        what: &str,
        is_such: fn(&Heard) -> bool,
        since: Instant,
        limit: Duration,
    ) {
        let deadline = Instant::now() + limit;
        loop {
            let such = |heard: &&Heard| heard.begun >= since && is_such(heard);
            let found = self.heard.lock().expect("no panic while held").iter().filter(such).count();
            if found >= count {
                return;
            }
            let last = || self.heard.lock().expect("no panic while held").last().cloned();
            assert!(Instant::now() < deadline, "{found} of {count} {what}; at last {:?}", last());
            sleep(POLL).await;
        }
    }

    /// Sends everybody home; what they heard.
    pub(super) async fn disperse(self) -> Vec<Heard> {
        self.enough.store(true, Ordering::SeqCst);
        self.clients.join_all().await;
        let heard = std::mem::take(&mut *self.heard.lock().expect("no panic while held"));
        assert!(!heard.is_empty(), "somebody was answered");
        heard
    }
}

impl Client {
    async fn ask(self) {
        let mut wire = Wire::connect(&self.authority).await.expect("the server listens");
        let mut number = 0;
        let mut is_told = true;
        while !self.enough.load(Ordering::SeqCst) {
            if is_told {
                number = self.next.fetch_add(1, Ordering::Relaxed);
            }
            let token = &self.tokens[number % self.tokens.len()];
            let begun = Instant::now();
            wire.request(&self.what, token, "").await.expect("the server reads");
            let answer = wire.answer().await.expect("an answer");
            // Who was told nothing asks again.
            is_told = answer.status != 503;
            let heard = Heard { is_claim: self.is_claim, begun, took: begun.elapsed(), answer };
            self.heard.lock().expect("no panic while held").push(heard);
            sleep(REST).await;
        }
    }
}

impl Heard {
    pub(super) fn is_win(&self) -> bool {
        self.is_claim && self.answer.status == 201
    }

    pub(super) fn is_read(&self) -> bool {
        !self.is_claim && self.answer.status == 200
    }

    pub(super) fn is_refused_claim(&self) -> bool {
        self.is_claim && self.answer.status == 503
    }

    pub(super) fn is_refused_read(&self) -> bool {
        !self.is_claim && self.answer.status == 503
    }

    /// The issued coupon that was told; none when none was.
    fn told(&self) -> Option<Value> {
        let Self { answer, is_claim, .. } = self;
        match answer.status {
            201 if *is_claim => Some(answer.json()),
            200 if !is_claim => None,
            409 => {
                assert_eq!(answer.code(), "already_claimed", "{answer}");
                Some(answer.member("/issued_coupon"))
            }
            503 => {
                let code = answer.code();
                let is_honest = code == "unavailable" || (*is_claim && code == "in_doubt");
                assert!(is_honest, "{answer}");
                assert_eq!(answer.member("/retryable"), true, "{answer}");
                assert!(!answer.header("retry-after").is_empty(), "{answer}");
                None
            }
            _ => panic!("neither a verdict nor a refusal: {answer}"),
        }
    }
}

/// Whatever was asked and answered within an outage was refused.
pub(super) fn check_refused_within(outage: &Range<Instant>, heard: &[Heard]) {
    let is_within = |it: &&Heard| it.begun >= outage.start && it.begun + it.took < outage.end;
    for Heard { answer, .. } in heard.iter().filter(is_within) {
        assert_eq!(answer.status, 503, "{answer}");
    }
}

/// Everything was answered in time with the truth or with nothing, and nothing that was told is
/// lost or changed.
pub(super) async fn check(shop: &Shop, event: &str, heard: &[Heard]) {
    let issued = shop.issued(event).await;
    let mut winners = BTreeMap::new();
    for heard in heard {
        assert!(heard.took <= TOOK_MAX, "after {:?}: {}", heard.took, heard.answer);
        let Some(told) = heard.told() else { continue };
        let user = told["user_id"].as_str().expect("a user").to_owned();
        assert_eq!(issued.get(&user).map(lasting), Some(lasting(&told)), "{}", heard.answer);
        if heard.is_win() {
            assert_eq!(winners.insert(user, told), None, "two wins: {}", heard.answer);
        }
    }
    shop.expect_audit(event, issued.len()).await;
}
