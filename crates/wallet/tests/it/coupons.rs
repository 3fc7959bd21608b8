//! Reading issued coupons, and revoking them.

use std::collections::BTreeSet;

use firstcome_core::Timestamp;
use firstcome_testkit::draft::{self, OPENS_AT};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{EXPIRES_AT, TestWallet, order};

/// The ids of kim's coupons in the list with this query.
async fn listed(test: &TestWallet, query: &str) -> Vec<Value> {
    let page = test.by("kim", test.api.get(&format!("/v1/me/coupons{query}"))).await;
    let page = page.expect(200).json();
    page["items"].as_array().expect("items").iter().map(|item| item["id"].clone()).collect()
}

#[tokio::test]
async fn a_coupon_is_read_in_its_exact_shape() {
    let test = TestWallet::new().await;
    let won = test.won("kim", draft::coupon()).await;
    let expected = json!({
        "id": won.id, "event_id": won.event_id, "coupon_id": won.coupon_id, "user_id": "kim",
        "sequence": 1, "code": won.code, "state": "issued", "issued_at": "2026-11-27T01:00:00Z",
        "valid_from": "2026-11-27T01:00:00Z", "expires_at": "2026-12-27T01:00:00Z",
        "used_at": null,
    });
    assert_eq!(test.shown(&won).await, expected);
    let list = test.by("kim", test.api.get("/v1/me/coupons")).await.expect(200).json();
    assert_eq!(list, json!({"items": [expected], "next_cursor": null}));
}

#[tokio::test]
async fn anothers_coupon_is_an_unknown_one() {
    let test = TestWallet::new().await;
    let won = test.won("kim", draft::coupon()).await;
    let theirs = won.id.to_string();
    let unknown = Uuid::now_v7().to_string();
    for id in [theirs.as_str(), unknown.as_str(), "1", "쿠폰", "%FF"] {
        let path = format!("/v1/me/coupons/{id}");
        let read = test.by("lee", test.api.get(&path)).header("x-user-id", "kim").await;
        let _ = read.expect_problem(404, "issued_coupon_not_found");
        let redeem = test.by("lee", test.api.post(&format!("{path}/redemptions")));
        let _ = redeem.json(order("A-1")).await.expect_problem(404, "issued_coupon_not_found");
    }
    let empty = test.by("lee", test.api.get("/v1/me/coupons?user_id=kim")).await.expect(200);
    assert_eq!(empty.json(), json!({"items": [], "next_cursor": null}));
    assert_eq!(test.shown(&won).await["state"], "issued");
}

#[tokio::test]
async fn a_user_token_is_needed_to_read() {
    let test = TestWallet::new().await;
    let won = test.won("kim", draft::coupon()).await;
    for path in ["/v1/me/coupons".to_owned(), format!("/v1/me/coupons/{}", won.id)] {
        let none = test.api.get(&path).header("x-user-id", "kim").await;
        assert!(!none.header("www-authenticate").is_empty());
        let _ = none.expect_problem(401, "unauthenticated");
        for scope in ["redeem", "admin", ""] {
            let _ = test.scoped(scope, test.api.get(&path)).await.expect_problem(403, "forbidden");
        }
    }
}

#[tokio::test]
async fn a_list_holds_what_is_in_one_state() {
    let test = TestWallet::new().await;
    let issued = test.won("kim", draft::coupon()).await;
    let used = test.won("kim", draft::coupon()).await;
    let revoked = test.won("kim", draft::coupon()).await;
    let _ = test.redeem(&used, order("A-1")).await.expect(201);
    let _ = test.revoke(&revoked).await.expect(200);
    let [issued, used, revoked] = [issued, used, revoked].map(|coupon| vec![json!(coupon.id)]);
    assert_eq!(listed(&test, "?state=issued").await, issued);
    assert_eq!(listed(&test, "?state=used").await, used);
    assert_eq!(listed(&test, "?state=revoked").await, revoked);
    assert_eq!(listed(&test, "?state=expired").await, [] as [Value; 0]);

    test.clock.set(EXPIRES_AT);
    assert_eq!(listed(&test, "?state=issued").await, [] as [Value; 0]);
    assert_eq!(listed(&test, "?state=expired").await, issued);
    assert_eq!(listed(&test, "?state=used").await, used, "what was used does not expire");
    assert_eq!(listed(&test, "?state=revoked").await, revoked);
    assert_eq!(listed(&test, "").await.len(), 3);
}

#[tokio::test]
async fn a_state_that_is_none_is_refused_by_name() {
    let test = TestWallet::new().await;
    for state in ["", "ISSUED", "redeemed", "open"] {
        let path = format!("/v1/me/coupons?state={state}");
        let answer = test.by("kim", test.api.get(&path)).await;
        assert_eq!(answer.invalid_pointers(), BTreeSet::from(["/state".to_owned()]));
    }
}

#[tokio::test]
async fn pages_are_newest_first_and_their_cursors_belong_to_the_user_and_the_state() {
    let test = TestWallet::new().await;
    let mut won = Vec::new();
    for second in [0, 1, 1, 2, 3] {
        test.clock.set(Timestamp::from_micros(OPENS_AT.as_micros() + second * 1_000_000));
        won.push(test.won("kim", draft::coupon()).await);
        test.won("lee", draft::coupon()).await;
    }
    won.sort_unstable_by_key(|coupon| std::cmp::Reverse((coupon.issued_at, coupon.id)));
    let expected: Vec<Value> = won.iter().map(|coupon| json!(coupon.id)).collect();
    let mut paged = Vec::new();
    let mut query = "?state=issued&limit=2".to_owned();
    let mut cursor = String::new();
    loop {
        paged.extend(listed(&test, &query).await);
        let page = test.by("kim", test.api.get(&format!("/v1/me/coupons{query}"))).await.json();
        let Some(next) = page["next_cursor"].as_str() else { break };
        next.clone_into(&mut cursor);
        query = format!("?state=issued&limit=2&cursor={next}");
    }
    assert_eq!(paged, expected);

    for (user, query) in [("lee", "state=issued&"), ("kim", ""), ("kim", "state=used&")] {
        let path = format!("/v1/me/coupons?{query}cursor={cursor}");
        let _ = test.by(user, test.api.get(&path)).await.expect_problem(400, "malformed");
    }
    let path = "/v1/me/coupons?limit=201";
    let _ = test.by("kim", test.api.get(path)).await.expect_problem(422, "invalid");
}

#[tokio::test]
async fn revoking_is_for_admins() {
    let test = TestWallet::new().await;
    let won = test.won("kim", draft::coupon()).await;
    let path = format!("/v1/issued-coupons/{}/revoke", won.id);
    let reason = || json!({"reason": "-"});
    let _ = test.api.post(&path).json(reason()).await.expect_problem(401, "unauthenticated");
    for scope in ["user", "redeem", ""] {
        let answer = test.scoped(scope, test.api.post(&path)).json(reason()).await;
        let _ = answer.expect_problem(403, "forbidden");
    }
    assert_eq!(test.shown(&won).await["state"], "issued");
}

#[tokio::test]
async fn a_revoked_coupon_is_shown_again_and_never_redeemed() {
    let test = TestWallet::new().await;
    let won = test.won("kim", draft::coupon()).await;
    let mut expected = test.shown(&won).await;
    expected["state"] = json!("revoked");
    for _ in 0..2 {
        assert_eq!(test.revoke(&won).await.expect(200).json(), expected);
    }
    assert_eq!(test.shown(&won).await, expected);
    let _ = test.redeem(&won, order("A-1")).await.expect_problem(409, "revoked");
    test.clock.set(EXPIRES_AT);
    let _ = test.redeem(&won, order("A-1")).await.expect_problem(409, "revoked");
}

#[tokio::test]
async fn a_used_coupon_is_not_revoked_until_its_use_is_cancelled() {
    let test = TestWallet::new().await;
    let won = test.won("kim", draft::coupon()).await;
    let redemption = test.redeem(&won, order("A-1")).await.expect(201).json();
    let refused = test.revoke(&won).await.expect_problem(409, "already_used");
    assert_eq!(refused.member("/redemption"), redemption);
    test.cancel(&redemption).await;
    assert_eq!(test.revoke(&won).await.expect(200).member("/state"), "revoked");
}

#[tokio::test]
async fn a_revocation_needs_a_reason_and_a_coupon() {
    let test = TestWallet::new().await;
    let won = test.won("kim", draft::coupon()).await;
    let path = format!("/v1/issued-coupons/{}/revoke", won.id);
    let admin = |path: &str| test.scoped("admin", test.api.post(path));
    for reason in [json!(""), json!(" "), json!("a\nb"), json!("가".repeat(201)), json!(null)] {
        let answer = admin(&path).json(json!({"reason": reason})).await;
        assert_eq!(answer.invalid_pointers(), BTreeSet::from(["/reason".to_owned()]));
    }
    let _ = admin(&path).json(json!({})).await.expect_problem(422, "invalid");
    let more = admin(&path).json(json!({"reason": "-", "more": 1})).await;
    let _ = more.expect_problem(400, "malformed");
    assert_eq!(test.shown(&won).await["state"], "issued");
    for id in [Uuid::now_v7().to_string(), "1".to_owned()] {
        let answer = admin(&format!("/v1/issued-coupons/{id}/revoke"));
        let answer = answer.json(json!({"reason": "-"})).await;
        let _ = answer.expect_problem(404, "issued_coupon_not_found");
    }
}
