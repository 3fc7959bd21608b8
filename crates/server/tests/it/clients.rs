//! Clients: an admin makes one for the checkout service, which redeems with its token.

use serde_json::{Value, json};

use crate::oauth::check_denied;
use crate::shop::Shop;

const PATH: &str = "/v1/clients";

#[tokio::test]
async fn a_checkout_service_redeems_with_its_own_token() {
    let shop = Shop::open().await;
    let event = shop.event(5).await;
    let issued = shop.claim(&event, &shop.user("kim").await).await.expect(201);
    let (id, secret) = shop.client("redeem").await;
    let token = shop.client_token(&id, &secret).await.expect(200).member_text("/access_token");
    let order = json!({
        "code": issued.member("/code"), "order_id": "o-1", "order_amount": 30_000,
    });
    let redeemed = shop.api.post("/v1/redemptions").token(&token).json(order.clone()).await;
    let redemption = redeemed.expect(201).member_text("/id");
    let again = shop.api.post("/v1/redemptions").token(&token).json(order).await.expect(200);
    assert_eq!(again.member("/id"), redemption.as_str());
    let cancel = format!("/v1/redemptions/{redemption}/cancel");
    let _ = shop.api.post(&cancel).token(&token).await.expect(200);
    // It is no shopper and no admin.
    let _ = shop.claim(&event, &token).await.expect_problem(403, "forbidden");
    let list = shop.api.get(PATH).token(&token).await;
    let _ = list.expect_problem(403, "forbidden");
}

#[tokio::test]
async fn what_a_client_is_made_of() {
    let shop = Shop::open().await;
    let make = |body: Value| shop.api.post(PATH).token(&shop.admin).json(body);
    let made = make(json!({"name": "체크아웃", "scope": "admin redeem"})).await.expect(201);
    assert_eq!(made.members(""), ["client_id", "client_secret"].map(str::to_owned).into());
    assert_eq!(made.header("cache-control"), "no-store");
    for (body, pointer) in [
        (json!({"name": "x", "scope": "user"}), "/scope"),
        (json!({"name": "x", "scope": "redeem user"}), "/scope"),
        (json!({"name": "x", "scope": ""}), "/scope"),
        (json!({"name": " ", "scope": "redeem"}), "/name"),
        (json!({"name": "x".repeat(101), "scope": "redeem"}), "/name"),
    ] {
        assert!(make(body.clone()).await.invalid_pointers().contains(pointer), "{body}");
    }
    assert_eq!(shop.walk(PATH, &shop.admin, 200).await.len(), 1);
}

#[tokio::test]
async fn clients_are_listed_without_their_secrets() {
    let shop = Shop::open().await;
    let mut made = Vec::new();
    for _ in 0..7 {
        made.insert(0, shop.client("redeem").await);
    }
    for limit in [1, 3, 7, 200] {
        let listed = shop.walk(PATH, &shop.admin, limit).await;
        let ids = listed.iter().map(|client| client["client_id"].as_str().expect("an id"));
        assert!(ids.eq(made.iter().map(|(id, _)| id.as_str())), "newest first, by {limit}");
    }
    let page = shop.api.get(PATH).token(&shop.admin).await.expect(200);
    let members = ["client_id", "name", "scope", "created_at"].map(str::to_owned).into();
    assert_eq!(page.members("/items/0"), members);
    assert_eq!(page.header("cache-control"), "no-store");
    for (_, secret) in &made {
        assert!(!page.text().contains(secret.as_str()), "{page}");
    }
    let limit = shop.api.get(&format!("{PATH}?limit=201")).token(&shop.admin).await;
    let _ = limit.expect_problem(422, "invalid");
    // A cursor of another list.
    let _ = (shop.coupon().await, shop.coupon().await);
    let coupons = shop.api.get("/v1/coupons?limit=1").await.member_text("/next_cursor");
    for cursor in ["x", &coupons] {
        let list = shop.api.get(&format!("{PATH}?cursor={cursor}")).token(&shop.admin).await;
        let _ = list.expect_problem(400, "malformed");
    }
}

#[tokio::test]
async fn a_client_that_is_deleted_gets_no_more_tokens() {
    let mut shop = Shop::open().await;
    let (id, secret) = shop.client("redeem").await;
    let token = shop.client_token(&id, &secret).await.expect(200).member_text("/access_token");
    let path = format!("{PATH}/{id}");
    let gone = shop.api.call("DELETE", &path).token(&shop.admin).await.expect(204);
    assert_eq!(gone.text(), "");
    for path in [&path, "/v1/clients/0199a8e2-7c1b-7d3e-8f00-0123456789ab", "/v1/clients/%00"] {
        let again = shop.api.call("DELETE", path).token(&shop.admin).await;
        let _ = again.expect_problem(404, "client_not_found");
    }
    check_denied(&shop.client_token(&id, &secret).await, 401, "invalid_client");
    assert_eq!(shop.walk(PATH, &shop.admin, 10).await, Vec::<Value>::new());
    // What it has is good until its time, and what is gone stays gone.
    let _ = shop.api.get("/v1/me").token(&token).await.expect(200);
    shop.server.kill9();
    shop.reopen().await;
    check_denied(&shop.client_token(&id, &secret).await, 401, "invalid_client");
}

/// Neither the ledger's files nor the log has a secret.
#[tokio::test]
async fn a_secret_is_shown_once_and_kept_nowhere() {
    let mut shop = Shop::open_as(|launch| launch.arguments(&["--log-level", "debug"])).await;
    let (id, secret) = shop.client("redeem").await;
    let _ = shop.client_token(&id, &secret).await.expect(200);
    let tokens = shop.log_in("kim@example.com").await;
    let used = crate::oauth::refresh_token(&tokens);
    let next = shop.refresh(&used).await.expect(200).member_text("/refresh_token");
    check_denied(&shop.refresh(&used).await, 400, "invalid_grant");
    assert_eq!(shop.server.terminate().await, Some(0));
    let said = shop.server.said();
    assert!(said.contains("refresh token came again"), "the operator is told: {said}");
    let files = std::fs::read_dir(shop.server.data_dir()).expect("the data directory");
    for secret in [&secret, &used, &next] {
        assert!(!said.contains(secret.as_str()), "in the log: {said}");
    }
    for file in files {
        let path = file.expect("a file").path();
        let bytes = std::fs::read(&path).expect("the file");
        for secret in [&secret, &used, &next] {
            let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!found, "in {}", path.display());
        }
    }
}
