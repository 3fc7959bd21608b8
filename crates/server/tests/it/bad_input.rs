//! Bad input: every member of every body, at values that programs get wrong. Each is refused with
//! its documented answer, and nothing changes.

mod cases;
mod targets;

use firstcome_testkit::Answer;
use serde_json::Value;

use crate::shop::Shop;
use cases::{Case, cases};
use targets::{Target, targets};

/// Everything that a call could have changed: all lists, and each event's audit.
async fn everything(shop: &Shop, owner: &str, event: &str) -> Vec<Value> {
    let mut all = Vec::new();
    for (path, token) in [
        ("/v1/coupons".to_owned(), ""),
        ("/v1/events".to_owned(), ""),
        ("/v1/clients".to_owned(), shop.admin.as_str()),
        (format!("/v1/events/{event}/issued-coupons"), shop.admin.as_str()),
        ("/v1/me/coupons".to_owned(), owner),
    ] {
        all.extend(shop.walk(&path, token, 200).await);
    }
    for item in &mut all {
        // The moment of reading is no state; and what is issued may be told late.
        let object = item.as_object_mut().expect("an object");
        for member in ["server_time", "issued", "remaining"] {
            object.remove(member);
        }
    }
    all.push(shop.audit(event).await.json());
    all
}

async fn send(shop: &Shop, target: &Target, bytes: Vec<u8>) -> Answer {
    let mut call = shop.api.call(target.method, &target.path).json_bytes(bytes);
    if !target.token.is_empty() {
        call = call.token(&target.token);
    }
    if let Some(etag) = &target.if_match {
        call = call.header("if-match", etag);
    }
    call.await
}

/// That a case got its documented answer.
#[track_caller]
fn check(target: &Target, case: &Case, answer: &Answer) {
    let what = format!("{} {}: {}", target.method, target.path, case.what);
    assert!(case.expected.contains(&answer.status), "{what}: {answer}");
    let code = answer.code();
    let expected = match answer.status {
        400 => "malformed",
        413 => "too_large",
        422 => "invalid",
        404 => "issued_coupon_not_found",
        _ => "none of these",
    };
    assert_eq!(code, expected, "{what}: {answer}");
    if let (422, Some(pointer)) = (answer.status, &case.pointer) {
        let pointers = answer.invalid_pointers();
        assert!(pointers.contains(pointer), "{what}: {pointer} is not named: {answer}");
    }
    let text = answer.text();
    for inside in ["src/", "panicked", "serde", "sqlx", "SqliteError", "RUST_"] {
        assert!(!text.contains(inside), "{what}: tells of the inside: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_of_every_body() {
    let shop = Shop::open().await;
    let world = targets::World::make(&shop).await;
    let before = everything(&shop, &world.owner, &world.event).await;
    let mut count = 0;
    for target in targets(&shop, &world) {
        let good = target.body.json().to_string();
        for case in cases(&target) {
            let answer = send(&shop, &target, case.bytes.clone()).await;
            check(&target, &case, &answer);
            count += 1;
        }
        let after = everything(&shop, &world.owner, &world.event).await;
        assert_eq!(after, before, "{} {} changed something", target.method, target.path);
        assert!(!good.is_empty(), "a target has a body");
    }
    assert!(count > 1_000, "only {count} cases");
}

/// The bodies that the cases spoil are good ones: otherwise every refusal above would mean nothing.
#[tokio::test]
async fn the_bodies_are_good_where_nothing_is_spoilt() {
    let shop = Shop::open().await;
    let world = targets::World::make(&shop).await;
    for target in targets(&shop, &world) {
        let answer = send(&shop, &target, target.body.json().to_string().into_bytes()).await;
        let fine = matches!(answer.status, 200 | 201);
        assert!(fine || target.answers_otherwise == Some(answer.status), "{answer}");
    }
}

/// What is wrong with a whole request, whatever its body means.
#[tokio::test]
async fn requests_over_their_limits() {
    let shop = Shop::open().await;
    let coupon = firstcome_testkit::coupon_body().json().to_string();
    let make = || shop.api.post("/v1/coupons").token(&shop.admin);
    let padded = |bytes: usize| format!("{coupon}{}", " ".repeat(bytes - coupon.len()));
    let _ = make().json_bytes(padded(64 * 1024 + 1)).await.expect_problem(413, "too_large");
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let _ = make().json_bytes(deep).await.expect_problem(413, "too_large");
    for bytes in [17 * 1024, 40 * 1024] {
        let call = make().header("x-padding", &"a".repeat(bytes)).json_bytes(coupon.clone());
        let _ = call.await.expect_problem(431, "headers_too_large");
    }
    let path = format!("/v1/coupons?padding={}", "a".repeat(20 * 1024));
    assert!(matches!(shop.api.get(&path).await.status, 414 | 431), "a long target");
    assert_eq!(shop.walk("/v1/coupons", "", 50).await, Vec::<Value>::new());
    let _ = make().json_bytes(padded(64 * 1024)).await.expect(201);
}

/// What is no HTTP at all, or not whole.
#[tokio::test]
async fn malformed_http() {
    let shop = Shop::open().await;
    let token = &shop.admin;
    let post = |lines: &str, body: &str| {
        format!(
            "POST /v1/coupons HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\nconnection: close\r\n{lines}\r\n{body}"
        )
    };
    for request in [
        "\r\n\r\n\r\n".to_owned(),
        "HELLO\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        "GET /\0 HTTP/1.1\r\nhost: test\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: test\r\nbad header\r\n\r\n".to_owned(),
        post("content-length: -1\r\n", "{}"),
        post("content-length: 2\r\ncontent-length: 3\r\n", "{}"),
        post("content-length: 2\r\ntransfer-encoding: x\r\n", "{}"),
        post("transfer-encoding: chunked\r\n", "zz\r\n{}\r\n0\r\n\r\n"),
    ] {
        let mut wire = shop.wire().await;
        wire.send(&request).await.expect("the server listens");
        let answered = String::from_utf8_lossy(&wire.until_closed().await).into_owned();
        let refused = answered.is_empty() || answered.starts_with("HTTP/1.1 4");
        assert!(refused, "{request:?} was answered {answered}");
    }
    assert_eq!(shop.walk("/v1/coupons", "", 50).await, Vec::<Value>::new());
}
