//! The server against its own document, by other people's program: schemathesis sends every call
//! what the document allows and what it forbids, and holds each answer against it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use firstcome_testkit::{Answer, Body, coupon_body};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::shop::Shop;

/// What schemathesis is told.
const CONFIG: &str = include_str!("../schemathesis/schemathesis.toml");
/// Installed by `cargo xtask test`.
const PROGRAM: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/schemathesis/bin/schemathesis");
/// Longest that the whole may take; its own bound is the number of examples.
const WAIT_MAX: Duration = Duration::from_secs(400);
/// Whose token schemathesis sends.
const WHO: &str = "shopper-and-staff";
const PASSWORD: &str = "correct horse battery";
/// Of what is only read or changed.
const FEW: usize = 8;
/// Of what a call uses up.
const MANY: usize = 32;

/// A directory with the configuration and with dictionaries of what is there.
async fn directory(shop: &Shop, token: &str) -> TempDir {
    let directory = TempDir::new().expect("a temporary directory");
    let write = |name: &str, text: &str| {
        std::fs::write(directory.path().join(name), text).expect("a file");
    };
    write("schemathesis.toml", CONFIG);
    write("openapi.json", &shop.api.get("/openapi.json").await.expect(200).text());
    for (name, values) in stocked(shop, token).await {
        // One value a line, in quotes and escaped as JSON is.
        let lines: Vec<String> =
            values.iter().map(|value| Value::from(value.as_str()).to_string()).collect();
        write(&format!("{name}.dict"), &lines.join("\n"));
    }
    directory
}

/// What is there, by kind.
type Stock = BTreeMap<&'static str, Vec<String>>;

async fn stocked(shop: &Shop, token: &str) -> Stock {
    let mut stock = Stock::new();
    for _ in 0..FEW {
        add(&mut stock, "coupons", shop.coupon_of(coupon_body()).await);
        // Only closed; only resumed; only opened.
        add(&mut stock, "ending", shop.event(1_000).await);
        let paused = shop.event(1_000).await;
        let _ = shop.act(&paused, "pause").await.expect(200);
        add(&mut stock, "paused", paused);
        let scheduled = |body: Body| body.window("2098-01-01T00:00:00Z", "2099-01-01T00:00:00Z");
        add(&mut stock, "scheduled", shop.event_of(scheduled).await.member_text("/id"));
    }
    claimed(shop, token, &mut stock).await;
    for index in 0..FEW {
        let (email, session) = logged_in(shop, &format!("shopper-{index}")).await;
        add(&mut stock, "refresh_tokens", session.member_text("/refresh_token"));
        add(&mut stock, "accounts", email);
        let (_, session) = logged_in(shop, &format!("leaving-{index}")).await;
        let me = shop.api.get("/v1/me").token(&session.member_text("/access_token")).await;
        add(&mut stock, "leaving", me.expect(200).member_text("/id"));
        let client = json!({"name": "checkout", "scope": "redeem"});
        let client = shop.api.post("/v1/clients").token(&shop.admin).json(client).await;
        add(&mut stock, "clients", client.expect(201).member_text("/client_id"));
    }
    add(&mut stock, "passwords", PASSWORD.to_owned());
    let made = shop.read_event(&stock["quiet"][0]).await;
    add(&mut stock, "versions", made.header("etag").to_owned());
    stock
}

/// Adds open events, and coupons of others: some are used, some to be used by their holder, some by
/// their code, some to be revoked.
async fn claimed(shop: &Shop, token: &str, stock: &mut Stock) {
    for index in 0..MANY {
        add(stock, "events", shop.event(1_000).await);
        // Only changed.
        add(stock, "quiet", shop.event(1_000).await);
        let event = shop.event(1_000).await;
        let issued = shop.claim(&event, token).await.expect(201);
        let id = issued.member_text("/id");
        match index % 4 {
            0 => {
                let order = json!({"order_id": format!("order-{index}"), "order_amount": 30_000});
                let used = shop.redeem(&id, token, order).await.expect(201);
                add(stock, "redemptions", used.member_text("/id"));
            }
            1 => add(stock, "codes", issued.member_text("/code")),
            2 => add(stock, "revocable", id),
            _ => add(stock, "issued", id),
        }
    }
}

/// Signs somebody up and logs them in; their address, and the session.
async fn logged_in(shop: &Shop, name: &str) -> (String, Answer) {
    let email = format!("{name}@example.com");
    let credentials = json!({"email": email, "password": PASSWORD});
    let _ = shop.api.post("/v1/users").json(credentials.clone()).await.expect(201);
    (email, shop.api.post("/v1/sessions").json(credentials).await.expect(200))
}

fn add(stock: &mut Stock, kind: &'static str, value: String) {
    stock.entry(kind).or_default().push(value);
}

/// Runs schemathesis to its end; what it did, an event a line.
async fn fuzz(shop: &Shop, token: &str, directory: &Path) -> String {
    let mut command = Command::new(PROGRAM);
    command.args(["--config-file", "schemathesis.toml", "run", "openapi.json"]);
    command.args(["--url", &format!("http://{}", shop.server.authority())]);
    command.args(["--report", "ndjson", "--report-ndjson-path", "report.ndjson"]);
    command.current_dir(directory).env("FIRSTCOME_TEST_TOKEN", token).kill_on_drop(true);
    let (_, leaving) = logged_in(shop, "leaving").await;
    command.env("FIRSTCOME_TEST_LEAVING_TOKEN", leaving.member_text("/access_token"));
    let output = timeout(WAIT_MAX, command.output()).await.expect("schemathesis ends in time");
    let output = output.unwrap_or_else(|error| {
        panic!("cannot start {PROGRAM}: {error}; `cargo xtask test` installs it")
    });
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    std::fs::read_to_string(directory.join("report.ndjson")).expect("a report")
}

/// The calls that were answered with a success, and all that were sent.
fn answered(report: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut succeeded, mut sent) = (BTreeSet::new(), BTreeSet::new());
    for line in report.lines() {
        let event: Value = serde_json::from_str(line).expect("a line of JSON");
        let recorder = &event["ScenarioFinished"]["recorder"];
        for (id, case) in recorder["cases"].as_object().into_iter().flatten() {
            let [method, path] = ["method", "path"].map(|it| case["value"][it].as_str());
            let call = format!("{} {}", method.unwrap_or_default(), path.unwrap_or_default());
            let status = &recorder["interactions"][id]["response"]["status_code"];
            if status.as_u64().is_some_and(|status| (200..300).contains(&status)) {
                succeeded.insert(call.clone());
            }
            sent.insert(call);
        }
    }
    (succeeded, sent)
}

#[tokio::test]
async fn every_call_answers_as_the_document_says() {
    let shop = Shop::open().await;
    let token = shop.server.token(WHO, "user admin redeem").await;
    let directory = directory(&shop, &token).await;
    let report = fuzz(&shop, &token, directory.path()).await;
    let (succeeded, sent) = answered(&report);
    let document = shop.api.get("/openapi.json").await.expect(200).json();
    let mut lacking = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("calls").keys() {
            let call = format!("{} {path}", method.to_uppercase());
            assert!(sent.contains(&call), "{call} was not sent");
            if !succeeded.contains(&call) {
                lacking.push(call);
            }
        }
    }
    assert!(lacking.is_empty(), "never answered with a success: {lacking:?}");
    for event in shop.walk("/v1/events", &shop.admin, 200).await {
        let event = event["id"].as_str().expect("an id");
        assert_eq!(shop.audit(event).await.member("/verdict"), "pass");
    }
}
