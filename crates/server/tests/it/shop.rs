//! A shop: a server with an admin, and what tests do with it most.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use firstcome_core::Timestamp;
use firstcome_testkit::{Answer, Api, Body, Launch, Server, Wire, coupon_body, event_body};
use serde_json::Value;
use tokio::time::{Instant, sleep};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_firstcome");
/// How often a test looks again at what it waits for.
const POLL: Duration = Duration::from_millis(20);
/// Longest that a test waits for something that comes by itself.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(20);
/// Longest that a test waits for a worker: the share of one that was killed is another's only when
/// its group has given it up.
pub(crate) const BEHIND_MAX: Duration = Duration::from_secs(60);

pub(crate) struct Shop {
    pub(crate) server: Server,
    pub(crate) api: Api,
    /// A token of an admin.
    pub(crate) admin: String,
    /// The processes with the roles that this one lacks.
    apart: Vec<Api>,
}

impl Shop {
    pub(crate) async fn open() -> Self {
        Self::open_as(|launch| launch).await
    }

    pub(crate) async fn open_as(change: impl FnOnce(Launch) -> Launch) -> Self {
        Self::of(Server::start_as(BINARY, change).await, Vec::new()).await
    }

    /// A shop of this process, and of those with the roles that it lacks.
    pub(crate) async fn of(server: Server, apart: Vec<Api>) -> Self {
        let admin = server.token("admin-1", "user admin").await;
        Self { api: whole(&server, &apart), server, admin, apart }
    }

    /// A shop whose ledger is in this database.
    pub(crate) async fn open_on(ledger_url: &str) -> Self {
        Self::open_as(|launch| launch.environment("FIRSTCOME_LEDGER_URL", ledger_url)).await
    }

    /// A shop with these keys in its configuration file.
    pub(crate) async fn open_configured(toml: &str) -> Self {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), toml).expect("a file");
        let path = file.path().to_str().expect("a path in UTF-8");
        // It is read at the start, and then goes.
        Self::open_as(|launch| launch.arguments(&["--config", path])).await
    }

    /// The same, on a machine that may be too busy for the usual time-outs.
    pub(crate) async fn open_patiently_on(ledger_url: &str) -> Self {
        Self::open_as(|launch| patient(launch.environment("FIRSTCOME_LEDGER_URL", ledger_url)))
            .await
    }

    /// The same shop by another process; this one's data directory is both's.
    pub(crate) async fn beside(&self) -> Self {
        let server = self.server.start_beside().await;
        let (admin, apart) = (self.admin.clone(), self.apart.clone());
        Self { api: whole(&server, &apart), server, admin, apart }
    }

    /// After the server has ended: starts it again on the same data.
    pub(crate) async fn reopen(&mut self) {
        self.server.restart().await;
        self.api = whole(&self.server, &self.apart);
    }

    /// After the server has ended: starts it on the same data as `change` wants it from now on.
    pub(crate) async fn reopen_as(&mut self, change: impl FnOnce(Launch) -> Launch) {
        self.server.restart_as(change).await;
        self.api = whole(&self.server, &self.apart);
    }

    /// A token of a shopper.
    pub(crate) async fn user(&self, name: &str) -> String {
        self.server.token(name, "user").await
    }

    /// A token of a checkout service.
    pub(crate) async fn checkout(&self) -> String {
        self.server.token("checkout-1", "redeem").await
    }

    /// Makes a coupon; its id.
    pub(crate) async fn coupon_of(&self, body: Body) -> String {
        let call = self.api.post("/v1/coupons").token(&self.admin);
        call.json(body).await.expect(201).member_text("/id")
    }

    /// Makes a coupon that no test cares about; its id.
    pub(crate) async fn coupon(&self) -> String {
        self.coupon_of(coupon_body()).await
    }

    /// Makes an event of a new coupon, as `change` wants it; what was answered.
    pub(crate) async fn event_of(&self, change: impl FnOnce(Body) -> Body) -> Answer {
        let body = change(event_body(&self.coupon().await));
        self.api.post("/v1/events").token(&self.admin).json(body).await.expect(201)
    }

    /// Makes an open event of so many coupons; its id.
    pub(crate) async fn event(&self, quantity: u32) -> String {
        self.event_of(|body| body.quantity(quantity)).await.member_text("/id")
    }

    /// Makes an open event of ten that issues this coupon; its id.
    pub(crate) async fn event_issuing(&self, coupon: Body) -> String {
        let body = event_body(&self.coupon_of(coupon).await);
        let call = self.api.post("/v1/events").token(&self.admin);
        call.json(body).await.expect(201).member_text("/id")
    }

    pub(crate) async fn claim(&self, event: &str, token: &str) -> Answer {
        self.api.post(&format!("/v1/events/{event}/claims")).token(token).await
    }

    /// Does something to an event's lifecycle.
    pub(crate) async fn act(&self, event: &str, action: &str) -> Answer {
        self.api.post(&format!("/v1/events/{event}/{action}")).token(&self.admin).await
    }

    /// Reads an event; its `ETag` is in the header.
    pub(crate) async fn read_event(&self, event: &str) -> Answer {
        self.api.get(&format!("/v1/events/{event}")).await.expect(200)
    }

    /// Changes an event as it is now.
    pub(crate) async fn change_event(&self, event: &str, change: Value) -> Answer {
        let etag = self.read_event(event).await.header("etag").to_owned();
        let call = self.api.patch(&format!("/v1/events/{event}")).token(&self.admin);
        call.header("if-match", &etag).json(change).await
    }

    /// Redeems an issued coupon.
    pub(crate) async fn redeem(&self, issued: &str, token: &str, order: Value) -> Answer {
        let path = format!("/v1/me/coupons/{issued}/redemptions");
        self.api.post(&path).token(token).json(order).await
    }

    pub(crate) async fn audit(&self, event: &str) -> Answer {
        let path = format!("/v1/events/{event}/audit");
        self.api.get(&path).token(&self.admin).await.expect(200)
    }

    /// Audits an event, which passes with so many issued, and no place in line is missing.
    pub(crate) async fn expect_audit(&self, event: &str, issued: usize) {
        let last = self.expect_audit_to(event, issued).await;
        assert_eq!(last, issued, "places in line are missing");
    }

    /// Audits an event, which passes with so many issued; the last place in line.
    pub(crate) async fn expect_audit_to(&self, event: &str, issued: usize) -> usize {
        let audit = self.audit(event).await;
        for (member, expected) in [
            ("/verdict", Value::from("pass")),
            ("/issued", Value::from(issued)),
            ("/rows", Value::from(issued)),
            ("/distinct_users", Value::from(issued)),
            ("/pending", Value::from(0)),
        ] {
            assert_eq!(audit.member(member), expected, "{member}: {audit}");
        }
        let last = audit.member("/max_sequence").as_u64().expect("a number");
        usize::try_from(last).expect("a small number")
    }

    /// Waits until what decides an event is ready for its claims.
    pub(crate) async fn ready(&self, event: &str) {
        let path = format!("/v1/events/{event}/sync");
        let ask = || async { self.api.post(&path).token(&self.admin).await };
        eventually_within(BEHIND_MAX, "ready", ask, |answer| answer.status == 200).await;
    }

    /// Waits until the ledger has all that was told of an event: by some commits it has that later.
    pub(crate) async fn recorded(&self, event: &str) {
        let path = format!("/v1/events/{event}/audit");
        let ask = || async { self.api.get(&path).token(&self.admin).await };
        let is_all = |audit: &Answer| audit.status == 200 && audit.member("/pending") == 0;
        eventually_within(BEHIND_MAX, "all recorded", ask, is_all).await;
    }

    /// Every issued coupon of an event by its user, as the admin's list tells.
    pub(crate) async fn issued(&self, event: &str) -> BTreeMap<String, Value> {
        let path = format!("/v1/events/{event}/issued-coupons");
        let mut by_user = BTreeMap::new();
        for item in self.walk(&path, &self.admin, 200).await {
            let user = item["user_id"].as_str().expect("a user").to_owned();
            let twice = by_user.insert(user, item);
            assert_eq!(twice, None, "a user with two issued coupons");
        }
        by_user
    }

    /// A counter, a gauge or a count at `/metrics`.
    pub(crate) async fn metric(&self, series: &str) -> u64 {
        let text = self.api.get("/metrics").await.expect(200).text();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0, |number| number.parse().expect("a count"))
    }

    /// All items of a list, page by page.
    pub(crate) async fn walk(&self, path: &str, token: &str, limit: usize) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        let joint = if path.contains('?') { '&' } else { '?' };
        loop {
            let page = format!("{path}{joint}limit={limit}{cursor}");
            let page = self.api.get(&page).token(token).await.expect(200);
            let on_page = page.member("/items").as_array().expect("a list").clone();
            assert!(on_page.len() <= limit, "{page}");
            items.extend(on_page);
            match page.member("/next_cursor") {
                Value::Null => return items,
                next => cursor = format!("&cursor={}", next.as_str().expect("a cursor")),
            }
        }
    }

    /// The moment in so many seconds, by the server's clock.
    pub(crate) async fn moment_in(&self, seconds: i64) -> String {
        let server_time = self.event_of(|body| body).await.member_text("/server_time");
        let now = Timestamp::parse_rfc3339(&server_time).expect("a moment");
        Timestamp::from_micros(now.as_micros() + seconds * 1_000_000).to_string()
    }

    /// A connection on which nothing was sent.
    pub(crate) async fn wire(&self) -> Wire {
        self.server.wire().await
    }
}

/// All calls of a shop.
fn whole(server: &Server, apart: &[Api]) -> Api {
    apart.iter().fold(server.api(), Api::beside)
}

/// With time-outs of the ledger that a busy machine does not reach.
pub(crate) fn patient(launch: Launch) -> Launch {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/databases/patient.toml");
    launch.environment("FIRSTCOME_CONFIG", file)
}

/// What never changes of an issued coupon.
pub(crate) fn lasting(issued: &Value) -> Value {
    let mut lasting = issued.clone();
    let object = lasting.as_object_mut().expect("an issued coupon");
    for member in ["state", "used_at"] {
        object.remove(member).expect("an issued coupon");
    }
    lasting
}

/// Asks again until the answer is as it should be; the deadline is generous.
pub(crate) async fn eventually<A: Display, F: Future<Output = A>>(
    what: &str,
    ask: impl FnMut() -> F,
    holds: impl Fn(&A) -> bool,
) -> A {
    eventually_within(WAIT_MAX, what, ask, holds).await
}

/// The same, within this time.
pub(crate) async fn eventually_within<A: Display, F: Future<Output = A>>(
    limit: Duration,
    what: &str,
    mut ask: impl FnMut() -> F,
    holds: impl Fn(&A) -> bool,
) -> A {
    let deadline = Instant::now() + limit;
    loop {
        let answer = ask().await;
        if holds(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: still {answer}");
        sleep(POLL).await;
    }
}
