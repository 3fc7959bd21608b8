//! `DELETE /v1/sessions/current`.

use firstcome_core::UserId;
use firstcome_identity::{Grant, IdentityConfig, Mint};
use firstcome_web::Scopes;
use serde_json::Value;
use uuid::Uuid;

use crate::support::{EMAIL, FORM, NOW, PASSWORD, TestIdentity, key};
use crate::token::{PATH, refresh, refused};

const CURRENT: &str = "/v1/sessions/current";

fn text<'a>(tokens: &'a Value, member: &str) -> &'a str {
    tokens[member].as_str().expect("a token")
}

#[tokio::test]
async fn the_tokens_session_refreshes_no_more_and_others_do() {
    let test = TestIdentity::new().await;
    let (one, other) = (test.signed_in().await, test.log_in(EMAIL, PASSWORD).await.json());
    let form = refresh(text(&one, "refresh_token"));
    let next = test.post_as(PATH, FORM, form).await.expect(200).json();
    // The access token of before the refresh is of the same session.
    let ended = test.call("DELETE", CURRENT, text(&one, "access_token")).await.expect(204);
    assert!(ended.bytes.is_empty(), "{ended}");
    let answer = test.post_as(PATH, FORM, refresh(text(&next, "refresh_token"))).await;
    refused(&answer, 400, "invalid_grant");
    for tokens in [&one, &next] {
        let token = text(tokens, "access_token");
        let _ = test.get("/v1/me", Some(token)).await.expect(200);
        let _ = test.call("DELETE", CURRENT, token).await.expect(204);
    }
    let _ = test.post_as(PATH, FORM, refresh(text(&other, "refresh_token"))).await.expect(200);
}

#[tokio::test]
async fn a_token_of_no_session_has_none_to_end() {
    let test = TestIdentity::new().await;
    let tokens = test.signed_in().await;
    let mint = Mint::new(key(), &IdentityConfig::default());
    let me = test.get("/v1/me", Some(text(&tokens, "access_token"))).await.member_text("/id");
    for (subject, scope, session) in [
        ("load-1", Scopes::USER, None),
        ("load-1", Scopes::REDEEM, Some(Uuid::now_v7())),
        (me.as_str(), Scopes::USER, None),
        (me.as_str(), Scopes::ADMIN, Some(Uuid::now_v7())),
        ("0193a5b0-0000-7000-8000-000000000000", Scopes::default(), Some(Uuid::now_v7())),
    ] {
        let subject = UserId::parse(subject).expect("a user id");
        let token = mint.access_token(Grant { subject, scope, session }, NOW, 60);
        let _ = test.call("DELETE", CURRENT, &token).await.expect(204);
    }
    let form = refresh(text(&tokens, "refresh_token"));
    let _ = test.post_as(PATH, FORM, form).await.expect(200);
    let _ = test.call("DELETE", CURRENT, "x").await.expect_problem(401, "unauthenticated");
}
