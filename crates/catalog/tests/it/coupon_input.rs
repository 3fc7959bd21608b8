//! What is no coupon is refused with what is wrong, and makes none.

use serde_json::{Value, json};

use crate::support::{TestCatalog, body};

/// The body with one member, named by its pointer, set to a value, or taken out.
fn with(pointer: &str, value: Option<Value>) -> Value {
    let mut body = body();
    let (parent, member) = pointer.rsplit_once('/').expect("a pointer");
    let parent = body.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
    match value {
        Some(value) => drop(parent.insert(member.to_owned(), value)),
        None => drop(parent.remove(member)),
    }
    body
}

/// Sends it as a new coupon and as a change; both are refused in the same way.
async fn refused(test: &TestCatalog, path: &str, body: &str, status: u16, code: &str) -> Value {
    let change = test.admin(test.api.patch(path)).header("if-match", "\"1\"");
    let change = change.json_bytes(body).await.expect_problem(status, code).json();
    let create = test.admin(test.api.post("/v1/coupons")).json_bytes(body).await;
    let create = create.expect_problem(status, code).json();
    assert_eq!(change["errors"], create["errors"], "{body}");
    create
}

async fn made(test: &TestCatalog) -> (String, Value) {
    let made = test.created(&body()).await;
    (format!("/v1/coupons/{}", made["id"].as_str().expect("an id")), made)
}

/// Nothing was made beside the one coupon, and that one is as it was.
async fn unchanged(test: &TestCatalog, made: Value) {
    let list = test.api.get("/v1/coupons").await.expect(200).json();
    assert_eq!(list["items"], json!([made]));
}

#[tokio::test]
async fn numbers_out_of_range_and_values_of_a_wrong_type_are_named() {
    let test = TestCatalog::new().await;
    let (path, made) = made(&test).await;
    let no_amounts = [json!(-1), json!(1_000_000_000_001_u64), json!(9_007_199_254_740_993_u64)];
    let no_numbers = [json!(1.5), json!(1e3), json!("1"), json!(null), json!(true), json!([])];
    let no_texts = [json!(null), json!(1), json!({}), json!(["x"])];
    let mut table: Vec<(&str, Value)> = Vec::new();
    for value in no_amounts.iter().chain(&no_numbers) {
        table.push(("/benefit/amount", value.clone()));
        table.push(("/conditions/min_order_amount", value.clone()));
        table.push(("/validity/days", value.clone()));
    }
    for value in [json!(0), json!(i64::MAX), json!(9_223_372_036_854_775_808_u64), json!(i64::MIN)]
    {
        table.push(("/benefit/amount", value.clone()));
        table.push(("/validity/days", value));
    }
    table.push(("/validity/days", json!(3651)));
    for value in no_texts {
        table.push(("/name", value.clone()));
        table.push(("/benefit/currency", value));
    }
    for value in ["", "   ", "a\nb", "a\u{0}", "\u{7f}", &"가".repeat(101)] {
        table.push(("/name", json!(value)));
    }
    for value in ["", "krw", "WON", "KRW ", "₩"] {
        table.push(("/benefit/currency", json!(value)));
    }
    for value in [json!(null), json!("P-1"), json!({"0": "P-1"}), json!(vec!["P"; 101])] {
        table.push(("/conditions/product_ids", value.clone()));
        table.push(("/conditions/category_ids", value));
    }
    for member in ["/benefit", "/conditions", "/validity"] {
        table.extend([json!(null), json!([]), json!("x"), json!(1)].map(|value| (member, value)));
    }
    for member in ["/benefit/type", "/validity/type"] {
        table.extend([json!("other"), json!(null), json!(1)].map(|value| (member, value)));
    }
    for (pointer, value) in table {
        let body = with(pointer, Some(value)).to_string();
        let problem = refused(&test, &path, &body, 422, "invalid").await;
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
        assert!(problem["errors"][0]["detail"].is_string());
    }
    unchanged(&test, made).await;
}

#[tokio::test]
async fn the_bounds_themselves_are_accepted() {
    let test = TestCatalog::new().await;
    let table = [
        ("/benefit/amount", json!(1)),
        ("/benefit/amount", json!(1_000_000_000_000_u64)),
        ("/conditions/min_order_amount", json!(0)),
        ("/conditions/min_order_amount", json!(1_000_000_000_000_u64)),
        ("/conditions/product_ids", json!(vec!["P"; 100])),
        ("/validity/days", json!(1)),
        ("/validity/days", json!(3650)),
        ("/name", json!("가".repeat(100))),
        ("/name", json!("😀".repeat(100))),
    ];
    for (pointer, value) in table {
        let made = test.created(&with(pointer, Some(value.clone()))).await;
        assert_eq!(made.pointer(pointer), Some(&value));
    }
}

#[tokio::test]
async fn a_list_names_the_ids_that_are_none() {
    let test = TestCatalog::new().await;
    let (path, _) = made(&test).await;
    let body = with("/conditions/product_ids", Some(json!(["P-1", "", "a\tb"]))).to_string();
    let problem = refused(&test, &path, &body, 422, "invalid").await;
    let pointers = [0, 1].map(|place| problem["errors"][place]["pointer"].clone());
    assert_eq!(pointers, ["/conditions/product_ids/1", "/conditions/product_ids/2"]);
}

#[tokio::test]
async fn everything_that_is_wrong_is_told_at_once() {
    let test = TestCatalog::new().await;
    let (path, made) = made(&test).await;
    let body = json!({
        "name": "", "benefit": {"type": "percent", "percent": 0, "max_amount": 0, "currency": "x"},
        "conditions": {"min_order_amount": -1}, "validity": {"type": "days", "days": 0},
    });
    let problem = refused(&test, &path, &body.to_string(), 422, "invalid").await;
    let pointers: Vec<&Value> =
        problem["errors"].as_array().expect("errors").iter().map(|it| &it["pointer"]).collect();
    let expected = [
        "/name",
        "/benefit/currency",
        "/benefit/percent",
        "/benefit/max_amount",
        "/conditions/min_order_amount",
        "/validity/days",
    ];
    assert_eq!(pointers, expected);
    unchanged(&test, made).await;
}

#[tokio::test]
async fn a_share_is_1_to_100() {
    let test = TestCatalog::new().await;
    let (path, _) = made(&test).await;
    for (percent, status) in [(0, 422), (1, 201), (100, 201), (101, 422), (-1, 422)] {
        let body = with("/benefit", Some(json!({"type": "percent", "percent": percent})));
        if status == 201 {
            test.created(&body).await;
        } else {
            refused(&test, &path, &body.to_string(), 422, "invalid").await;
        }
    }
}

#[tokio::test]
async fn a_missing_member_is_named_and_makes_nothing() {
    let test = TestCatalog::new().await;
    let (path, made) = made(&test).await;
    for pointer in ["/name", "/benefit", "/validity"] {
        let body = with(pointer, None);
        let answer = test.admin(test.api.post("/v1/coupons")).json(body).await;
        let problem = answer.expect_problem(422, "invalid").json();
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
    for (pointer, value) in [
        ("/benefit/type", json!({"amount": 5000})),
        ("/benefit/amount", json!({"type": "amount"})),
        ("/benefit/percent", json!({"type": "percent"})),
        ("/validity/type", json!({"days": 30})),
        ("/validity/days", json!({"type": "days"})),
        ("/validity/from", json!({"type": "period", "until": "2026-11-27T10:00:00Z"})),
        ("/validity/until", json!({"type": "period", "from": "2026-11-27T10:00:00Z"})),
    ] {
        let (parent, _) = pointer.rsplit_once('/').expect("a pointer");
        let body = with(parent, Some(value)).to_string();
        let problem = refused(&test, &path, &body, 422, "invalid").await;
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
    }
    unchanged(&test, made).await;
}

#[tokio::test]
async fn a_period_has_offsets_and_a_length() {
    let test = TestCatalog::new().await;
    let (path, _) = made(&test).await;
    let good = "2026-11-27T10:00:00+09:00";
    for (from, until, pointer) in [
        (good, good, "/validity/until"),
        (good, "2026-11-27T00:59:59Z", "/validity/until"),
        ("2026-11-27T09:00:00", good, "/validity/from"),
        ("2026-11-27", good, "/validity/from"),
        ("2026-11-27 09:00:00+09:00", good, "/validity/from"),
        ("2026-02-30T00:00:00Z", good, "/validity/from"),
        ("1969-12-31T23:59:59Z", good, "/validity/from"),
        ("", good, "/validity/from"),
        (good, "내일", "/validity/until"),
    ] {
        let validity = json!({"type": "period", "from": from, "until": until});
        let body = with("/validity", Some(validity)).to_string();
        let problem = refused(&test, &path, &body, 422, "invalid").await;
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
    }
}

#[tokio::test]
async fn a_member_that_is_not_known_is_refused_wherever_it_is() {
    let test = TestCatalog::new().await;
    let (path, made) = made(&test).await;
    let foreign = [
        ("/id", json!("x")),
        ("/state", json!(null)),
        ("/benefit/unknown", json!(1)),
        ("/conditions/unknown", json!(1)),
        ("/validity/unknown", json!(1)),
        ("/benefit/percent", json!(10)),
        ("/benefit/max_amount", json!(10)),
        ("/validity/from", json!("2026-11-27T10:00:00Z")),
        ("/validity/until", json!("2026-11-27T10:00:00Z")),
    ];
    for (pointer, value) in foreign {
        let body = with(pointer, Some(value)).to_string();
        refused(&test, &path, &body, 400, "malformed").await;
    }
    let body = with("/benefit", Some(json!({"type": "percent", "percent": 1, "amount": 1})));
    refused(&test, &path, &body.to_string(), 400, "malformed").await;
    let period = json!({
        "type": "period", "from": "2026-11-27T10:00:00Z", "until": "2026-11-28T10:00:00Z",
        "days": 1,
    });
    let body = with("/validity", Some(period)).to_string();
    refused(&test, &path, &body, 400, "malformed").await;
    unchanged(&test, made).await;
}

#[tokio::test]
async fn what_is_no_json_of_ours_is_refused() {
    let test = TestCatalog::new().await;
    let (path, made) = made(&test).await;
    let whole = body().to_string();
    let twice = whole.replacen('{', r#"{"name":"x","#, 1);
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    for text in ["", "{", "[]x", twice.as_str(), deep.as_str(), "{\"name\":\"\u{1}\"}"] {
        refused(&test, &path, text, 400, "malformed").await;
    }
    for text in ["null", "[]", "1", "\"x\""] {
        refused(&test, &path, text, 422, "invalid").await;
    }
    refused(&test, &path, &"[".repeat(100_000), 413, "too_large").await;
    let padded = format!("{whole}{}", " ".repeat(64 * 1024));
    refused(&test, &path, &padded, 413, "too_large").await;
    let plain = test.admin(test.api.post("/v1/coupons")).header("content-type", "text/plain");
    let _ = plain.json(body()).await.expect_problem(415, "unsupported_media_type");
    unchanged(&test, made).await;
}
