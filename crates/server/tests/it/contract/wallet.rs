//! My coupons, and revoking.

use firstcome_testkit::coupon_body;
use serde_json::json;

use super::claims::ISSUED_MEMBERS;
use super::{MALFORMED_IDS, NOWHERE, check_members};
use crate::shop::{Shop, eventually};

#[tokio::test]
async fn anothers_coupon_is_not_there() {
    let shop = Shop::open().await;
    let event = shop.event(10).await;
    let (owner, other) = (shop.user("owner").await, shop.user("other").await);
    let issued = shop.claim(&event, &owner).await.expect(201).member_text("/id");
    let _ = shop.api.get(&format!("/v1/me/coupons/{issued}")).token(&owner).await.expect(200);
    let order = json!({"order_id": "o-1", "order_amount": 20_000});
    for id in MALFORMED_IDS.iter().copied().chain([NOWHERE, &issued]) {
        let read = shop.api.get(&format!("/v1/me/coupons/{id}")).token(&other).await;
        let _ = read.expect_problem(404, "issued_coupon_not_found");
        let redeemed = shop.redeem(id, &other, order.clone()).await;
        let _ = redeemed.expect_problem(404, "issued_coupon_not_found");
    }
    // An admin has no claim to what is somebody's own either.
    let read = shop.api.get(&format!("/v1/me/coupons/{issued}")).token(&shop.admin).await;
    let _ = read.expect_problem(404, "issued_coupon_not_found");
    let read = shop.api.get(&format!("/v1/me/coupons/{issued}")).token(&owner).await;
    assert_eq!(read.member("/state"), "issued");
}

#[tokio::test]
async fn my_coupons_by_state() {
    let shop = Shop::open().await;
    let user = shop.user("u").await;
    let past = json!({
        "type": "period", "from": "2020-01-01T00:00:00Z", "until": "2020-02-01T00:00:00Z",
    });
    let expired = shop.event_issuing(coupon_body().with("/validity", past)).await;
    let mut ids = vec![("expired", shop.claim(&expired, &user).await.expect(201))];
    for state in ["issued", "used", "revoked"] {
        let event = shop.event(10).await;
        ids.push((state, shop.claim(&event, &user).await.expect(201)));
    }
    let order = json!({"order_id": "o-1", "order_amount": 20_000});
    let _ = shop.redeem(&ids[2].1.member_text("/id"), &user, order).await.expect(201);
    let revoke = format!("/v1/issued-coupons/{}/revoke", ids[3].1.member_text("/id"));
    let revoke = shop.api.post(&revoke).token(&shop.admin).json(json!({"reason": "실수"})).await;
    let revoke = revoke.expect(200);
    check_members(&revoke, "", ISSUED_MEMBERS);
    assert_eq!(revoke.member("/state"), "revoked");

    for (state, issued) in &ids {
        let listed = shop.walk(&format!("/v1/me/coupons?state={state}"), &user, 50).await;
        assert_eq!(listed.len(), 1, "{state}: {listed:?}");
        assert_eq!(
            (&listed[0]["id"], listed[0]["state"].as_str()),
            (&issued.member("/id"), Some(*state))
        );
    }
    assert_eq!(shop.walk("/v1/me/coupons", &user, 50).await.len(), 4);
    let refused = shop.api.get("/v1/me/coupons?state=lost").token(&user).await;
    assert!(matches!(refused.status, 400 | 422), "{refused}");
}

#[tokio::test]
async fn revoking() {
    let shop = Shop::open().await;
    let event = shop.event(10).await;
    let (one, two) = (shop.user("one").await, shop.user("two").await);
    let first = shop.claim(&event, &one).await.expect(201).member_text("/id");
    let second = shop.claim(&event, &two).await.expect(201).member_text("/id");
    let revoke = async |id: &str| {
        let path = format!("/v1/issued-coupons/{id}/revoke");
        shop.api.post(&path).token(&shop.admin).json(json!({"reason": "부정 사용"})).await
    };
    let order = json!({"order_id": "o-1", "order_amount": 20_000});
    let redemption = shop.redeem(&first, &one, order.clone()).await.expect(201);
    let refused = revoke(&first).await.expect_problem(409, "already_used");
    assert_eq!(refused.member("/redemption/id"), redemption.member("/id"));

    let revoked = revoke(&second).await.expect(200);
    assert_eq!(revoke(&second).await.expect(200).json(), revoked.json(), "revoking twice");
    let refused = shop.redeem(&second, &two, order).await;
    let _ = refused.expect_problem(409, "revoked");
    for id in MALFORMED_IDS.iter().chain([&NOWHERE]) {
        let _ = revoke(id).await.expect_problem(404, "issued_coupon_not_found");
    }
    shop.expect_audit(&event, 2).await;
}

/// A coupon expires by itself. The same order still gets its redemption then; a cancel leaves the
/// coupon expired.
#[tokio::test]
async fn expiry_by_the_clock() {
    let shop = Shop::open().await;
    let validity = json!({
        "type": "period", "from": "2020-01-01T00:00:00Z", "until": shop.moment_in(2).await,
    });
    let event = shop.event_issuing(coupon_body().with("/validity", validity)).await;
    let (one, two) = (shop.user("one").await, shop.user("two").await);
    let used = shop.claim(&event, &one).await.expect(201).member_text("/id");
    let unused = shop.claim(&event, &two).await.expect(201).member_text("/id");
    let order = json!({"order_id": "o-1", "order_amount": 20_000});
    let redemption = shop.redeem(&used, &one, order.clone()).await.expect(201);

    let read = || shop.api.get(&format!("/v1/me/coupons/{unused}")).token(&two).into_future();
    let expired = |answer: &firstcome_testkit::Answer| answer.member("/state") == "expired";
    let _ = eventually("expired", read, expired).await;
    let refused = shop.redeem(&unused, &two, order.clone()).await;
    let _ = refused.expect_problem(409, "expired");
    let again = shop.redeem(&used, &one, order.clone()).await.expect(200);
    assert_eq!(again.json(), redemption.json());
    let changed = json!({"order_id": "o-1", "order_amount": 20_001});
    let _ = shop.redeem(&used, &one, changed).await.expect_problem(409, "order_mismatch");

    let cancel = format!("/v1/redemptions/{}/cancel", redemption.member_text("/id"));
    let cancelled = shop.api.post(&cancel).token(&shop.admin).await.expect(200);
    assert_eq!(cancelled.member("/state"), "cancelled");
    let left = shop.api.get(&format!("/v1/me/coupons/{used}")).token(&one).await.expect(200);
    assert_eq!(left.member("/state"), "expired");
    let other = json!({"order_id": "o-2", "order_amount": 20_000});
    let _ = shop.redeem(&used, &one, other).await.expect_problem(409, "expired");
}
