//! Bad input: each gets its documented answer and changes nothing.

use axum::http::Method;
use firstcome_ledger::EventQuery;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::TestIssuance;

fn good(coupon_id: &str) -> Value {
    json!({
        "coupon_id": coupon_id, "name": "열 시", "quantity": 10,
        "opens_at": "2026-11-27T10:00:00+09:00", "closes_at": "2026-11-27T11:00:00+09:00",
        "strategy": "ledger",
    })
}

/// Values that no member of an event takes.
fn wrong_for(member: &str) -> Vec<Value> {
    let mut wrong = vec![json!(null), json!([]), json!({}), json!(true), json!(1.5), json!("")];
    match member {
        "quantity" => wrong.extend([
            json!(0),
            json!(-1),
            json!(10_000_001),
            json!(9_007_199_254_740_993_i64),
            json!(9_223_372_036_854_775_808_u64),
            json!("10"),
        ]),
        "name" => wrong.extend([json!(0), json!("  "), json!("a\u{7}b"), json!("쿠".repeat(101))]),
        "coupon_id" => wrong.extend([json!("no-id"), json!(7), json!("0".repeat(32))]),
        "strategy" => wrong.extend([json!("Ledger"), json!("redis"), json!("redis_lock")]),
        _ => wrong.extend([
            json!(0),
            json!("2026-11-27T10:00:00"),
            json!("2026-11-27 10:00:00Z"),
            json!("2026-02-30T10:00:00Z"),
            json!("1969-12-31T23:59:59Z"),
            json!("+12026-11-27T10:00:00Z"),
            json!("열 시"),
        ]),
    }
    wrong
}

#[tokio::test]
async fn each_member_of_a_new_event_is_checked_and_named() {
    let test = TestIssuance::new().await;
    let coupon_id = test.coupon().await.to_string();
    for member in ["coupon_id", "name", "quantity", "opens_at", "closes_at", "strategy"] {
        for value in wrong_for(member) {
            let mut body = good(&coupon_id);
            body[member] = value.clone();
            let answer = test.admin(Method::POST, "/v1/events", &body).await;
            let problem = answer.problem(422, "invalid");
            assert_eq!(problem["errors"][0]["pointer"], format!("/{member}"), "{value}");
        }
        if member != "strategy" {
            let mut body = good(&coupon_id);
            body.as_object_mut().expect("an object").remove(member);
            let answer = test.admin(Method::POST, "/v1/events", &body).await;
            answer.problem(422, "invalid");
        }
    }
    let mut body = good(&coupon_id);
    body["closes_at"] = body["opens_at"].clone();
    let empty = test.admin(Method::POST, "/v1/events", &body).await.problem(422, "invalid");
    assert_eq!(empty["errors"][0]["pointer"], "/closes_at");
    let query = EventQuery { limit: 1, ..EventQuery::default() };
    assert_eq!(test.ledger.events(&query).await.expect("an answer").len(), 0);
}

#[tokio::test]
async fn every_wrong_member_is_named_at_once() {
    let test = TestIssuance::new().await;
    let mut body = good("no-id");
    body["quantity"] = json!(0);
    body["strategy"] = json!("redis");
    let problem = test.admin(Method::POST, "/v1/events", &body).await.problem(422, "invalid");
    let pointers = problem["errors"].as_array().expect("errors").iter();
    let pointers: Vec<&str> = pointers.map(|error| error["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["/coupon_id", "/quantity", "/strategy"]);
    let strategy = problem["errors"][2]["detail"].as_str().expect("a sentence");
    assert!(strategy.contains("needs Redis"), "{strategy}");
}

#[tokio::test]
async fn a_change_takes_only_sound_members() {
    let test = TestIssuance::new().await;
    let event = test.event(10).await;
    let path = format!("/v1/events/{}", event.id);
    let seen = [("if-match", "\"1\"")];
    for member in ["name", "quantity", "opens_at", "closes_at"] {
        for value in wrong_for(member) {
            let body = json!({ member: value });
            let answer = test.admin_with(Method::PATCH, &path, &seen, &body).await;
            let problem = answer.problem(422, "invalid");
            assert_eq!(problem["errors"][0]["pointer"], format!("/{member}"), "{body}");
        }
    }
    for body in [json!({"issued": 0}), json!({"strategy": "ledger"}), json!({"closed": false})] {
        let answer = test.admin_with(Method::PATCH, &path, &seen, &body).await;
        answer.problem(400, "malformed");
    }
    let after = test.ledger.event(event.id).await.expect("an answer").expect("the event");
    assert_eq!(after, event);
}

#[tokio::test]
async fn every_admin_call_needs_a_token_and_its_scope() {
    let test = TestIssuance::new().await;
    let event = test.event(10).await;
    let path = |call: &str| format!("/v1/events/{}{call}", event.id);
    let posts = ["/open", "/pause", "/resume", "/close", "/sync"].map(|call| (Method::POST, call));
    let gets = ["/audit", "/issued-coupons"].map(|call| (Method::GET, call));
    let mut calls = vec![(Method::POST, "/v1/events".to_owned()), (Method::PATCH, path(""))];
    calls.extend(posts.into_iter().chain(gets).map(|(method, call)| (method, path(call))));
    for (method, path) in calls {
        let send = async |who| test.send(who, method.clone(), &path, &[], "").await;
        let stranger = send(("", "")).await;
        assert!(stranger.header("www-authenticate").starts_with("Bearer"));
        stranger.problem(401, "unauthenticated");
        for scope in ["user", "redeem"] {
            send(("kim", scope)).await.problem(403, "forbidden");
        }
    }
}

#[tokio::test]
async fn an_id_that_names_no_event_is_not_found_whatever_its_form() {
    let test = TestIssuance::new().await;
    let ids = [Uuid::now_v7().to_string(), "no-id".to_owned(), "0".repeat(32), "%00".to_owned()];
    for id in ids {
        for call in ["open", "pause", "resume", "close", "sync"] {
            let answer = test.post(&format!("/v1/events/{id}/{call}")).await;
            answer.problem(404, "event_not_found");
        }
        for call in ["audit", "issued-coupons"] {
            test.get(&format!("/v1/events/{id}/{call}")).await.problem(404, "event_not_found");
        }
    }
}

#[tokio::test]
async fn a_lifecycle_call_takes_no_body_or_an_empty_object() {
    let test = TestIssuance::new().await;
    let event = test.event(10).await;
    let path = |call| format!("/v1/events/{}/{call}", event.id);
    test.admin(Method::POST, &path("pause"), &json!({})).await.expect(200);
    let member = test.admin(Method::POST, &path("resume"), &json!({"state": "open"})).await;
    member.problem(400, "malformed");
    test.post(&path("resume")).await.expect(200);
}
