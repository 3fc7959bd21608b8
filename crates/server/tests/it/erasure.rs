//! Erasing a person: what is left says nothing of them, and all counts are right.

use serde_json::{Value, json};

use crate::shop::Shop;

pub(crate) async fn sign_up(shop: &Shop, email: &str) -> (String, Value) {
    let credentials = json!({"email": email, "password": "correct horse"});
    let made = shop.api.post("/v1/users").json(credentials.clone()).await.expect(201);
    let tokens = shop.api.post("/v1/sessions").json(credentials).await.expect(200);
    (made.member_text("/id"), tokens.json())
}

pub(crate) fn text<'a>(tokens: &'a Value, name: &str) -> &'a str {
    tokens[name].as_str().expect("a text")
}

#[tokio::test]
async fn a_user_erases_themselves() {
    let shop = Shop::open().await;
    let event = shop.event(5).await;
    let (id, tokens) = sign_up(&shop, "kim@example.com").await;
    let token = text(&tokens, "access_token");
    let issued = shop.claim(&event, token).await.expect(201);
    let _ = shop.claim(&event, &shop.user("lee").await).await.expect(201);
    let _ = shop.api.call("DELETE", "/v1/me").token(token).await.expect(204);

    let credentials = json!({"email": "kim@example.com", "password": "correct horse"});
    let log_in = shop.api.post("/v1/sessions").json(credentials.clone()).await;
    let _ = log_in.expect_problem(401, "invalid_credentials");
    let form = [("grant_type", "refresh_token"), ("refresh_token", text(&tokens, "refresh_token"))];
    let refreshed = shop.api.post("/oauth/token").form(&form).await.expect(400);
    assert_eq!(refreshed.member("/error"), "invalid_grant");
    let me = shop.api.get("/v1/me").token(token).await.expect(200);
    assert_eq!((me.member("/id"), me.member("/email")), (json!(id), Value::Null));
    assert_eq!(shop.walk("/v1/me/coupons", token, 200).await, [Value::Null; 0]);
    let again = shop.api.call("DELETE", "/v1/me").token(token).await;
    let _ = again.expect_problem(404, "user_not_found");

    let by_user = shop.issued(&event).await;
    assert!(!by_user.contains_key(&id) && by_user.contains_key("lee"), "{by_user:?}");
    let (pseudonym, left) = by_user.iter().find(|(user, _)| *user != "lee").expect("a coupon");
    assert!(pseudonym.starts_with("erased-"), "{pseudonym}");
    assert_eq!((&left["id"], &left["code"]), (&issued.member("/id"), &issued.member("/code")));
    shop.expect_audit(&event, 2).await;

    // The token is good for a while; one coupon of the event is all there is.
    let second = shop.claim(&event, token).await.expect_problem(409, "already_claimed");
    assert_eq!(second.member("/issued_coupon/sequence"), issued.member("/sequence"));
    shop.expect_audit(&event, 2).await;

    let anew = shop.api.post("/v1/users").json(credentials).await.expect(201);
    assert_ne!(anew.member("/id"), id.as_str());
}

#[tokio::test]
async fn an_admin_erases_a_user_of_any_provider() {
    let shop = Shop::open().await;
    let event = shop.event(5).await;
    let (id, _) = sign_up(&shop, "lee@example.com").await;
    let foreign = "https://id.example.com/people?name=kim@example.com";
    let token = shop.user(foreign).await;
    let issued = shop.claim(&event, &token).await.expect(201);
    let encoded = foreign.replace('/', "%2F").replace('?', "%3F").replace(':', "%3A");
    for user in [id.as_str(), &encoded] {
        let path = format!("/v1/users/{user}");
        let refused = shop.api.call("DELETE", &path).token(&token).await;
        let _ = refused.expect_problem(403, "forbidden");
        let _ = shop.api.call("DELETE", &path).token(&shop.admin).await.expect(204);
        let again = shop.api.call("DELETE", &path).token(&shop.admin).await;
        let _ = again.expect_problem(404, "user_not_found");
    }
    // A coupon is whose it was, for the shop that redeems its code.
    let order = json!({"code": issued.member("/code"), "order_id": "A-1", "order_amount": 30_000});
    let checkout = shop.checkout().await;
    let _ = shop.api.post("/v1/redemptions").token(&checkout).json(order).await.expect(201);
    shop.expect_audit(&event, 1).await;
    let told = shop.walk("/v1/admin/changes?resource=user", &shop.admin, 200).await;
    assert_eq!(told.len(), 2);
    let of_account = told.iter().filter(|change| change["resource_id"] == id.as_str());
    assert_eq!(of_account.count(), 1);
    assert!(!told.iter().any(|change| change.to_string().contains("example.com")), "{told:?}");
}

#[tokio::test]
async fn who_is_none_is_not_found() {
    let shop = Shop::open().await;
    for user in ["nobody", "0199a8e2-7c1b-7d3e-8f00-0123456789ab", "%EC%BF%A0%ED%8F%B0", "a%20b"] {
        let path = format!("/v1/users/{user}");
        let answer = shop.api.call("DELETE", &path).token(&shop.admin).await;
        let _ = answer.expect_problem(404, "user_not_found");
    }
}
