//! The log: names of the Elastic Common Schema, and one line for each failure.

use std::collections::BTreeMap;

use firstcome_core::Timestamp;
use firstcome_testkit::{Engine, Launch, TestDatabase};
use serde_json::{Map, Value};

use super::collector::{Collector, ERROR};
use crate::shop::{BINARY, Shop};

/// The fields that lines may have, by their type in the schema (version 8.11, and the same in 9),
/// ours under `firstcome.`.
const FIELDS: [(&str, Type); 24] = [
    ("@timestamp", Type::Date),
    ("client.ip", Type::Keyword),
    ("ecs.version", Type::Keyword),
    ("error.code", Type::Keyword),
    ("error.message", Type::Keyword),
    ("error.type", Type::Keyword),
    ("event.duration", Type::Long),
    ("firstcome.event.id", Type::Keyword),
    ("firstcome.route", Type::Keyword),
    ("http.request.id", Type::Keyword),
    ("http.request.method", Type::Keyword),
    ("http.response.status_code", Type::Long),
    ("log.level", Type::Keyword),
    ("log.logger", Type::Keyword),
    ("log.origin.file.line", Type::Long),
    ("log.origin.file.name", Type::Keyword),
    ("message", Type::Keyword),
    ("process.pid", Type::Long),
    ("service.name", Type::Keyword),
    ("service.version", Type::Keyword),
    ("span.id", Type::Keyword),
    ("trace.id", Type::Keyword),
    ("url.full", Type::Keyword),
    ("url.path", Type::Keyword),
];
/// The fields that no line is without.
const ALWAYS: [&str; 7] = [
    "@timestamp",
    "ecs.version",
    "log.level",
    "log.logger",
    "message",
    "service.name",
    "service.version",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Date,
    Keyword,
    Long,
}

fn json(launch: Launch, level: &str) -> Launch {
    launch.arguments(&["--log-format", "json", "--log-level", level])
}

/// The lines of a log, each of which is one object with the schema's fields.
fn lines(log: &str) -> Vec<Map<String, Value>> {
    let types = BTreeMap::from(FIELDS);
    let mut lines = Vec::new();
    for text in log.lines() {
        let line: Map<String, Value> =
            serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        for field in ALWAYS {
            assert!(line.contains_key(field), "no {field}: {text}");
        }
        let ours = line["log.logger"].as_str().is_some_and(|it| it.starts_with("firstcome"));
        for (field, value) in line.iter().filter(|_| ours) {
            let known = types.get(field.as_str());
            match known.unwrap_or_else(|| panic!("{field} is not in the schema: {text}")) {
                Type::Date => {
                    let moment = value.as_str().and_then(|it| Timestamp::parse_rfc3339(it).ok());
                    assert!(moment.is_some(), "{field}: {text}");
                }
                Type::Keyword => assert!(value.is_string(), "{field}: {text}"),
                Type::Long => assert!(value.is_u64(), "{field}: {text}"),
            }
        }
        lines.push(line);
    }
    lines
}

fn text<'a>(line: &'a Map<String, Value>, field: &str) -> &'a str {
    line.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The lines that belong to a request.
fn of_request(log: &str, id: &str) -> Vec<Map<String, Value>> {
    let mut lines = lines(log);
    lines.retain(|line| text(line, "http.request.id") == id);
    lines
}

#[tokio::test]
async fn a_line_of_json_has_the_names_of_the_schema() {
    let collector = Collector::start().await;
    let mut shop = Shop::open_as(|launch| {
        json(launch, "debug").environment("FIRSTCOME_OTLP_ENDPOINT", collector.url())
    })
    .await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let call = shop.api.get("/v1/coupons/unknown").header("x-request-id", "asked-1");
    let call = call.header("traceparent", &format!("00-{trace}-b7ad6b7169203331-01"));
    let _ = call.await.expect(404);
    assert_eq!(shop.server.terminate().await, Some(0));

    let log = shop.server.logged();
    let of_request = of_request(&log, "asked-1");
    let [refused, answered] = of_request.as_slice() else { panic!("two lines: {of_request:#?}") };
    assert_eq!(text(refused, "error.code"), "coupon_not_found");
    assert_eq!(text(answered, "message"), "answered");
    assert_eq!(text(answered, "http.request.method"), "GET");
    assert_eq!(text(answered, "url.path"), "/v1/coupons/unknown");
    assert_eq!(answered["http.response.status_code"], 404);
    assert!(answered["event.duration"].as_u64().is_some_and(|nanos| nanos > 0));
    let spans = collector.trace(trace, 1).await;
    for line in &of_request {
        assert_eq!(text(line, "trace.id"), trace);
        assert_eq!(text(line, "span.id"), spans["GET /v1/coupons/{id}"].id);
    }
    let stopped = lines(&log).into_iter().find(|line| text(line, "message").contains("stopped:"));
    assert_eq!(text(&stopped.expect("the last line"), "log.level"), "INFO");
}

#[tokio::test]
async fn a_readable_line_names_its_request_too() {
    let mut shop = Shop::open_as(|launch| launch.arguments(&["--log-level", "debug"])).await;
    let _ = shop.api.get("/v1/coupons/unknown").header("x-request-id", "asked-1").await;
    assert_eq!(shop.server.terminate().await, Some(0));
    let log = shop.server.logged();
    let of_request: Vec<_> =
        log.lines().filter(|line| line.contains("http.request.id=asked-1")).collect();
    assert_eq!(of_request.len(), 2, "{log}");
    assert!(of_request[1].contains("answered"), "{log}");
    assert!(of_request[1].contains("url.path=\"/v1/coupons/unknown\""), "{log}");
}

/// A call that fails because of the ledger has one line, with its cause and its call, and the
/// cause once.
#[tokio::test]
async fn a_failure_has_one_line() {
    let database = TestDatabase::new(Engine::Postgres).await;
    let collector = Collector::start().await;
    let mut shop = Shop::open_as(|launch| {
        let launch = launch.environment("FIRSTCOME_LEDGER_URL", database.url());
        let launch = launch.environment("FIRSTCOME_OTLP_ENDPOINT", collector.url());
        crate::shop::patient(json(launch, "info"))
    })
    .await;
    database.execute("ALTER TABLE coupons RENAME TO elsewhere").await;
    let call = shop.api.get("/v1/coupons").header("x-request-id", "asked-1");
    let _ = call.await.expect_problem(503, "unavailable");
    assert_eq!(shop.server.terminate().await, Some(0));
    let log = shop.server.logged();
    let of_request = of_request(&log, "asked-1");
    let [line] = of_request.as_slice() else { panic!("one line: {log}") };
    for (field, expected) in [
        ("log.level", "ERROR"),
        ("message", "the catalog cannot answer"),
        ("error.code", "unavailable"),
        ("http.request.method", "GET"),
        ("firstcome.route", "/v1/coupons"),
    ] {
        assert_eq!(text(line, field), expected, "{line:#?}");
    }
    let cause = text(line, "error.message");
    assert_eq!(cause.matches("does not exist").count(), 1, "{cause}");

    let spans = collector.spans();
    let failed = spans.iter().find(|told| told.trace == text(line, "trace.id"));
    let failed = failed.expect("a span of the same trace");
    assert_eq!((failed.status, failed.attributes["error.type"].as_str()), (ERROR, "503"));
}

/// Beside the data directory's name stands why, once.
#[tokio::test]
async fn a_start_that_fails_tells_its_cause_once() {
    let directory = crate::startup::directory();
    let file = directory.path().join("file");
    std::fs::write(&file, "in the way").expect("a file");
    let url = format!("sqlite:{}", file.join("ledger.db").display());
    let data = directory.path().join("data");
    let arguments = ["migrate", "--data-dir", data.to_str().expect("a path in UTF-8")];
    let ended = Launch::new(BINARY, &arguments).environment("FIRSTCOME_LEDGER_URL", &url);
    let said = ended.run().await.stderr;
    assert!(said.contains("cannot open the ledger"), "{said}");
    assert_eq!(said.matches("os error").count(), 1, "{said}");
}
