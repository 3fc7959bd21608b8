//! `GET /v1/me` and `GET /.well-known/jwks.json`.

use firstcome_core::UserId;
use firstcome_identity::{Grant, IdentityConfig, Mint};
use firstcome_web::{Scopes, TokenKey};
use serde_json::json;

use crate::support::{EMAIL, NOW, PASSWORD, SECOND, TestIdentity, key};

fn token(mint: &Mint, subject: &str, scope: Scopes) -> String {
    let subject = UserId::parse(subject).expect("a user id");
    mint.access_token(Grant { subject, scope, session: None }, NOW, 60)
}

fn mint() -> Mint {
    Mint::new(key(), &IdentityConfig::default())
}

#[tokio::test]
async fn an_account_is_told_with_its_address() {
    let test = TestIdentity::new().await;
    let made = test.sign_up(EMAIL, PASSWORD).await.expect(201);
    let tokens = test.log_in(EMAIL, PASSWORD).await.expect(200);
    let me = test.get("/v1/me", Some(&tokens.member_text("/access_token"))).await.expect(200);
    let id = made.member("/id");
    assert_eq!(me.json(), json!({"id": id, "email": EMAIL, "scope": "user"}));
    assert_eq!(me.header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_token_of_any_scope_and_of_no_account_is_told() {
    let test = TestIdentity::new().await;
    let made = test.sign_up(EMAIL, PASSWORD).await.expect(201);
    let upper = made.member_text("/id").to_uppercase();
    let unknown = "0193a5b0-0000-7000-8000-000000000000";
    for subject in ["load-1", unknown, upper.as_str()] {
        for (scope, words) in [
            (Scopes::USER, "user"),
            (Scopes::REDEEM, "redeem"),
            (Scopes::ADMIN, "admin"),
            (Scopes::USER.and(Scopes::ADMIN), "user admin"),
            (Scopes::default(), ""),
        ] {
            let token = token(&mint(), subject, scope);
            let me = test.get("/v1/me", Some(&token)).await.expect(200);
            assert_eq!(me.json(), json!({"id": subject, "email": null, "scope": words}));
        }
    }
}

#[tokio::test]
async fn what_is_no_token_of_ours_is_refused() {
    let test = TestIdentity::new().await;
    let config = IdentityConfig::default();
    let elsewhere = IdentityConfig { audience: "elsewhere".to_owned(), ..config.clone() };
    let another = IdentityConfig { issuer: "another".to_owned(), ..config.clone() };
    let forged = Mint::new(TokenKey::new(&[8; 32]), &config);
    let refresh = test.signed_in().await["refresh_token"].as_str().map(str::to_owned);
    for token in [
        None,
        Some(String::new()),
        refresh,
        Some(token(&forged, "kim", Scopes::USER)),
        Some(token(&Mint::new(key(), &elsewhere), "kim", Scopes::USER)),
        Some(token(&Mint::new(key(), &another), "kim", Scopes::USER)),
    ] {
        let refused = test.get("/v1/me", token.as_deref()).await;
        assert!(refused.header("www-authenticate").starts_with("Bearer"), "{refused}");
        let _ = refused.expect_problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn an_access_token_ends_with_its_time_and_the_leeway() {
    let test = TestIdentity::new().await;
    let tokens = test.signed_in().await;
    let token = tokens["access_token"].as_str();
    test.clock.advance_micros((3600 + 59) * SECOND);
    let _ = test.get("/v1/me", token).await.expect(200);
    test.clock.advance_micros(SECOND);
    let _ = test.get("/v1/me", token).await.expect_problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_secret_key_is_never_published() {
    let test = TestIdentity::new().await;
    let keys = test.get("/.well-known/jwks.json", None).await.expect(200);
    assert_eq!(keys.header("content-type"), "application/json");
    assert_eq!(keys.json(), json!({"keys": []}));
}
