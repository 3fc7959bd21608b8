//! Changes by an admin in the midst of a drop.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use firstcome_testkit::{Answer, Wire};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::chance::Chance;
use crate::shop::{Shop, eventually, lasting};

const CONNECTIONS: usize = 16;
const USERS: usize = 6_000;
/// Changes in the midst of a drop.
const CHANGES: usize = 40;
/// How often an event is lowered in the midst of its drop.
const LOWERED: usize = 2;
/// Longest that a test waits for what clients are to hear.
const HEARD_WITHIN: Duration = Duration::from_secs(20);

/// Drops at the processes of one shop, by the first of which an admin changes them meanwhile.
pub(crate) struct Drops<'a> {
    shops: &'a [&'a Shop],
    tokens: Arc<Vec<String>>,
    connections: usize,
    changes: usize,
    /// A change may keep claims and other changes waiting: who is answered 503 asks again.
    waits: bool,
}

/// Clients that claim for one user after another.
struct Crowd {
    clients: JoinSet<Vec<Told>>,
    enough: Arc<AtomicBool>,
    /// The admin has heard that the event is closed.
    closed: Arc<AtomicBool>,
    heard: watch::Receiver<Heard>,
}

/// What all clients have heard.
#[derive(Default)]
struct Heard {
    /// Places in the list of tokens.
    winners: HashSet<usize>,
    /// Codes of refusals.
    refusals: HashSet<String>,
}

/// What a claim was told.
struct Told {
    /// It was sent after the admin had heard that the event is closed.
    after_close: bool,
    /// It was answered before that.
    before_close: bool,
    answer: Answer,
}

impl Told {
    /// The issued coupon that is told.
    fn coupon(&self) -> Option<Value> {
        match self.answer.status {
            201 => Some(self.answer.json()),
            409 if self.answer.code() == "already_claimed" => {
                Some(self.answer.member("/issued_coupon"))
            }
            _ => None,
        }
    }
}

fn user_of(coupon: &Value) -> String {
    coupon["user_id"].as_str().expect("a user").to_owned()
}

/// One connection of a crowd.
struct Client {
    authority: String,
    what: String,
    tokens: Arc<Vec<String>>,
    waits: bool,
    next: Arc<AtomicUsize>,
    enough: Arc<AtomicBool>,
    closed: Arc<AtomicBool>,
    heard: watch::Sender<Heard>,
}

impl Client {
    async fn claim(self) -> Vec<Told> {
        let mut wire = Wire::connect(&self.authority).await.expect("the server listens");
        let mut told = Vec::new();
        while !self.enough.load(Ordering::SeqCst) {
            let place = self.next.fetch_add(1, Ordering::Relaxed) % self.tokens.len();
            told.push(self.told(&mut wire, place).await);
        }
        told
    }

    /// What a user is told, who asks again where that may be.
    async fn told(&self, wire: &mut Wire, place: usize) -> Told {
        loop {
            let after_close = self.closed.load(Ordering::SeqCst);
            wire.request(&self.what, &self.tokens[place], "").await.expect("the server reads");
            let answer = wire.answer().await.expect("an answer");
            if self.waits && answer.status == 503 {
                assert!(["unavailable", "in_doubt"].contains(&answer.code().as_str()), "{answer}");
                assert_eq!(answer.member("/retryable"), true, "{answer}");
                continue;
            }
            let before_close = !self.closed.load(Ordering::SeqCst);
            let told = Told { after_close, before_close, answer };
            self.heard.send_if_modified(|heard| match told.coupon() {
                Some(_) => heard.winners.insert(place),
                None if told.answer.status == 409 => heard.refusals.insert(told.answer.code()),
                None => false,
            });
            return told;
        }
    }
}

impl Crowd {
    /// Waits until this was heard.
    async fn hears(&mut self, what: &str, is_heard: impl FnMut(&Heard) -> bool) {
        let heard = timeout(HEARD_WITHIN, self.heard.wait_for(is_heard)).await;
        let _ = heard.unwrap_or_else(|_| panic!("never {what}")).expect("clients claim");
    }

    /// How many have won.
    fn won(&self) -> usize {
        self.heard.borrow().winners.len()
    }

    /// Waits until so many have won.
    async fn has_won(&mut self, count: usize) {
        self.hears(&format!("{count} wins"), |heard| heard.winners.len() >= count).await;
    }

    /// Waits until somebody was refused so.
    async fn is_refused(&mut self, code: &str) {
        self.hears(code, |heard| heard.refusals.contains(code)).await;
    }

    /// Sends everybody home; what they were told.
    async fn disperse(self) -> Vec<Told> {
        self.enough.store(true, Ordering::SeqCst);
        self.clients.join_all().await.into_iter().flatten().collect()
    }
}

impl<'a> Drops<'a> {
    /// Where every claim and every change is answered at once.
    pub(crate) async fn at(shops: &'a [&'a Shop]) -> Self {
        let tokens = Arc::new(shops[0].server.tokens("shopper", USERS).await);
        Self { shops, tokens, connections: CONNECTIONS, changes: CHANGES, waits: false }
    }

    /// With fewer clients and fewer changes, which take longer.
    pub(crate) fn smaller(self) -> Self {
        Self { connections: CONNECTIONS / 2, changes: CHANGES / 4, ..self }
    }

    /// Where a change may keep others waiting.
    pub(crate) fn waiting(self) -> Self {
        Self { waits: true, ..self }
    }

    fn admin(&self) -> &Shop {
        self.shops[0]
    }

    /// Clients of an event, at all processes.
    async fn gather(&self, event: &str) -> Crowd {
        if self.waits {
            self.admin().ready(event).await;
        }
        let (next, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let closed = Arc::new(AtomicBool::new(false));
        let (told, heard) = watch::channel(Heard::default());
        let mut clients = JoinSet::new();
        for shop in self.shops.iter().cycle().take(self.connections) {
            let client = Client {
                authority: shop.server.authority().to_owned(),
                what: format!("POST /v1/events/{event}/claims"),
                tokens: Arc::clone(&self.tokens),
                waits: self.waits,
                next: Arc::clone(&next),
                enough: Arc::clone(&enough),
                closed: Arc::clone(&closed),
                heard: told.clone(),
            };
            clients.spawn(client.claim());
        }
        Crowd { clients, enough, closed, heard }
    }

    /// What the admin is answered, who asks again where that may be.
    async fn answered<F: Future<Output = Answer>>(&self, ask: impl FnMut() -> F) -> Answer {
        let is_answer = |answer: &Answer| !self.waits || answer.status != 503;
        eventually("an answer", ask, is_answer).await
    }

    async fn act(&self, event: &str, action: &str) -> Answer {
        self.answered(|| self.admin().act(event, action)).await.expect(200)
    }

    async fn set_quantity(&self, event: &str, quantity: usize) -> Answer {
        let change = json!({"quantity": quantity});
        self.answered(|| self.admin().change_event(event, change.clone())).await
    }

    /// Waits until the ledger has all that was told, where it may have that later.
    async fn recorded(&self, event: &str) {
        if self.waits {
            self.admin().recorded(event).await;
        }
    }

    /// Every claim had a verdict, nobody won twice, the ledger has exactly who was told, no more
    /// than the quantity; how many.
    async fn check(&self, event: &str, told: &[Told]) -> usize {
        self.recorded(event).await;
        let issued = self.admin().issued(event).await;
        let (mut winners, mut holders) = (HashSet::new(), HashSet::new());
        for told in told {
            let answer = &told.answer;
            let Some(coupon) = told.coupon() else {
                let is_verdict = answer.status == 409
                    && ["sold_out", "paused", "closed"].contains(&answer.code().as_str());
                assert!(is_verdict, "no verdict: {answer}");
                continue;
            };
            let user = user_of(&coupon);
            assert_eq!(issued.get(&user).map(lasting), Some(lasting(&coupon)), "{answer}");
            assert!(answer.status != 201 || winners.insert(user.clone()), "twice: {answer}");
            holders.insert(user);
        }
        assert_eq!(holders.len(), issued.len(), "somebody has won, and was not told");
        let quantity = self.admin().audit(event).await.member("/quantity").as_u64();
        assert!(issued.len() as u64 <= quantity.expect("a quantity"), "too many have won");
        let last = self.admin().expect_audit_to(event, issued.len()).await;
        if !self.waits {
            assert_eq!((winners.len(), last), (issued.len(), issued.len()), "without holes");
        }
        issued.len()
    }

    /// Each raise lets exactly as many more win, however often the event was sold out before.
    pub(crate) async fn raised_again_and_again(&self) {
        let event = self.admin().event(5).await;
        let mut crowd = self.gather(&event).await;
        let mut chance = Chance::new(11);
        let mut quantity = 5;
        for _ in 0..self.changes {
            crowd.has_won(quantity).await;
            quantity += 1 + chance.below(9);
            let _ = self.set_quantity(&event, quantity).await.expect(200);
        }
        crowd.has_won(quantity).await;
        let told = crowd.disperse().await;
        assert_eq!(self.check(&event, &told).await, quantity);
    }

    /// Lowered while claims win: as many win as it is lowered to, whoever was about to.
    pub(crate) async fn lowered_again_and_again(&self) {
        let event = self.admin().event(5).await;
        let mut crowd = self.gather(&event).await;
        let mut quantity = 5;
        for _ in 0..LOWERED {
            crowd.has_won(quantity).await;
            let _ = self.set_quantity(&event, USERS).await.expect(200);
            crowd.has_won(quantity + 1).await;
            quantity = self.lowered(&event, crowd.won()).await;
            crowd.has_won(quantity).await;
            self.recorded(&event).await;
            assert_eq!(self.admin().audit(&event).await.member("/issued"), quantity);
        }
        let told = crowd.disperse().await;
        assert_eq!(self.check(&event, &told).await, quantity);
    }

    /// Lowers the quantity to what is issued, or as little above as may be; where it is then.
    async fn lowered(&self, event: &str, issued: usize) -> usize {
        let (mut issued, mut room) = (issued, 1);
        loop {
            let quantity = issued + room;
            assert!(quantity < USERS, "nothing was left to lower it to");
            let answer = self.set_quantity(event, quantity).await;
            if answer.status == 200 {
                return quantity;
            }
            let refused = answer.expect_problem(409, "quantity_below_issued");
            let told = refused.member("/issued").as_u64().expect("a number");
            let told = usize::try_from(told).expect("a small number");
            // So many may win during the next try, too.
            (issued, room) = (told, told - issued);
        }
    }

    /// Paused and resumed, raised and lowered, and closed at last: the ledger has exactly who was
    /// told.
    pub(crate) async fn everything_at_once_and_closed(&self) {
        let event = self.admin().event(100).await;
        let mut crowd = self.gather(&event).await;
        let mut chance = Chance::new(12);
        let mut highest = 100;
        crowd.has_won(10).await;
        for _ in 0..self.changes {
            match chance.below(4) {
                0 => {
                    let _ = self.act(&event, "pause").await;
                    let _ = self.act(&event, "resume").await;
                }
                1 => {
                    highest += 50;
                    let _ = self.set_quantity(&event, highest).await.expect(200);
                }
                _ => {
                    let answer = self.set_quantity(&event, 1 + chance.below(highest)).await;
                    if answer.status != 200 {
                        let _ = answer.expect_problem(409, "quantity_below_issued");
                    }
                }
            }
        }
        let _ = self.act(&event, "close").await;
        crowd.closed.store(true, Ordering::SeqCst);
        let issued_at_close = self.admin().issued(&event).await;
        crowd.is_refused("closed").await;
        let told = crowd.disperse().await;
        let wins = self.check(&event, &told).await;
        assert!(wins <= highest, "{wins} won of at most {highest}");
        let late = told.iter().filter(|told| told.after_close && told.answer.status == 201);
        assert_eq!(late.count(), 0, "won after the close was told");
        for coupon in told.iter().filter(|told| told.before_close).filter_map(Told::coupon) {
            assert!(issued_at_close.contains_key(&user_of(&coupon)), "told, and lost: {coupon}");
        }
        if !self.waits {
            assert_eq!(issued_at_close.len(), wins, "won after the close");
        }
    }

    /// Nobody wins before an admin opens it, long before its time; then as many as there are.
    pub(crate) async fn opened_by_hand(&self) {
        let scheduled = self.admin().event_of(|body| {
            body.quantity(50).window("2098-01-01T00:00:00Z", "2099-01-01T00:00:00Z")
        });
        let event = scheduled.await.member_text("/id");
        let mut crowd = self.gather(&event).await;
        crowd.is_refused("not_open").await;
        self.recorded(&event).await;
        self.admin().expect_audit(&event, 0).await;
        let _ = self.act(&event, "open").await;
        crowd.is_refused("sold_out").await;
        let again = self.answered(|| self.admin().act(&event, "open")).await;
        let _ = again.expect_problem(409, "wrong_state");
        let mut told = crowd.disperse().await;
        // Before it was opened; of no other drop anybody hears so.
        told.retain(|told| told.answer.status != 409 || told.answer.code() != "not_open");
        assert_eq!(self.check(&event, &told).await, 50);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn raised_again_and_again() {
    Drops::at(&[&Shop::open().await]).await.raised_again_and_again().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lowered_again_and_again() {
    Drops::at(&[&Shop::open().await]).await.lowered_again_and_again().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_at_once_and_closed() {
    Drops::at(&[&Shop::open().await]).await.everything_at_once_and_closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opened_by_hand() {
    Drops::at(&[&Shop::open().await]).await.opened_by_hand().await;
}

/// An audit in the midst of a drop sees one moment of it; so do lists and the export.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audited_while_it_runs() {
    let shop = Shop::open().await;
    let shops = [&shop];
    let drops = Drops::at(&shops).await;
    let event = shop.event(5_000).await;
    let mut crowd = drops.gather(&event).await;
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
    drops.check(&event, &told).await;
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
