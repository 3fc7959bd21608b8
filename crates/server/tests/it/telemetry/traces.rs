//! Traces, as a collector gets them, and requests when it does not.

use std::time::Duration;

use firstcome_testkit::Answer;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::collector::{Collector, ERROR, Told};
use crate::shop::{Shop, eventually};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
/// The number of a span's kind in OTLP.
const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
/// More requests than spans may wait.
const MANY: usize = 6_000;
/// Longest that those may take, on a busy machine too: far less than a collector is waited for by
/// each of them.
const MANY_WITHIN: Duration = Duration::from_secs(60);

/// A shop that tells its traces to the collector at this address.
async fn shop(url: &str) -> Shop {
    Shop::open_as(|launch| launch.environment("FIRSTCOME_OTLP_ENDPOINT", url)).await
}

/// A claim of a new event with this `traceparent`.
async fn claim(shop: &Shop, traceparent: &str) -> Answer {
    let event = shop.event(1).await;
    let call = shop.api.post(&format!("/v1/events/{event}/claims"));
    let call = call.token(&shop.user("shopper").await).header("traceparent", traceparent);
    call.header("tracestate", "checkout=1").await.expect(201)
}

fn check(told: &Told, expected: &[(&str, &str)]) {
    for (key, value) in expected {
        assert_eq!(told.attributes.get(*key).map(String::as_str), Some(*value), "{key}: {told:#?}");
    }
    assert_eq!(told.attributes.len(), expected.len(), "nothing else is told: {told:#?}");
}

#[tokio::test]
async fn a_claim_is_told_as_part_of_its_senders_trace() {
    let collector = Collector::start().await;
    let shop = shop(collector.url()).await;
    let event = shop.event(1).await;
    let path = format!("/v1/events/{event}/claims");
    let call = shop.api.post(&format!("{path}?from=push")).token(&shop.user("shopper").await);
    let call = call.header("traceparent", &format!("00-{TRACE}-{PARENT}-01"));
    let answer = call.header("tracestate", "checkout=1").await.expect(201);

    let spans = collector.trace(TRACE, 2).await;
    let request = &spans["POST /v1/events/{id}/claims"];
    assert_eq!((request.parent.as_str(), request.kind), (PARENT, SERVER), "{request:#?}");
    assert_eq!(request.state, "checkout=1");
    assert_ne!(request.status, ERROR);
    check(
        request,
        &[
            ("http.request.method", "POST"),
            ("http.route", "/v1/events/{id}/claims"),
            ("http.response.status_code", "201"),
            ("http.request.header.x-request-id", answer.header("x-request-id")),
            ("url.path", &path),
            ("url.scheme", "http"),
        ],
    );
    let batch = &spans["decide claims"];
    assert_eq!((&batch.parent, batch.kind), (&request.id, INTERNAL), "{batch:#?}");
    check(batch, &[("firstcome.batch.claims", "1")]);
    for told in [request, batch] {
        assert_eq!(told.resource["service.name"], "firstcome");
        assert_eq!(told.resource["service.version"], env!("CARGO_PKG_VERSION"));
    }
}

#[tokio::test]
async fn a_password_is_told_as_the_time_that_it_took() {
    let collector = Collector::start().await;
    let shop = shop(collector.url()).await;
    let body = json!({"email": "shopper@example.com", "password": "correct horse"});
    let _ = shop.api.post("/v1/users").json(body.clone()).await.expect(201);
    let _ = shop.api.post("/v1/sessions").json(body).await.expect(200);
    let named = |spans: &[Told], name: &str| spans.iter().find(|told| told.name == name).cloned();
    for (route, work) in
        [("POST /v1/users", "hash password"), ("POST /v1/sessions", "verify password")]
    {
        let spans = collector
            .hear(|spans| named(spans, route).is_some() && named(spans, work).is_some())
            .await;
        let (request, work) = (named(&spans, route), named(&spans, work));
        let (request, work) = (request.expect("a request"), work.expect("its work"));
        assert_eq!((&work.parent, &work.trace), (&request.id, &request.trace));
        check(&work, &[]);
    }
}

#[tokio::test]
async fn what_is_no_parent_is_ignored_and_who_is_not_sampled_is_not_told() {
    let collector = Collector::start().await;
    let shop = shop(collector.url()).await;
    let unsampled = "1af7651916cd43dd8448eb211c80319c";
    let _ = claim(&shop, &format!("00-{unsampled}-{PARENT}-00")).await;
    let upper = TRACE.to_uppercase();
    let ignored = claim(&shop, &format!("00-{upper}-{PARENT}-01")).await;
    // Spans are sent in the order in which they end.
    let _ = claim(&shop, &format!("00-{TRACE}-{PARENT}-01")).await;
    let _ = collector.trace(TRACE, 2).await;
    let spans = collector.spans();
    assert!(spans.iter().all(|told| told.trace != unsampled), "{spans:#?}");
    let id = ignored.header("x-request-id");
    let own = spans.iter().find(|told| {
        told.attributes.get("http.request.header.x-request-id").is_some_and(|told| told == id)
    });
    let own = own.expect("a trace of its own");
    assert_eq!(own.parent, "");
    assert_ne!(own.trace, TRACE);
    assert_eq!(own.state, "", "a state without its parent");
}

#[tokio::test]
async fn a_ratio_of_none_tells_only_what_its_sender_traces() {
    let collector = Collector::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("firstcome.toml");
    std::fs::write(&file, "telemetry.trace_ratio = 0").expect("a file");
    let shop = Shop::open_as(|launch| {
        let launch = launch.environment("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url());
        launch.arguments(&["--config", file.to_str().expect("a path in UTF-8")])
    })
    .await;
    let _ = shop.api.get("/v1/events").await.expect(200);
    let _ = claim(&shop, &format!("00-{TRACE}-{PARENT}-01")).await;
    let _ = collector.trace(TRACE, 2).await;
    let spans = collector.spans();
    assert!(spans.iter().all(|told| told.trace == TRACE), "{spans:#?}");
}

#[tokio::test]
async fn what_is_not_told_yet_is_told_at_the_end() {
    let collector = Collector::start().await;
    let mut shop = shop(collector.url()).await;
    let _ = claim(&shop, &format!("00-{TRACE}-{PARENT}-01")).await;
    assert_eq!(shop.server.terminate().await, Some(0));
    let spans = collector.spans();
    let told = |name: &str| spans.iter().any(|told| told.trace == TRACE && told.name == name);
    assert!(told("POST /v1/events/{id}/claims") && told("decide claims"), "{spans:#?}");
}

#[tokio::test]
async fn a_refusal_is_told_and_is_no_failure() {
    let collector = Collector::start().await;
    let shop = shop(collector.url()).await;
    // A head that is read, and refused by the edge.
    let long = "x".repeat(17 * 1024);
    let _ = shop.api.get("/livez").header("x-long", &long).await.expect(431);
    let spans = collector.hear(|spans| spans.iter().any(|it| status(it) == "431")).await;
    let refused = spans.iter().find(|told| status(told) == "431").expect("it was heard");
    assert_ne!(refused.status, ERROR, "a refusal is the sender's: {refused:#?}");
    assert!(!format!("{spans:?}").contains("xxx"), "a header is told");
}

fn status(told: &Told) -> &str {
    told.attributes.get("http.response.status_code").map_or("", String::as_str)
}

/// Sends more requests than spans may wait, one after the other.
async fn send_many(shop: &Shop) {
    let mut wire = shop.wire().await;
    let began = Instant::now();
    for _ in 0..MANY {
        wire.request("GET /livez", "", "").await.expect("the server reads");
        let _ = wire.answer().await.expect("an answer").expect(200);
    }
    assert!(began.elapsed() < MANY_WITHIN, "{:?} for {MANY} requests", began.elapsed());
}

/// The spans with this outcome, as the metrics tell.
fn spans_of(metrics: &Answer, outcome: &str) -> f64 {
    let name = format!("firstcome_trace_spans_total{{outcome=\"{outcome}\"}} ");
    let text = metrics.text();
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("no {name}")).parse().expect("a number")
}

async fn until_spans(shop: &Shop, outcome: &str, least: f64) {
    let ask = || async { shop.api.get("/metrics").await };
    let _ = eventually(outcome, ask, |metrics| spans_of(metrics, outcome) >= least).await;
}

#[tokio::test]
async fn a_collector_that_is_away_is_told_of_once() {
    let port = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = port.local_addr().expect("an address");
    drop(port);
    let mut shop = shop(&format!("http://{address}")).await;
    for _ in 0..3 {
        let failed = spans_of(&shop.api.get("/metrics").await, "failed");
        until_spans(&shop, "failed", failed + 1.0).await;
    }
    assert_eq!(shop.server.terminate().await, Some(0));
    let said = shop.server.said();
    assert_eq!(said.matches("traces cannot be sent").count(), 1, "{said}");
    assert_eq!(said.matches(&address.to_string()).count(), 1, "{said}");
}

/// It takes connections and answers none.
#[tokio::test]
async fn a_collector_that_does_not_answer_delays_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("an address"));
    let mut shop = shop(&url).await;
    send_many(&shop).await;
    until_spans(&shop, "dropped", 1.0).await;
    let stopping = Instant::now();
    assert_eq!(shop.server.terminate().await, Some(0));
    let took = stopping.elapsed();
    assert!(took < Duration::from_secs(20), "stopped after {took:?}, with 30 s to drain");
}

#[tokio::test]
async fn without_a_collector_nothing_is_traced() {
    let shop = Shop::open_as(|launch| launch.arguments(&["--log-level", "debug"])).await;
    let _ = claim(&shop, &format!("00-{TRACE}-{PARENT}-01")).await;
    assert!(!shop.server.said().contains("trace.id"), "{}", shop.server.said());
    let metrics = shop.api.get("/metrics").await.text();
    assert!(!metrics.contains("firstcome_trace_spans_total"), "{metrics}");
}
