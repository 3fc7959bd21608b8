//! Making, reading, listing and changing coupons.

use firstcome_core::Timestamp;
use firstcome_testkit::draft::OPENS_AT;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{TestCatalog, body, members};

/// The opening, as answers write it.
const NOW: &str = "2026-11-27T01:00:00Z";

#[tokio::test]
async fn a_coupon_is_made_and_read_in_its_exact_shape() {
    let test = TestCatalog::new().await;
    let made = test.admin(test.api.post("/v1/coupons")).json(body()).await;
    let location = made.header("location").to_owned();
    assert_eq!(made.header("etag"), "\"1\"");
    let made = made.expect(201).json();
    let mut expected = body();
    for (member, value) in
        [("id", made["id"].clone()), ("created_at", json!(NOW)), ("updated_at", json!(NOW))]
    {
        expected[member] = value;
    }
    assert_eq!(made, expected);
    assert_eq!(location, format!("/v1/coupons/{}", made["id"].as_str().expect("an id")));

    let read = test.api.get(&location).await;
    assert_eq!(read.header("etag"), "\"1\"");
    assert_eq!(read.expect(200).json(), made);
}

#[tokio::test]
async fn what_is_left_out_is_answered_with_its_default() {
    let test = TestCatalog::new().await;
    let no_conditions = json!({"min_order_amount": 0, "product_ids": [], "category_ids": []});
    for conditions in [None, Some(json!({}))] {
        let mut body = body();
        body["benefit"] = json!({"type": "amount", "amount": 1});
        match conditions {
            Some(conditions) => body["conditions"] = conditions,
            None => drop(body.as_object_mut().expect("an object").remove("conditions")),
        }
        let made = test.created(&body).await;
        assert_eq!(made["conditions"], no_conditions);
        assert_eq!(made["benefit"], json!({"type": "amount", "amount": 1, "currency": "KRW"}));
    }
}

#[tokio::test]
async fn a_share_has_a_cap_or_no_such_member() {
    let test = TestCatalog::new().await;
    let uncapped = json!({"type": "percent", "percent": 10, "currency": "USD"});
    let mut capped = uncapped.clone();
    capped["max_amount"] = json!(3000);
    for benefit in [uncapped, capped] {
        let mut body = body();
        body["benefit"] = benefit.clone();
        assert_eq!(test.created(&body).await["benefit"], benefit);
    }
}

#[tokio::test]
async fn times_are_answered_in_utc_and_names_trimmed() {
    let test = TestCatalog::new().await;
    let mut body = body();
    body["name"] = json!("  여름 세일 🎁\u{3000}");
    body["validity"] = json!({
        "type": "period",
        "from": "2026-11-27T10:00:00+09:00", "until": "2026-11-27T10:00:00.5-01:30",
    });
    let made = test.created(&body).await;
    assert_eq!(made["name"], "여름 세일 🎁");
    let expected = json!({
        "type": "period",
        "from": "2026-11-27T01:00:00Z", "until": "2026-11-27T11:30:00.5Z",
    });
    assert_eq!(made["validity"], expected);
}

#[tokio::test]
async fn only_an_admin_writes_and_anybody_reads() {
    let test = TestCatalog::new().await;
    let made = test.created(&body()).await;
    let path = format!("/v1/coupons/{}", made["id"].as_str().expect("an id"));
    let writes =
        || [test.api.post("/v1/coupons"), test.api.patch(&path).header("if-match", "\"1\"")];
    for call in writes() {
        let call = call.header("x-user-id", "admin").header("x-user-scope", "admin");
        let answer = call.json(body()).await;
        assert!(!answer.header("www-authenticate").is_empty());
        let _ = answer.expect_problem(401, "unauthenticated");
    }
    for scope in ["user", "redeem", "user redeem", ""] {
        for call in writes() {
            let answer = call.token(&test.token(scope)).json(body()).await;
            let _ = answer.expect_problem(403, "forbidden");
        }
    }
    assert_eq!(test.api.get(&path).await.expect(200).json(), made);
    let list = test.api.get("/v1/coupons").await.expect(200).json();
    assert_eq!(list, json!({"items": [made], "next_cursor": null}));
}

#[tokio::test]
async fn an_unknown_id_and_a_malformed_one_are_not_found() {
    let test = TestCatalog::new().await;
    let made = test.created(&body()).await;
    let id = made["id"].as_str().expect("an id");
    let upper = id.replace('-', "");
    let unknown = Uuid::now_v7().to_string();
    for id in [unknown.as_str(), "1", "쿠폰", "%FF", "%00", upper.as_str(), "null"] {
        let path = format!("/v1/coupons/{id}");
        let _ = test.api.get(&path).await.expect_problem(404, "coupon_not_found");
        let change = test.admin(test.api.patch(&path)).header("if-match", "\"1\"");
        let _ = change.json(json!({})).await.expect_problem(404, "coupon_not_found");
    }
}

#[tokio::test]
async fn pages_are_newest_first_and_their_cursors_are_ours() {
    let test = TestCatalog::new().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.insert(0, test.created(&body()).await);
    }
    let mut paged: Vec<Value> = Vec::new();
    let mut path = "/v1/coupons?limit=2".to_owned();
    loop {
        let page = test.api.get(&path).await.expect(200).json();
        assert_eq!(members(&page), ["items", "next_cursor"]);
        paged.extend(page["items"].as_array().expect("items").iter().cloned());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/coupons?limit=2&cursor={cursor}");
    }
    assert_eq!(paged, made);
    let whole = test.api.get("/v1/coupons?limit=5").await.expect(200).json();
    assert_eq!(whole["next_cursor"], Value::Null, "five of five are the last page");

    let first = test.api.get("/v1/coupons?limit=1").await.expect(200).json();
    let foreign = first["next_cursor"].as_str().expect("a cursor");
    let foreign = format!("/v1/events?cursor={foreign}");
    for path in ["/v1/coupons?cursor=x", "/v1/coupons?cursor=", foreign.as_str()] {
        let _ = test.api.get(path).await.expect_problem(400, "malformed");
    }
    for limit in ["0", "201", "-1", "1.5", "x", "9007199254740993"] {
        let path = format!("/v1/coupons?limit={limit}");
        let _ = test.api.get(&path).await.expect_problem(422, "invalid");
    }
}

/// Changes the coupon with this id as an admin who saw this `ETag`.
async fn change(test: &TestCatalog, id: &Value, tag: &str, body: &Value) -> Value {
    let path = format!("/v1/coupons/{}", id.as_str().expect("an id"));
    let call = test.admin(test.api.patch(&path)).header("if-match", tag);
    let answer = call.json(body.clone()).await;
    assert!(!answer.header("etag").is_empty());
    answer.expect(200).json()
}

#[tokio::test]
async fn a_change_replaces_what_is_given_whole_and_keeps_the_rest() {
    let test = TestCatalog::new().await;
    let made = test.created(&body()).await;
    let later = Timestamp::from_micros(OPENS_AT.as_micros() + 1_000_000);
    test.clock.set(later);
    let table = [
        ("name", json!("새 이름"), json!("새 이름")),
        (
            "benefit",
            json!({"type": "percent", "percent": 10}),
            json!({"type": "percent", "percent": 10, "currency": "KRW"}),
        ),
        (
            "conditions",
            json!({"product_ids": ["P-2"]}),
            json!({"min_order_amount": 0, "product_ids": ["P-2"], "category_ids": []}),
        ),
        ("validity", json!({"type": "days", "days": 7}), json!({"type": "days", "days": 7})),
    ];
    let mut expected = made.clone();
    expected["updated_at"] = json!("2026-11-27T01:00:01Z");
    for (version, (member, given, shown)) in (1..).zip(table) {
        let tag = format!("\"{version}\"");
        let changed = change(&test, &made["id"], &tag, &json!({member: given})).await;
        expected[member] = shown;
        assert_eq!(changed, expected);
    }
    let path = format!("/v1/coupons/{}", made["id"].as_str().expect("an id"));
    let read = test.api.get(&path).await;
    assert_eq!(read.header("etag"), "\"5\"");
    assert_eq!(read.expect(200).json(), expected);
}

#[tokio::test]
async fn a_change_needs_the_tag_that_was_read() {
    let test = TestCatalog::new().await;
    let made = test.created(&body()).await;
    let path = format!("/v1/coupons/{}", made["id"].as_str().expect("an id"));
    let renamed = json!({"name": "x"});
    let call = || test.admin(test.api.patch(&path));
    let _ = call().json(renamed.clone()).await.expect_problem(428, "precondition_required");
    for stale in ["\"0\"", "\"2\"", "1", "*", "W/\"1\"", "\"1\", \"2\"", ""] {
        let answer = call().header("if-match", stale).json(renamed.clone()).await;
        let _ = answer.expect_problem(412, "precondition_failed");
    }
    assert_eq!(test.api.get(&path).await.expect(200).json(), made, "nothing has changed");

    change(&test, &made["id"], "\"1\"", &renamed).await;
    let again = call().header("if-match", "\"1\"").json(renamed.clone()).await;
    let _ = again.expect_problem(412, "precondition_failed");
}

#[tokio::test]
async fn of_two_changes_of_the_same_version_one_is_made() {
    let test = TestCatalog::new().await;
    let made = test.created(&body()).await;
    let path = format!("/v1/coupons/{}", made["id"].as_str().expect("an id"));
    let call = |name: &str| {
        let call = test.admin(test.api.patch(&path)).header("if-match", "\"1\"");
        call.json(json!({"name": name}))
    };
    let (one, two) = tokio::join!(call("one"), call("two"));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
}

#[tokio::test]
async fn what_cannot_be_read_is_told_before_the_precondition() {
    let test = TestCatalog::new().await;
    let made = test.created(&body()).await;
    let path = format!("/v1/coupons/{}", made["id"].as_str().expect("an id"));
    let call = || test.admin(test.api.patch(&path));
    let _ = call().json(json!({"name": ""})).await.expect_problem(422, "invalid");
    let _ = call().json(json!({"unknown": 1})).await.expect_problem(400, "malformed");
}
