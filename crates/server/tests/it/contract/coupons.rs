//! Coupons.

use firstcome_testkit::{Body, coupon_body};
use serde_json::{Value, json};

use super::{MALFORMED_IDS, NOWHERE, check_members, check_utc};
use crate::shop::Shop;

const MEMBERS: &str = "id name benefit conditions validity created_at updated_at";

fn percent() -> Body {
    let (from, until) = ("2026-11-27T00:00:00+09:00", "2026-12-01T00:00:00+09:00");
    coupon_body()
        .with("/benefit", json!({"type": "percent", "percent": 10, "max_amount": 3_000}))
        .with("/validity", json!({"type": "period", "from": from, "until": until}))
        .conditions(json!({
            "min_order_amount": 20_000, "product_ids": ["상품-1"], "category_ids": ["c1", "c2"],
        }))
}

#[tokio::test]
async fn a_coupon_is_made_and_read() {
    let shop = Shop::open().await;
    let body = coupon_body().with("/name", "  블랙 프라이데이 🎁 ");
    let made = shop.api.post("/v1/coupons").token(&shop.admin).json(body).await.expect(201);
    check_members(&made, "", MEMBERS);
    assert_eq!(made.member("/name"), "블랙 프라이데이 🎁");
    let benefit = json!({"type": "amount", "amount": 5_000, "currency": "KRW"});
    assert_eq!(made.member("/benefit"), benefit);
    let conditions = json!({"min_order_amount": 0, "product_ids": [], "category_ids": []});
    assert_eq!(made.member("/conditions"), conditions);
    assert_eq!(made.member("/validity"), json!({"type": "days", "days": 30}));
    assert_eq!(made.member("/created_at"), made.member("/updated_at"));
    check_utc(&made, "/created_at");

    let path = format!("/v1/coupons/{}", made.member_text("/id"));
    assert_eq!(made.header("location"), path);
    assert!(made.header("etag").starts_with('"'), "{made}");
    let read = shop.api.get(&path).await.expect(200);
    assert_eq!((read.json(), read.header("etag")), (made.json(), made.header("etag")));
}

#[tokio::test]
async fn the_other_kinds_of_benefit_and_validity() {
    let shop = Shop::open().await;
    let made = shop.api.post("/v1/coupons").token(&shop.admin).json(percent()).await.expect(201);
    let benefit = json!({"type": "percent", "percent": 10, "max_amount": 3_000, "currency": "KRW"});
    assert_eq!(made.member("/benefit"), benefit);
    let validity = json!({
        "type": "period", "from": "2026-11-26T15:00:00Z", "until": "2026-11-30T15:00:00Z",
    });
    assert_eq!(made.member("/validity"), validity);
    assert_eq!(made.member("/conditions"), percent().json()["conditions"]);

    let uncapped = percent().without("/benefit/max_amount").with("/benefit/currency", "USD");
    let made = shop.api.post("/v1/coupons").token(&shop.admin).json(uncapped).await.expect(201);
    assert_eq!(made.member("/benefit/currency"), "USD");
    let cap = made.json().pointer("/benefit/max_amount").cloned().unwrap_or(Value::Null);
    assert_eq!(cap, Value::Null, "no cap");
}

#[tokio::test]
async fn a_coupon_that_is_not_there() {
    let shop = Shop::open().await;
    for id in MALFORMED_IDS.iter().chain([&NOWHERE]) {
        let path = format!("/v1/coupons/{id}");
        let _ = shop.api.get(&path).await.expect_problem(404, "coupon_not_found");
        let patch = shop.api.patch(&path).token(&shop.admin).header("if-match", "\"1\"");
        let _ = patch.json(json!({"name": "x"})).await.expect_problem(404, "coupon_not_found");
    }
}

#[tokio::test]
async fn a_change_needs_the_etag_that_was_read() {
    let shop = Shop::open().await;
    let made = shop.api.post("/v1/coupons").token(&shop.admin).json(coupon_body()).await;
    let path = format!("/v1/coupons/{}", made.member_text("/id"));
    let first = made.header("etag").to_owned();
    let rename = |etag: &str, name: &str| {
        let call = shop.api.patch(&path).token(&shop.admin).header("if-match", etag);
        call.json(json!({"name": name}))
    };

    let bare = shop.api.patch(&path).token(&shop.admin).json(json!({"name": "둘"})).await;
    let _ = bare.expect_problem(428, "precondition_required");
    for stale in ["\"0\"", "\"99\"", "x", "", "W/\"1\""] {
        let _ = rename(stale, "둘").await.expect_problem(412, "precondition_failed");
    }
    assert_eq!(shop.api.get(&path).await.json(), made.json(), "a refused change changes nothing");

    let changed = rename(&first, "둘").await.expect(200);
    check_members(&changed, "", MEMBERS);
    assert_eq!(changed.member("/name"), "둘");
    assert_eq!(changed.member("/benefit"), made.member("/benefit"));
    assert_ne!(changed.header("etag"), first);
    let _ = rename(&first, "셋").await.expect_problem(412, "precondition_failed");
    let read = shop.api.get(&path).await.expect(200);
    assert_eq!((read.json(), read.header("etag")), (changed.json(), changed.header("etag")));
    let _ = rename(changed.header("etag"), "셋").await.expect(200);
}

#[tokio::test]
async fn every_member_of_a_coupon_can_change() {
    let shop = Shop::open().await;
    let id = shop.coupon().await;
    let path = format!("/v1/coupons/{id}");
    for member in ["benefit", "conditions", "validity"] {
        let etag = shop.api.get(&path).await.header("etag").to_owned();
        let change = json!({member: percent().json()[member]});
        let call = shop.api.patch(&path).token(&shop.admin).header("if-match", &etag);
        let _ = call.json(change).await.expect(200);
    }
    let made = shop.api.post("/v1/coupons").token(&shop.admin).json(percent()).await;
    let changed = shop.api.get(&path).await.expect(200);
    for member in ["/benefit", "/conditions", "/validity"] {
        assert_eq!(changed.member(member), made.member(member));
    }
}

/// The rules of single values are tested in their tables; here, that each is asked, and that all
/// refusals are told at once.
#[tokio::test]
async fn every_refused_value_is_named() {
    let shop = Shop::open().await;
    let body = Body::from(json!({
        "name": "\u{7}",
        "benefit": {"type": "amount", "amount": 0, "currency": "won"},
        "conditions": {"min_order_amount": -1, "product_ids": [""], "category_ids": ["a\nb"]},
        "validity": {"type": "days", "days": 3_651},
    }));
    let answer = shop.api.post("/v1/coupons").token(&shop.admin).json(body).await;
    let expected = [
        "/name",
        "/benefit/amount",
        "/benefit/currency",
        "/conditions/min_order_amount",
        "/conditions/product_ids/0",
        "/conditions/category_ids/0",
        "/validity/days",
    ];
    assert_eq!(answer.invalid_pointers(), expected.map(str::to_owned).into());

    let period = json!({
        "type": "period", "from": "2026-11-27T00:00:00Z", "until": "2026-11-27T00:00:00Z",
    });
    let body = coupon_body().with("/validity", period);
    let answer = shop.api.post("/v1/coupons").token(&shop.admin).json(body).await;
    assert_eq!(answer.invalid_pointers(), ["/validity/until".to_owned()].into());
}

#[tokio::test]
async fn conditions_have_a_bounded_number_of_ids() {
    let shop = Shop::open().await;
    for member in ["product_ids", "category_ids"] {
        for (count, status) in [(100, 201), (101, 422)] {
            let ids: Vec<String> = (0..count).map(|number| format!("id-{number}")).collect();
            let body = coupon_body().conditions(json!({member: ids}));
            let answer = shop.api.post("/v1/coupons").token(&shop.admin).json(body).await;
            assert_eq!(answer.status, status, "{answer}");
            if status == 422 {
                assert_eq!(answer.invalid_pointers(), [format!("/conditions/{member}")].into());
            }
        }
    }
}
