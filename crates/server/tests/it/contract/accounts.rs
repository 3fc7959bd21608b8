//! Accounts and sessions.

use serde_json::json;
use tokio::task::JoinSet;

use super::{check_members, check_utc};
use crate::shop::Shop;

#[tokio::test]
async fn from_sign_up_to_a_claim() {
    let shop = Shop::open().await;
    let credentials = json!({"email": "Min.Su@Example.com", "password": "비밀번호 여덟글자"});
    let account = shop.api.post("/v1/users").json(credentials).await.expect(201);
    check_members(&account, "", "id email created_at");
    assert_eq!(account.member("/email"), "min.su@example.com");
    check_utc(&account, "/created_at");

    let credentials = json!({"email": "min.su@example.com", "password": "비밀번호 여덟글자"});
    let session = shop.api.post("/v1/sessions").json(credentials).await.expect(200);
    check_members(&session, "", "access_token token_type expires_in refresh_token scope");
    assert_eq!(session.member("/token_type"), "Bearer");
    assert_eq!(session.member("/scope"), "user");
    assert!(session.member("/expires_in").as_u64().is_some_and(|seconds| seconds > 0));
    assert_eq!(session.header("cache-control"), "no-store");

    let token = session.member_text("/access_token");
    let me = shop.api.get("/v1/me").token(&token).await.expect(200);
    let id = account.member_text("/id");
    let expected = json!({"id": id, "email": "min.su@example.com", "scope": "user"});
    assert_eq!(me.json(), expected);
    let event = shop.event(10).await;
    assert_eq!(shop.claim(&event, &token).await.expect(201).member("/user_id"), id.as_str());
    let made = shop.api.post("/v1/coupons").token(&token).json(json!({})).await;
    let _ = made.expect_problem(403, "forbidden");
}

#[tokio::test]
async fn an_email_has_one_account() {
    let shop = Shop::open().await;
    let sign_up = async |email: &str| {
        let body = json!({"email": email, "password": "a long password"});
        shop.api.post("/v1/users").json(body).await
    };
    let _ = sign_up("a@example.com").await.expect(201);
    for email in ["a@example.com", "A@EXAMPLE.com"] {
        let _ = sign_up(email).await.expect_problem(409, "email_taken");
    }
    let _ = sign_up("b@example.com").await.expect(201);
}

#[tokio::test]
async fn of_many_sign_ups_with_one_email_one_succeeds() {
    let shop = Shop::open().await;
    let mut sign_ups = JoinSet::new();
    for number in 0..8 {
        let body = json!({"email": "a@example.com", "password": format!("password-{number}")});
        sign_ups.spawn(shop.api.post("/v1/users").json(body).into_future());
    }
    let answers = sign_ups.join_all().await;
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    let taken = answers.iter().filter(|answer| answer.status == 409).count();
    assert_eq!((made, taken), (1, 7), "{answers:?}");
}

#[tokio::test]
async fn a_refused_log_in_does_not_tell_whether_the_account_exists() {
    let shop = Shop::open().await;
    let body = json!({"email": "a@example.com", "password": "a long password"});
    let _ = shop.api.post("/v1/users").json(body).await.expect(201);
    let log_in = async |email: &str, password: &str| {
        let body = json!({"email": email, "password": password});
        let answer = shop.api.post("/v1/sessions").json(body).await;
        let answer = answer.expect_problem(401, "invalid_credentials");
        assert!(!answer.header("www-authenticate").is_empty(), "{answer}");
        answer.member_text("/detail")
    };
    let wrong = log_in("a@example.com", "another password").await;
    assert_eq!(log_in("nobody@example.com", "a long password").await, wrong);
}

#[tokio::test]
async fn a_session_is_refreshed() {
    let shop = Shop::open().await;
    let body = json!({"email": "a@example.com", "password": "a long password"});
    let _ = shop.api.post("/v1/users").json(body.clone()).await.expect(201);
    let session = shop.api.post("/v1/sessions").json(body).await.expect(200);
    let refresh_token = session.member_text("/refresh_token");
    let refreshed = shop.refresh(&refresh_token).await.expect(200);
    check_members(&refreshed, "", "access_token token_type expires_in refresh_token scope");
    assert_eq!(refreshed.header("cache-control"), "no-store");
    assert_eq!(refreshed.member("/token_type"), "Bearer");
    let token = refreshed.member_text("/access_token");
    let me = shop.api.get("/v1/me").token(&token).await.expect(200);
    assert_eq!(me.member("/email"), "a@example.com");

    // A refresh token is no access token.
    let refused = shop.api.get("/v1/me").token(&refresh_token).await;
    let _ = refused.expect_problem(401, "unauthenticated");
}

#[tokio::test]
async fn the_first_admin_is_the_configured_one() {
    let shop = Shop::open_as(|launch| {
        launch
            .environment("FIRSTCOME_ADMIN_EMAIL", "owner@example.com")
            .environment("FIRSTCOME_ADMIN_PASSWORD", "an owner's password")
    })
    .await;
    let body = json!({"email": "owner@example.com", "password": "an owner's password"});
    let session = shop.api.post("/v1/sessions").json(body).await.expect(200);
    assert_eq!(session.member("/scope"), "user admin");
    let token = session.member_text("/access_token");
    let body = firstcome_testkit::coupon_body();
    let _ = shop.api.post("/v1/coupons").token(&token).json(body).await.expect(201);
    assert!(!shop.server.said().contains("an owner's password"));
}

#[tokio::test]
async fn an_admin_is_added_from_the_command_line() {
    let shop = Shop::open().await;
    let arguments = ["user", "add-admin", "--email", "second@example.com"];
    let ended = shop.server.command(&arguments).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("second@example.com"), "{ended:?}");
}

#[tokio::test]
async fn no_keys_are_published_for_a_shared_secret() {
    let shop = Shop::open().await;
    let keys = shop.api.get("/.well-known/jwks.json").await.expect(200);
    assert_eq!(keys.json(), json!({"keys": []}));
}
