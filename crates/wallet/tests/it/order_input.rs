//! What is no order is refused with what is wrong, and uses nothing.

use std::collections::BTreeSet;

use firstcome_testkit::Body;
use firstcome_testkit::draft;
use serde_json::{Value, json};

use crate::support::TestWallet;

/// An order that is accepted, with everything that an order may have.
fn whole() -> Body {
    Body::from(json!({
        "order_id": "A-1", "order_amount": 30_000, "currency": "KRW",
        "items": [{"product_id": "P-1", "category_ids": ["신발"], "amount": 30_000}],
    }))
}

#[tokio::test]
async fn values_out_of_range_and_of_a_wrong_type_are_named() {
    let test = TestWallet::new().await;
    let won = test.won("kim", draft::coupon()).await;
    let mine = format!("/v1/me/coupons/{}/redemptions", won.id);
    let no_amounts = [
        json!(0),
        json!(-1),
        json!(1.5),
        json!(1_000_000_000_001_u64),
        json!(9_007_199_254_740_993_u64),
        json!(9_223_372_036_854_775_808_u64),
        json!(u64::MAX),
        json!(i64::MIN),
        json!("1"),
        json!(null),
        json!(true),
    ];
    let mut table: Vec<(&str, Value)> = Vec::new();
    for value in no_amounts {
        table.push(("/order_amount", value.clone()));
        table.push(("/items/0/amount", value));
    }
    let long = "A".repeat(65);
    for value in ["", "A 1", "주문", "A\u{7f}", "😀", long.as_str()] {
        table.push(("/order_id", json!(value)));
    }
    for value in ["", "krw", "WON", "₩"] {
        table.push(("/currency", json!(value)));
    }
    let long = "가".repeat(201);
    for value in ["", "  ", "a\nb", long.as_str()] {
        table.push(("/items/0/product_id", json!(value)));
    }
    for value in [json!(null), json!(1), json!([]), json!({})] {
        table.push(("/order_id", value.clone()));
        table.push(("/currency", value.clone()));
        table.push(("/items/0/product_id", value));
    }
    for value in [json!(null), json!({}), json!("x"), json!(vec!["x"; 101])] {
        table.push(("/items/0/category_ids", value));
    }
    let items = vec![json!({"product_id": "x"}); 201];
    table.extend([json!(null), json!({}), json!("x"), json!(items)].map(|it| ("/items", it)));
    for (pointer, value) in table {
        let body = match pointer.strip_prefix("/items/0/") {
            Some(member) => {
                let mut item = json!({"product_id": "P-1"});
                item[member] = value.clone();
                whole().with("/items", json!([item]))
            }
            None => whole().with(pointer, value.clone()),
        };
        let named = BTreeSet::from([pointer.to_owned()]);
        let answer = test.by("kim", test.api.post(&mine)).json(body.clone()).await;
        assert_eq!(answer.invalid_pointers(), named, "{value}");
        let by_code = test.scoped("redeem", test.api.post("/v1/redemptions"));
        let answer = by_code.json(body.with("/code", won.code.to_string())).await;
        assert_eq!(answer.invalid_pointers(), named, "{value}");
    }
    assert_eq!(test.shown(&won).await["state"], "issued");
}

#[tokio::test]
async fn missing_and_unknown_members_are_refused() {
    let test = TestWallet::new().await;
    let won = test.won("kim", draft::coupon()).await;
    let mine = format!("/v1/me/coupons/{}/redemptions", won.id);
    let coded = whole().with("/code", won.code.to_string());
    for (path, scope, body) in
        [(mine.as_str(), "user", whole()), ("/v1/redemptions", "redeem", coded)]
    {
        let send = async |body: Body| {
            let call = test.api.post(path);
            let call =
                if scope == "user" { test.by("kim", call) } else { test.scoped(scope, call) };
            call.json(body).await
        };
        for missing in ["/order_id", "/order_amount", "/code"] {
            if body.json().pointer(missing).is_some() {
                let answer = send(body.clone().without(missing)).await;
                assert_eq!(answer.invalid_pointers(), BTreeSet::from([missing.to_owned()]));
            }
        }
        let answer = send(body.clone().with("/items", json!([{"amount": 1}]))).await;
        assert_eq!(answer.invalid_pointers(), BTreeSet::from(["/items/0/product_id".to_owned()]));
        let unknown = send(body.clone().with("/user_id", "lee")).await;
        let _ = unknown.expect_problem(400, "malformed");
        let unknown = json!([{"product_id": "x", "quantity": 1}]);
        let unknown = send(body.with("/items", unknown)).await;
        let _ = unknown.expect_problem(400, "malformed");
    }
    assert_eq!(test.shown(&won).await["state"], "issued");
}

#[tokio::test]
async fn everything_that_is_wrong_is_told_at_once() {
    let test = TestWallet::new().await;
    let won = test.won("kim", draft::coupon()).await;
    let order = json!({
        "order_id": "", "order_amount": 0, "currency": "x",
        "items": [
            {"product_id": "P-1"},
            {"product_id": "", "category_ids": ["a", ""], "amount": 0},
        ],
    });
    let expected = [
        "/order_id",
        "/order_amount",
        "/currency",
        "/items/1/product_id",
        "/items/1/category_ids/1",
        "/items/1/amount",
    ];
    let expected = BTreeSet::from(expected.map(str::to_owned));
    assert_eq!(test.redeem(&won, order).await.invalid_pointers(), expected);
}

#[tokio::test]
async fn the_bounds_themselves_are_accepted() {
    let test = TestWallet::new().await;
    let long = "~".repeat(64);
    let many = vec![json!({"product_id": "x"}); 200];
    let label = "가".repeat(200);
    for (pointer, value) in [
        ("/order_id", json!("!")),
        ("/order_id", json!(long)),
        ("/order_amount", json!(1)),
        ("/order_amount", json!(1_000_000_000_000_u64)),
        ("/items", json!([])),
        ("/items", json!(many)),
        ("/items", json!([{"product_id": label, "category_ids": vec!["x"; 100]}])),
    ] {
        let won = test.won("kim", draft::coupon()).await;
        let path = format!("/v1/me/coupons/{}/redemptions", won.id);
        let body = whole().with(pointer, value);
        let _ = test.by("kim", test.api.post(&path)).json(body).await.expect(201);
    }
}

#[tokio::test]
async fn what_is_no_json_of_ours_is_refused() {
    let test = TestWallet::new().await;
    let won = test.won("kim", draft::coupon()).await;
    let path = format!("/v1/me/coupons/{}/redemptions", won.id);
    let call = || test.by("kim", test.api.post(&path));
    let twice = r#"{"order_id":"A-1","order_id":"A-1","order_amount":1}"#;
    for text in ["", "{", twice] {
        let _ = call().json_bytes(text).await.expect_problem(400, "malformed");
    }
    let _ = call().json_bytes(&b"\"\xff\""[..]).await.expect_problem(400, "malformed");
    let large = vec![b' '; 64 * 1024 + 1];
    let _ = call().json_bytes(large).await.expect_problem(413, "too_large");
    let plain = call().header("content-type", "text/plain").bytes(whole().json().to_string());
    let _ = plain.await.expect_problem(415, "unsupported_media_type");
    assert_eq!(test.shown(&won).await["state"], "issued");
}
