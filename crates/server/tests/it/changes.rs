//! The trail: every change by an admin is in it, and nothing else.

use std::collections::BTreeSet;

use firstcome_core::Timestamp;
use firstcome_testkit::{Launch, coupon_body};
use serde_json::{Value, json};

use crate::shop::Shop;

const PATH: &str = "/v1/admin/changes";

/// The changes that a query finds, newest first.
async fn changes(shop: &Shop, query: &str) -> Vec<Value> {
    shop.walk(&format!("{PATH}?{query}"), &shop.admin, 200).await
}

/// The newest change.
async fn last(shop: &Shop) -> Value {
    changes(shop, "").await.into_iter().next().expect("a change")
}

fn check(change: &Value, action: &str, resource: &str, id: &str) {
    let told = (&change["action"], &change["resource"], &change["resource_id"]);
    assert_eq!(told, (&json!(action), &json!(resource), &json!(id)), "{change}");
}

#[tokio::test]
async fn a_change_has_the_members_of_the_contract() {
    let shop = Shop::open().await;
    let id = shop.coupon().await;
    let path = format!("/v1/coupons/{id}");
    let etag = shop.api.get(&path).await.header("etag").to_owned();
    let call = shop.api.patch(&path).token(&shop.admin).header("if-match", &etag);
    let call = call.header("x-request-id", "change-1").json(json!({"name": "새 이름"}));
    let changed = call.await.expect(200);
    let change = last(&shop).await;
    let members: BTreeSet<_> = change.as_object().expect("a change").keys().collect();
    let contract =
        ["id", "at", "actor", "action", "resource", "resource_id", "before", "after", "request_id"];
    assert!(members.iter().map(|name| name.as_str()).eq(BTreeSet::from(contract)), "{change}");
    check(&change, "change", "coupon", &id);
    assert_eq!(change["actor"], "admin-1");
    assert_eq!(change["request_id"], "change-1");
    let moment = |value: &Value| Timestamp::parse_rfc3339(value.as_str().expect("a moment"));
    let (told_at, updated_at) = (moment(&change["at"]), moment(&changed.member("/updated_at")));
    assert!(told_at.expect("RFC 3339") >= updated_at.expect("RFC 3339"), "{change}");
    assert_eq!(change["before"]["name"], coupon_body().json()["name"]);
    assert_eq!(change["after"]["name"], "새 이름");
    assert_eq!(change["before"]["benefit"], change["after"]["benefit"]);
    let create = &changes(&shop, "").await[1];
    check(create, "create", "coupon", &id);
    assert_eq!(create["before"], Value::Null);
}

#[tokio::test]
async fn every_admin_call_is_told_once() {
    let shop = Shop::open().await;
    let event = shop.event_of(|body| body.quantity(5)).await;
    let (event, coupon) = (event.member_text("/id"), event.member_text("/coupon_id"));
    check(&last(&shop).await, "create", "event", &event);
    let _ = shop.change_event(&event, json!({"quantity": 6})).await.expect(200);
    let change = last(&shop).await;
    check(&change, "change", "event", &event);
    assert_eq!(
        (&change["before"]["quantity"], &change["after"]["quantity"]),
        (&json!(5), &json!(6))
    );
    for (action, before, after) in
        [("pause", "open", "paused"), ("resume", "paused", "open"), ("close", "open", "closed")]
    {
        if action == "close" {
            let _ = shop.claim(&event, &shop.user("kim").await).await.expect(201);
        }
        let _ = shop.act(&event, action).await.expect(200);
        let change = last(&shop).await;
        check(&change, action, "event", &event);
        assert_eq!(
            (&change["before"]["state"], &change["after"]["state"]),
            (&json!(before), &json!(after))
        );
    }
    let (opens, closes) = (shop.moment_in(3_600).await, shop.moment_in(7_200).await);
    let scheduled = shop.event_of(|body| body.window(&opens, &closes)).await.member_text("/id");
    let _ = shop.act(&scheduled, "open").await.expect(200);
    check(&last(&shop).await, "open", "event", &scheduled);

    let (client, _) = shop.client("redeem").await;
    check(&last(&shop).await, "create", "client", &client);
    let path = format!("/v1/clients/{client}");
    let _ = shop.api.call("DELETE", &path).token(&shop.admin).await.expect(204);
    check(&last(&shop).await, "delete", "client", &client);
    assert_eq!(last(&shop).await["after"], Value::Null);

    let issued = shop.issued(&event).await["kim"]["id"].as_str().expect("an id").to_owned();
    let path = format!("/v1/issued-coupons/{issued}/revoke");
    for _ in ["told", "changes nothing"] {
        let reason = json!({"reason": "부정 사용"});
        let _ = shop.api.post(&path).token(&shop.admin).json(reason).await.expect(200);
    }
    let revoke = last(&shop).await;
    check(&revoke, "revoke", "issued_coupon", &issued);
    assert_eq!(revoke["after"]["reason"], "부정 사용");
    assert!(!revoke.to_string().contains("kim"), "{revoke}");
    let path = "/v1/users/kim";
    let _ = shop.api.call("DELETE", path).token(&shop.admin).await.expect(204);
    assert_eq!(
        (&last(&shop).await["action"], &last(&shop).await["resource"]),
        (&json!("erase"), &json!("user"))
    );
    let told: Vec<_> = changes(&shop, &format!("resource_id={issued}")).await;
    assert_eq!(told.len(), 1);
    let of_coupon = changes(&shop, &format!("resource=coupon&resource_id={coupon}")).await;
    assert_eq!(of_coupon.len(), 1);
}

/// By a command, and by a start; the first of all is not.
#[tokio::test]
async fn who_is_made_an_admin_without_a_token_is_told_too() {
    let shop = Shop::open().await;
    assert_eq!(changes(&shop, "").await, [Value::Null; 0]);
    let credentials = json!({"email": "kim@example.com", "password": "correct horse battery"});
    let kim = shop.api.post("/v1/users").json(credentials).await.expect(201).member_text("/id");
    let add = async |email: &str| {
        shop.server.command(&["user", "add-admin", "--email", email]).await.code
    };
    // Not without the account's password: then nothing is changed, and nothing told.
    assert_ne!(add("kim@example.com").await, Some(0));
    assert_eq!(changes(&shop, "").await, [Value::Null; 0]);
    for _ in ["made", "already one"] {
        assert_eq!(add("lee@example.com").await, Some(0));
    }
    let made = changes(&shop, "actor=firstcome&resource=user").await;
    let [lee] = made.as_slice() else { panic!("{made:?}") };
    assert_eq!((&lee["action"], &lee["before"]), (&json!("create"), &Value::Null));
    assert_eq!(lee["after"]["scope"], "user admin");
    assert_ne!(lee["resource_id"], kim.as_str());

    let password = "FIRSTCOME_ADMIN_PASSWORD";
    let with = |launch: Launch| launch.environment(password, "correct horse battery");
    let mut server = shop.server;
    server.terminate().await;
    server
        .restart_as(|launch| with(launch).environment("FIRSTCOME_ADMIN_EMAIL", "kim@example.com"))
        .await;
    let told = server.api().get(&format!("{PATH}?resource_id={kim}")).token(&shop.admin).await;
    let told = told.expect(200).member("/items");
    assert_eq!(told[0]["action"], "change", "{told}");
    assert_eq!(told[0]["before"]["scope"], "user");
    assert_eq!(told[0]["after"]["scope"], "user admin");
    assert_eq!(told.as_array().map(Vec::len), Some(1));
    assert!(!told.to_string().contains('@'), "{told}");
}

#[tokio::test]
async fn a_cancel_is_told_of_an_admin_and_not_of_a_checkout_service() {
    let shop = Shop::open().await;
    let event = shop.event(5).await;
    for (name, cancels, is_told) in
        [("kim", shop.checkout().await, false), ("lee", shop.admin.clone(), true)]
    {
        let token = shop.user(name).await;
        let issued = shop.claim(&event, &token).await.expect(201).member_text("/id");
        let order = json!({"order_id": "A-1", "order_amount": 30_000});
        let redemption = shop.redeem(&issued, &token, order).await.expect(201).member_text("/id");
        let path = format!("/v1/redemptions/{redemption}/cancel");
        let _ = shop.api.post(&path).token(&cancels).await.expect(200);
        let told = changes(&shop, &format!("resource=redemption&resource_id={redemption}")).await;
        assert_eq!(told.len(), usize::from(is_told), "{name}");
    }
}

#[tokio::test]
async fn what_is_refused_is_not_told() {
    let shop = Shop::open().await;
    let event = shop.event(1).await;
    let before = changes(&shop, "").await;
    let _ = shop.act(&event, "resume").await.expect_problem(409, "wrong_state");
    let _ = shop.claim(&event, &shop.user("kim").await).await.expect(201);
    let call = shop.api.post("/v1/coupons").token(&shop.admin).json(json!({"name": ""}));
    assert_eq!(call.await.status, 422);
    let path = format!("/v1/events/{event}");
    let stale = shop.api.patch(&path).token(&shop.admin).header("if-match", "\"9\"");
    let _ = stale.json(json!({"name": "x"})).await.expect_problem(412, "precondition_failed");
    let nobody = shop.api.call("DELETE", "/v1/users/nobody").token(&shop.admin).await;
    let _ = nobody.expect_problem(404, "user_not_found");
    let user = shop.user("kim").await;
    let _ = shop.api.post("/v1/coupons").token(&user).json(coupon_body()).await.expect(403);
    assert_eq!(changes(&shop, "").await, before);
}

#[tokio::test]
async fn changes_are_paged_and_filtered() {
    let shop = Shop::open().await;
    let other = shop.server.token("admin-2", "admin").await;
    for number in 0..5 {
        let token = if number % 2 == 0 { &shop.admin } else { &other };
        let _ = shop.api.post("/v1/coupons").token(token).json(coupon_body()).await.expect(201);
    }
    let everything = changes(&shop, "").await;
    assert_eq!(everything.len(), 5);
    assert!(everything.is_sorted_by(|newer, older| newer["at"].as_str() >= older["at"].as_str()));
    for limit in [1, 2, 5] {
        assert_eq!(shop.walk(PATH, &shop.admin, limit).await, everything);
    }
    assert_eq!(changes(&shop, "actor=admin-2").await.len(), 2);
    assert_eq!(changes(&shop, "actor=admin-2&resource=event").await.len(), 0);
    let get = |query: &str| shop.api.get(&format!("{PATH}?{query}")).token(&shop.admin);
    let pointers = get("resource=coupons").await.invalid_pointers();
    assert!(pointers.contains("/resource"), "{pointers:?}");
    let page = get("actor=admin-1&limit=1").await.expect(200);
    let cursor = page.member_text("/next_cursor");
    let elsewhere = get(&format!("actor=admin-2&limit=1&cursor={cursor}")).await;
    let _ = elsewhere.expect_problem(400, "malformed");
}
