//! `Idempotency-Key`: a call that is sent again makes nothing twice.

use firstcome_testkit::{Answer, Body, coupon_body, event_body};
use serde_json::json;
use tokio::task::JoinSet;

use crate::shop::Shop;

async fn post(shop: &Shop, path: &str, token: &str, key: &str, body: Body) -> Answer {
    shop.api.post(path).token(token).header("idempotency-key", key).json(body).await
}

async fn coupon(shop: &Shop, key: &str) -> Answer {
    post(shop, "/v1/coupons", &shop.admin, key, coupon_body()).await
}

async fn count(shop: &Shop, path: &str) -> usize {
    shop.walk(path, &shop.admin, 200).await.len()
}

/// What may not differ between the first answer and the next.
fn parts(answer: &Answer) -> (u16, String, String, String) {
    let header = |name| answer.header(name).to_owned();
    (answer.status, header("location"), header("etag"), answer.text())
}

#[tokio::test]
async fn the_first_answer_comes_again_also_after_a_restart() {
    let mut shop = Shop::open().await;
    let first = coupon(&shop, "k-1").await.expect(201);
    let id = first.member_text("/id");
    assert_eq!(parts(&coupon(&shop, "k-1").await), parts(&first));

    // The first answer, not what the coupon is by now.
    let path = format!("/v1/coupons/{id}");
    let call = shop.api.patch(&path).token(&shop.admin).header("if-match", first.header("etag"));
    let _ = call.json(json!({"name": "새 이름"})).await.expect(200);
    let of_event = event_body(&id);
    let event = post(&shop, "/v1/events", &shop.admin, "k-1", of_event.clone()).await.expect(201);
    shop.server.kill9();
    shop.reopen().await;
    assert_eq!(parts(&coupon(&shop, "k-1").await), parts(&first));
    let again = post(&shop, "/v1/events", &shop.admin, "k-1", of_event).await;
    assert_eq!(parts(&again), parts(&event));
    assert_eq!((count(&shop, "/v1/coupons").await, count(&shop, "/v1/events").await), (1, 1));
}

#[tokio::test]
async fn another_body_under_the_key_makes_nothing() {
    let shop = Shop::open().await;
    let _ = coupon(&shop, "k").await.expect(201);
    let other = coupon_body().with("/name", "other");
    let refused = post(&shop, "/v1/coupons", &shop.admin, "k", other).await;
    let _ = refused.expect_problem(422, "idempotency_mismatch");
    assert_eq!(count(&shop, "/v1/coupons").await, 1);
}

#[tokio::test]
async fn a_key_is_its_callers() {
    let shop = Shop::open().await;
    let other = shop.server.token("admin-2", "admin").await;
    let first = coupon(&shop, "k").await.expect(201);
    let theirs = post(&shop, "/v1/coupons", &other, "k", coupon_body()).await.expect(201);
    assert_ne!(theirs.member("/id"), first.member("/id"));
    let user = shop.user("kim").await;
    let refused = post(&shop, "/v1/coupons", &user, "k", coupon_body()).await;
    let _ = refused.expect_problem(403, "forbidden");
}

#[tokio::test]
async fn what_was_refused_leaves_the_key_free() {
    let shop = Shop::open().await;
    let bad = coupon_body().with("/name", "");
    assert_eq!(post(&shop, "/v1/coupons", &shop.admin, "k", bad).await.status, 422);
    let id = coupon(&shop, "k").await.expect(201).member_text("/id");
    let nowhere = event_body("0199a8e2-7c1b-7d3e-8f00-0123456789ab");
    let missing = post(&shop, "/v1/events", &shop.admin, "k", nowhere).await;
    let _ = missing.expect_problem(404, "coupon_not_found");
    let _ = post(&shop, "/v1/events", &shop.admin, "k", event_body(&id)).await.expect(201);
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    let shop = Shop::open().await;
    for key in ["", " ", "a b", &"k".repeat(65)] {
        let _ = coupon(&shop, key).await.expect_problem(400, "malformed");
    }
    let twice = shop.api.post("/v1/coupons").token(&shop.admin);
    let twice = twice.header("idempotency-key", "a").header("idempotency-key", "b");
    let _ = twice.json(coupon_body()).await.expect_problem(400, "malformed");
    assert_eq!(count(&shop, "/v1/coupons").await, 0);
    let _ = coupon(&shop, &"k".repeat(64)).await.expect(201);
}

#[tokio::test]
async fn of_many_at_once_one_makes_it() {
    let shop = Shop::open().await;
    let mut calls = JoinSet::new();
    for _ in 0..16 {
        let call = shop.api.post("/v1/coupons").token(&shop.admin);
        let call = call.header("idempotency-key", "k").json(coupon_body());
        calls.spawn(async move { call.await });
    }
    let mut made = Vec::new();
    for answer in calls.join_all().await {
        if answer.status == 201 {
            made.push(parts(&answer));
        } else {
            let under_way = answer.expect_problem(409, "idempotency_in_progress");
            assert_eq!(under_way.member("/retryable"), true);
            assert_eq!(under_way.header("retry-after"), "1");
        }
    }
    made.dedup();
    assert_eq!((made.len(), count(&shop, "/v1/coupons").await), (1, 1));
}
