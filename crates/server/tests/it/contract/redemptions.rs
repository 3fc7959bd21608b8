//! Redemptions, by the shopper and by code.

use firstcome_testkit::{Answer, coupon_body};
use serde_json::{Value, json};

use super::{MALFORMED_IDS, NOWHERE, check_members, check_utc};
use crate::shop::Shop;

const MEMBERS: &str = "id issued_coupon_id order_id order_amount discount_amount currency state \
                       redeemed_at cancelled_at";

fn order(id: &str, amount: u64) -> Value {
    json!({"order_id": id, "order_amount": amount})
}

/// A shop with one issued coupon of 5,000 won, and its owner's token.
async fn with_issued() -> (Shop, Answer, String) {
    let shop = Shop::open().await;
    let event = shop.event(10).await;
    let user = shop.user("owner").await;
    let issued = shop.claim(&event, &user).await.expect(201);
    (shop, issued, user)
}

#[tokio::test]
async fn a_redemption() {
    let (shop, issued, user) = with_issued().await;
    let id = issued.member_text("/id");
    let made = shop.redeem(&id, &user, order("ORD-2026/1#~", 32_000)).await;
    let made = made.expect(201);
    check_members(&made, "", MEMBERS);
    for (member, expected) in [
        ("/issued_coupon_id", json!(id)),
        ("/order_id", json!("ORD-2026/1#~")),
        ("/order_amount", json!(32_000)),
        ("/discount_amount", json!(5_000)),
        ("/currency", json!("KRW")),
        ("/state", json!("redeemed")),
        ("/cancelled_at", Value::Null),
    ] {
        assert_eq!(made.member(member), expected, "{member}");
    }
    check_utc(&made, "/redeemed_at");
    let used = shop.api.get(&format!("/v1/me/coupons/{id}")).token(&user).await.expect(200);
    assert_eq!(used.member("/state"), "used");
    assert_eq!(used.member("/used_at"), made.member("/redeemed_at"));
}

#[tokio::test]
async fn one_use_and_every_retry_the_same() {
    let (shop, issued, user) = with_issued().await;
    let id = issued.member_text("/id");
    let made = shop.redeem(&id, &user, order("o-1", 32_000)).await.expect(201);
    let again = shop.redeem(&id, &user, order("o-1", 32_000)).await.expect(200);
    assert_eq!(again.json(), made.json());
    let items = json!({
        "order_id": "o-1", "order_amount": 32_000, "currency": "KRW",
        "items": [{"product_id": "p", "category_ids": ["c"], "amount": 1}],
    });
    assert_eq!(shop.redeem(&id, &user, items).await.expect(200).json(), made.json());

    let dollars = json!({"order_id": "o-1", "order_amount": 32_000, "currency": "USD"});
    for mismatch in [order("o-1", 32_001), dollars] {
        let answer = shop.redeem(&id, &user, mismatch).await;
        let _ = answer.expect_problem(409, "order_mismatch");
    }
    let refused = shop.redeem(&id, &user, order("o-2", 32_000)).await;
    let refused = refused.expect_problem(409, "already_used");
    assert_eq!(refused.member("/redemption"), made.json());
}

#[tokio::test]
async fn a_cancel_frees_the_coupon_for_another_order() {
    let (shop, issued, user) = with_issued().await;
    let id = issued.member_text("/id");
    let checkout = shop.checkout().await;
    let made = shop.redeem(&id, &user, order("o-1", 32_000)).await.expect(201);
    let path = format!("/v1/redemptions/{}/cancel", made.member_text("/id"));
    let with_body = shop.api.post(&path).token(&checkout).json(json!({"why": "x"})).await;
    let _ = with_body.expect_problem(400, "malformed");
    let cancelled = shop.api.post(&path).token(&checkout).await.expect(200);
    check_members(&cancelled, "", MEMBERS);
    assert_eq!(cancelled.member("/state"), "cancelled");
    check_utc(&cancelled, "/cancelled_at");
    for token in [&checkout, &shop.admin] {
        let again = shop.api.post(&path).token(token).json(json!({})).await.expect(200);
        assert_eq!(again.json(), cancelled.json(), "cancelling twice");
    }
    let read = shop.api.get(&format!("/v1/me/coupons/{id}")).token(&user).await.expect(200);
    assert_eq!((read.member("/state"), read.member("/used_at")), (json!("issued"), Value::Null));

    let same = shop.redeem(&id, &user, order("o-1", 32_000)).await.expect(200);
    assert_eq!(same.json(), cancelled.json(), "a late retry does not use the coupon again");
    let second = shop.redeem(&id, &user, order("o-2", 10_000)).await.expect(201);
    assert_ne!(second.member("/id"), made.member("/id"));
    let _ = shop.api.post(&path).token(&checkout).await.expect(200);
    let read = shop.api.get(&format!("/v1/me/coupons/{id}")).token(&user).await.expect(200);
    assert_eq!(read.member("/state"), "used", "the old cancel does not reach the new redemption");
    for id in MALFORMED_IDS.iter().chain([&NOWHERE]) {
        let path = format!("/v1/redemptions/{id}/cancel");
        let answer = shop.api.post(&path).token(&checkout).await;
        let _ = answer.expect_problem(404, "redemption_not_found");
    }
}

#[tokio::test]
async fn by_code_as_people_type_it() {
    let (shop, issued, user) = with_issued().await;
    let checkout = shop.checkout().await;
    let code = issued.member_text("/code");
    let redeem = async |code: &str, amount: u64| {
        let body = json!({"code": code, "order_id": "o-1", "order_amount": amount});
        shop.api.post("/v1/redemptions").token(&checkout).json(body).await
    };
    for unknown in ["0000-0000-0000", "ZZZZZZZZZZZZ", "x", "", "쿠폰쿠폰쿠폰", "'; --"] {
        let _ = redeem(unknown, 32_000).await.expect_problem(404, "issued_coupon_not_found");
    }
    let made = redeem(&code.to_lowercase().replace('-', ""), 32_000).await.expect(201);
    check_members(&made, "", MEMBERS);
    assert_eq!(made.member("/issued_coupon_id"), issued.member("/id"));
    assert_eq!(redeem(&code, 32_000).await.expect(200).json(), made.json());
    let _ = redeem(&code, 1).await.expect_problem(409, "order_mismatch");
    // The shopper's own call meets the same redemption.
    let mine = shop.redeem(&issued.member_text("/id"), &user, order("o-1", 32_000)).await;
    assert_eq!(mine.expect(200).json(), made.json());
}

#[tokio::test]
async fn a_coupon_that_is_not_valid_yet() {
    let shop = Shop::open().await;
    let validity = json!({
        "type": "period", "from": "2098-01-01T00:00:00Z", "until": "2098-02-01T00:00:00Z",
    });
    let event = shop.event_issuing(coupon_body().with("/validity", validity)).await;
    let user = shop.user("u").await;
    let issued = shop.claim(&event, &user).await.expect(201).member_text("/id");
    let refused = shop.redeem(&issued, &user, order("o-1", 32_000)).await;
    let _ = refused.expect_problem(409, "not_yet_valid");
}

#[tokio::test]
async fn every_condition_that_is_not_met_is_told() {
    let shop = Shop::open().await;
    let conditions = json!({
        "min_order_amount": 20_000, "product_ids": ["p1", "p2"], "category_ids": ["c1"],
    });
    let event = shop.event_issuing(coupon_body().conditions(conditions)).await;
    let user = shop.user("u").await;
    let issued = shop.claim(&event, &user).await.expect(201).member_text("/id");
    let redeem = async |amount: u64, currency: &str, items: Value| {
        let order = json!({
            "order_id": "o-1", "order_amount": amount, "currency": currency, "items": items,
        });
        shop.redeem(&issued, &user, order).await
    };
    let refused = redeem(19_999, "USD", json!([{"product_id": "x"}])).await;
    let refused = refused.expect_problem(422, "conditions_not_met");
    let mut unmet = refused.member("/unmet").as_array().expect("a list").clone();
    unmet.sort_by_key(|unmet| unmet["condition"].as_str().unwrap_or_default().to_owned());
    let expected = [
        json!({"condition": "category_ids", "expected": ["c1"], "found": []}),
        json!({"condition": "currency", "expected": "KRW", "found": "USD"}),
        json!({"condition": "min_order_amount", "expected": 20_000, "found": 19_999}),
        json!({"condition": "product_ids", "expected": ["p1", "p2"], "found": ["x"]}),
    ];
    assert_eq!(unmet, expected, "{refused}");

    let refused = redeem(20_000, "KRW", json!([{"product_id": "p2"}])).await;
    let refused = refused.expect_problem(422, "conditions_not_met");
    assert_eq!(refused.member("/unmet/0/condition"), "category_ids");
    assert_eq!(refused.member("/unmet").as_array().map(Vec::len), Some(1));
    let items = json!([{"product_id": "p2"}, {"product_id": "x", "category_ids": ["c0", "c1"]}]);
    let _ = redeem(20_000, "KRW", items).await.expect(201);
}

#[tokio::test]
async fn the_discount_of_a_share() {
    let shop = Shop::open().await;
    let benefit = json!({"type": "percent", "percent": 10, "max_amount": 3_000});
    let event = shop.event_issuing(coupon_body().with("/benefit", benefit)).await;
    for (index, (amount, discount)) in
        [(9, 0), (19_999, 1_999), (30_000, 3_000), (1_000_000_000_000_u64, 3_000)]
            .into_iter()
            .enumerate()
    {
        let user = shop.user(&format!("u-{index}")).await;
        let issued = shop.claim(&event, &user).await.expect(201).member_text("/id");
        let made = shop.redeem(&issued, &user, order("o-1", amount)).await.expect(201);
        assert_eq!(made.member("/discount_amount"), discount, "{made}");
    }
}

#[tokio::test]
async fn a_fixed_amount_is_never_above_the_order() {
    let (shop, issued, user) = with_issued().await;
    let made = shop.redeem(&issued.member_text("/id"), &user, order("o-1", 1)).await.expect(201);
    assert_eq!(made.member("/discount_amount"), 1);
}

#[tokio::test]
async fn two_coupons_for_one_order() {
    let shop = Shop::open().await;
    let user = shop.user("u").await;
    for _ in 0..2 {
        let event = shop.event(10).await;
        let issued = shop.claim(&event, &user).await.expect(201).member_text("/id");
        let _ = shop.redeem(&issued, &user, order("o-1", 32_000)).await.expect(201);
    }
}

#[tokio::test]
async fn a_changed_benefit_is_for_later_redemptions() {
    let shop = Shop::open().await;
    let made = shop.event_of(|body| body).await;
    let user = shop.user("u").await;
    let issued = shop.claim(&made.member_text("/id"), &user).await.expect(201).member_text("/id");
    let path = format!("/v1/coupons/{}", made.member_text("/coupon_id"));
    let etag = shop.api.get(&path).await.header("etag").to_owned();
    let change = json!({"benefit": {"type": "amount", "amount": 7_000}});
    let call = shop.api.patch(&path).token(&shop.admin).header("if-match", &etag);
    let _ = call.json(change).await.expect(200);
    let made = shop.redeem(&issued, &user, order("o-1", 32_000)).await.expect(201);
    assert_eq!(made.member("/discount_amount"), 7_000);
}

#[tokio::test]
async fn an_order_has_a_bounded_number_of_items() {
    let (shop, issued, user) = with_issued().await;
    let id = issued.member_text("/id");
    let with =
        |items: Vec<Value>| json!({"order_id": "o-1", "order_amount": 32_000, "items": items});
    let item = json!({"product_id": "p"});
    let refused = shop.redeem(&id, &user, with(vec![item.clone(); 201])).await;
    assert_eq!(refused.invalid_pointers(), ["/items".to_owned()].into());
    let many = json!({"product_id": "p", "category_ids": vec!["c"; 101]});
    let refused = shop.redeem(&id, &user, with(vec![item.clone(), many])).await;
    assert_eq!(refused.invalid_pointers(), ["/items/1/category_ids".to_owned()].into());
    let _ = shop.redeem(&id, &user, with(vec![item; 200])).await.expect(201);
}
