//! Redeeming, by the holder and by code, and cancelling.

use firstcome_core::{
    Amount, Benefit, Conditions, CouponDraft, Currency, Label, MinOrderAmount, Percent, Timestamp,
    Validity,
};
use firstcome_testkit::draft::{self, CLOSES_AT, OPENS_AT};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{EXPIRES_AT, TestWallet, order};

fn percent(percent: i128, cap: Option<i128>) -> CouponDraft {
    let benefit = Benefit::Percent {
        percent: Percent::parse(percent).expect("a percentage"),
        max_amount: cap.map(|cap| Amount::parse(cap).expect("an amount")),
        currency: Currency::krw(),
    };
    CouponDraft { benefit, ..draft::coupon() }
}

fn labels(texts: &[&str]) -> Vec<Label> {
    texts.iter().map(|text| Label::parse(text).expect("a label")).collect()
}

#[tokio::test]
async fn a_redemption_has_its_exact_shape() {
    let test = TestWallet::new().await;
    let won = test.won("kim", draft::coupon()).await;
    let made = test.redeem(&won, order("A-1")).await.expect(201).json();
    let expected = json!({
        "id": made["id"], "issued_coupon_id": won.id, "order_id": "A-1", "order_amount": 30_000,
        "discount_amount": 5_000, "currency": "KRW", "state": "redeemed",
        "redeemed_at": "2026-11-27T01:00:00Z", "cancelled_at": null,
    });
    assert_eq!(made, expected);
    let shown = test.shown(&won).await;
    assert_eq!((&shown["state"], &shown["used_at"]), (&json!("used"), &made["redeemed_at"]));
}

#[tokio::test]
async fn the_same_order_gets_the_same_redemption_also_after_expiry() {
    let test = TestWallet::new().await;
    let won = test.won("kim", draft::coupon()).await;
    let first = test.redeem(&won, order("A-1")).await.expect(201).json();
    let with_items = json!({
        "order_id": "A-1", "order_amount": 30_000, "currency": "KRW",
        "items": [{"product_id": "P-1"}],
    });
    assert_eq!(test.redeem(&won, with_items).await.expect(200).json(), first);
    test.clock.set(EXPIRES_AT);
    assert_eq!(test.redeem(&won, order("A-1")).await.expect(200).json(), first);
    for other in [
        json!({"order_id": "A-1", "order_amount": 30_001}),
        json!({"order_id": "A-1", "order_amount": 30_000, "currency": "USD"}),
    ] {
        let _ = test.redeem(&won, other).await.expect_problem(409, "order_mismatch");
    }
    let other = test.redeem(&won, order("A-2")).await.expect_problem(409, "already_used");
    assert_eq!(other.member("/redemption"), first);
    let by_code = test.scoped("redeem", test.api.post("/v1/redemptions"));
    let by_code = by_code.json(with_code(&won.code.to_string(), "A-1")).await;
    assert_eq!(by_code.expect(200).json(), first, "by whichever way it is asked again");
}

#[tokio::test]
async fn validity_is_half_open() {
    let test = TestWallet::new().await;
    let (from, until) = (CLOSES_AT, CLOSES_AT.plus_days(1));
    let validity = Validity::period(from, until).expect("a period");
    let won = test.won("kim", CouponDraft { validity, ..draft::coupon() }).await;
    let last = Timestamp::from_micros(until.as_micros() - 1);
    let table = [(OPENS_AT, "not_yet_valid"), (until, "expired"), (until.plus_days(9), "expired")];
    for (now, code) in table {
        test.clock.set(now);
        let _ = test.redeem(&won, order("A-1")).await.expect_problem(409, code);
    }
    for (now, order_id) in [(from, "A-1"), (last, "A-2")] {
        test.clock.set(now);
        let made = test.redeem(&won, order(order_id)).await.expect(201).json();
        test.cancel(&made).await;
    }
}

#[tokio::test]
async fn the_discount_is_floored_capped_and_never_above_the_order() {
    let test = TestWallet::new().await;
    let whole = 1_000_000_000_000_u64;
    let table = [
        (draft::coupon(), 4_999, 4_999),
        (percent(10, None), 99, 9),
        (percent(10, Some(3_000)), 30_009, 3_000),
        (percent(10, Some(3_000)), 29_999, 2_999),
        (percent(100, None), whole, whole),
        (percent(33, None), whole, whole / 100 * 33),
        (percent(1, None), 99, 0),
    ];
    for (coupon, order_amount, discount_amount) in table {
        let won = test.won("kim", coupon).await;
        let order = json!({"order_id": "A-1", "order_amount": order_amount});
        let made = test.redeem(&won, order).await.expect(201);
        assert_eq!(made.member("/discount_amount"), discount_amount, "{made}");
    }
}

#[tokio::test]
async fn every_condition_that_is_not_met_is_told_and_nothing_is_used() {
    let test = TestWallet::new().await;
    let conditions = Conditions {
        min_order_amount: MinOrderAmount::parse(20_000).expect("an amount"),
        product_ids: labels(&["P-1", "P-2"]),
        category_ids: labels(&["신발"]),
    };
    let won = test.won("kim", CouponDraft { conditions, ..draft::coupon() }).await;
    let poor = json!({
        "order_id": "A-1", "order_amount": 19_999, "currency": "USD",
        "items": [{"product_id": "P-3", "category_ids": ["모자"], "amount": 1}],
    });
    let refused = test.redeem(&won, poor).await.expect_problem(422, "conditions_not_met");
    let expected = json!([
        {"condition": "currency", "expected": "KRW", "found": "USD"},
        {"condition": "min_order_amount", "expected": 20_000, "found": 19_999},
        {"condition": "product_ids", "expected": ["P-1", "P-2"], "found": ["P-3"]},
        {"condition": "category_ids", "expected": ["신발"], "found": ["모자"]},
    ]);
    assert_eq!(refused.member("/unmet"), expected);

    let without_items = test.redeem(&won, order("A-1")).await;
    let unmet = without_items.expect_problem(422, "conditions_not_met").member("/unmet");
    assert_eq!((&unmet[0]["found"], &unmet[1]["found"]), (&json!([]), &json!([])));
    assert_eq!(test.shown(&won).await["state"], "issued");

    let met = json!({
        "order_id": "A-1", "order_amount": 20_000,
        "items": [{"product_id": "P-2"}, {"product_id": "P-9", "category_ids": ["신발", "새것"]}],
    });
    let _ = test.redeem(&won, met).await.expect(201);
}

fn with_code(code: &str, order_id: &str) -> Value {
    json!({"code": code, "order_id": order_id, "order_amount": 30_000})
}

#[tokio::test]
async fn a_code_is_read_as_people_type_it_and_only_by_a_checkout() {
    let test = TestWallet::new().await;
    let path = "/v1/redemptions";
    let spellings: [fn(String) -> String; 3] =
        [|code| code, |code| code.to_lowercase(), |code| code.replace('-', "")];
    for spell in spellings {
        let won = test.won("kim", draft::coupon()).await;
        let code = spell(won.code.to_string());
        let none = test.api.post(path).json(with_code(&code, "A-1")).await;
        let _ = none.expect_problem(401, "unauthenticated");
        for scope in ["user", "user admin", ""] {
            let answer = test.scoped(scope, test.api.post(path)).json(with_code(&code, "A-1"));
            let _ = answer.await.expect_problem(403, "forbidden");
        }
        let made = test.scoped("redeem", test.api.post(path)).json(with_code(&code, "A-1")).await;
        assert_eq!(made.expect(201).member("/issued_coupon_id"), json!(won.id));
        assert_eq!(test.shown(&won).await["state"], "used");
    }
}

#[tokio::test]
async fn a_code_of_no_coupon_is_not_found() {
    let test = TestWallet::new().await;
    test.won("kim", draft::coupon()).await;
    for code in ["0000-0000-0000", "ZZZZ-ZZZZ-ZZZZ", "", "x", "쿠폰", "1".repeat(60_000).as_str()]
    {
        let call = test.scoped("redeem", test.api.post("/v1/redemptions"));
        let answer = call.json(with_code(code, "A-1")).await;
        let _ = answer.expect_problem(404, "issued_coupon_not_found");
    }
}

#[tokio::test]
async fn by_code_the_refusals_are_the_same() {
    let test = TestWallet::new().await;
    let won = test.won("kim", draft::coupon()).await;
    let code = won.code.to_string();
    let redeem = async |order: Value| {
        let call = test.scoped("redeem", test.api.post("/v1/redemptions"));
        call.json(order).await
    };
    let dollars = json!({
        "code": code, "order_id": "A-1", "order_amount": 30_000, "currency": "USD",
    });
    let refused = redeem(dollars).await.expect_problem(422, "conditions_not_met");
    assert_eq!(refused.member("/unmet/0/condition"), "currency");
    let made = redeem(with_code(&code, "A-1")).await.expect(201).json();
    let used = redeem(with_code(&code, "A-2")).await.expect_problem(409, "already_used");
    assert_eq!(used.member("/redemption"), made);
    test.cancel(&made).await;
    test.clock.set(EXPIRES_AT);
    let _ = redeem(with_code(&code, "A-2")).await.expect_problem(409, "expired");
    let _ = test.revoke(&won).await.expect(200);
    let _ = redeem(with_code(&code, "A-2")).await.expect_problem(409, "revoked");
}

#[tokio::test]
async fn a_cancel_frees_the_coupon_once_and_is_answered_again() {
    let test = TestWallet::new().await;
    let won = test.won("kim", draft::coupon()).await;
    let first = test.redeem(&won, order("A-1")).await.expect(201).json();
    let second_later = Timestamp::from_micros(OPENS_AT.as_micros() + 1_000_000);
    test.clock.set(second_later);
    let cancelled = test.cancel(&first).await;
    let mut expected = first.clone();
    expected["state"] = json!("cancelled");
    expected["cancelled_at"] = json!("2026-11-27T01:00:01Z");
    assert_eq!(cancelled, expected);
    let shown = test.shown(&won).await;
    assert_eq!((&shown["state"], &shown["used_at"]), (&json!("issued"), &Value::Null));

    test.clock.set(OPENS_AT.plus_days(1));
    let late = test.redeem(&won, order("A-1")).await.expect(200).json();
    assert_eq!(late, cancelled, "a late retry does not use the coupon again");
    let second = test.redeem(&won, order("A-2")).await.expect(201).json();
    assert_eq!(test.cancel(&first).await, cancelled);
    assert_eq!(test.shown(&won).await["state"], "used", "the second use stands");
    assert_eq!(test.redeem(&won, order("A-2")).await.expect(200).json(), second);
}

#[tokio::test]
async fn a_cancel_after_expiry_leaves_the_coupon_expired() {
    let test = TestWallet::new().await;
    let won = test.won("kim", draft::coupon()).await;
    let made = test.redeem(&won, order("A-1")).await.expect(201).json();
    test.clock.set(EXPIRES_AT);
    assert_eq!(test.cancel(&made).await["state"], "cancelled");
    assert_eq!(test.shown(&won).await["state"], "expired");
    let _ = test.redeem(&won, order("A-2")).await.expect_problem(409, "expired");
}

#[tokio::test]
async fn only_staff_cancels_what_there_is() {
    let test = TestWallet::new().await;
    let won = test.won("kim", draft::coupon()).await;
    let made = test.redeem(&won, order("A-1")).await.expect(201);
    let path = format!("/v1/redemptions/{}/cancel", made.member_text("/id"));
    let _ = test.api.post(&path).await.expect_problem(401, "unauthenticated");
    let _ = test.by("kim", test.api.post(&path)).await.expect_problem(403, "forbidden");
    for id in [Uuid::now_v7().to_string(), "1".to_owned()] {
        let call = test.scoped("redeem", test.api.post(&format!("/v1/redemptions/{id}/cancel")));
        let _ = call.await.expect_problem(404, "redemption_not_found");
    }
    let more = test.scoped("redeem", test.api.post(&path)).json(json!({"reason": "-"})).await;
    let _ = more.expect_problem(400, "malformed");
    assert_eq!(test.shown(&won).await["state"], "used");
    for call in [test.api.post(&path), test.api.post(&path).json(json!({}))] {
        assert_eq!(test.scoped("admin", call).await.expect(200).member("/state"), "cancelled");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_orders_at_once_one_is_redeemed() {
    let test = TestWallet::new().await;
    let won = test.won("kim", draft::coupon()).await;
    let path = format!("/v1/me/coupons/{}/redemptions", won.id);
    let calls: Vec<_> = (0..100)
        .map(|n| {
            let call = test.by("kim", test.api.post(&path)).json(order(&format!("A-{n}")));
            tokio::spawn(async move { call.await })
        })
        .collect();
    let (mut made, mut shown) = (Vec::new(), Vec::new());
    for call in calls {
        let answer = call.await.expect("an answer");
        match answer.status {
            201 => made.push(answer.json()),
            _ => shown.push(answer.expect_problem(409, "already_used").member("/redemption")),
        }
    }
    assert_eq!((made.len(), shown.len()), (1, 99));
    assert!(shown.iter().all(|redemption| *redemption == made[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_retries_at_once_all_get_the_one_redemption() {
    let test = TestWallet::new().await;
    let won = test.won("kim", draft::coupon()).await;
    let path = format!("/v1/me/coupons/{}/redemptions", won.id);
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let call = test.by("kim", test.api.post(&path)).json(order("A-1"));
            tokio::spawn(async move { call.await })
        })
        .collect();
    let (mut made, mut bodies) = (0, Vec::new());
    for call in calls {
        let answer = call.await.expect("an answer");
        assert!(matches!(answer.status, 200 | 201), "{answer}");
        made += usize::from(answer.status == 201);
        bodies.push(answer.json());
    }
    assert_eq!(made, 1);
    assert!(bodies.iter().all(|body| *body == bodies[0]));
}
