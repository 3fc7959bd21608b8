//! `POST /oauth/token`, as RFC 6749 has it.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use firstcome_core::{AccountId, Timestamp};
use firstcome_ledger::NewSession;
use firstcome_testkit::Answer;
use uuid::Uuid;

use crate::support::{EMAIL, FORM, NOW, SECOND, TestIdentity, email, password};

const PATH: &str = "/oauth/token";

fn refresh(token: &str) -> String {
    form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "refresh_token")
        .append_pair("refresh_token", token)
        .finish()
}

/// The answer is a refusal of OAuth's, and carries nothing but that.
#[track_caller]
fn refused(answer: &Answer, status: u16, error: &str) {
    assert_eq!((answer.status, answer.member_text("/error").as_str()), (status, error), "{answer}");
    let members = BTreeSet::from(["error", "error_description"].map(String::from));
    assert_eq!(answer.members(""), members);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("pragma"), "no-cache");
}

#[tokio::test]
async fn a_session_gives_a_new_access_token_as_often_as_it_is_asked() {
    let test = TestIdentity::new().await;
    let tokens = test.signed_in().await;
    let token = tokens["refresh_token"].as_str().expect("a refresh token");
    test.clock.advance_micros(3600 * SECOND);
    let mut seen = BTreeSet::from([tokens["access_token"].to_string()]);
    for _ in 0..2 {
        let answer = test.post_as(PATH, FORM, refresh(token)).await.expect(200);
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("pragma"), "no-cache");
        let json = answer.json();
        assert_eq!(json["token_type"], "Bearer");
        assert_eq!(json["expires_in"], 3600);
        assert_eq!(json["scope"], "user");
        assert_eq!(json["refresh_token"], token);
        assert!(seen.insert(json["access_token"].to_string()), "a new token");
        assert_eq!(test.scope_of(&json).await, "user");
    }
}

#[tokio::test]
async fn a_form_may_name_its_charset_and_what_nobody_knows() {
    let test = TestIdentity::new().await;
    let tokens = test.signed_in().await;
    let form = refresh(tokens["refresh_token"].as_str().expect("a refresh token"));
    let media_type = "Application/X-WWW-Form-Urlencoded; charset=UTF-8";
    let form = format!("{form}&resource=x&resource=y&scope=&client_id=&=&&a");
    let _ = test.post_as(PATH, media_type, form).await.expect(200);
}

#[tokio::test]
async fn a_refresh_token_that_is_not_in_force_is_an_invalid_grant() {
    let test = TestIdentity::new().await;
    let tokens = test.signed_in().await;
    let token = tokens["refresh_token"].as_str().expect("a refresh token");
    let access = tokens["access_token"].as_str().expect("an access token");
    for other in ["x", "토큰", access, &token[1..], &format!("{token} "), &token.to_uppercase()] {
        refused(&test.post_as(PATH, FORM, refresh(other)).await, 400, "invalid_grant");
    }
    test.clock.advance_micros(30 * 86_400 * SECOND - 1);
    let _ = test.post_as(PATH, FORM, refresh(token)).await.expect(200);
    test.clock.advance_micros(1);
    refused(&test.post_as(PATH, FORM, refresh(token)).await, 400, "invalid_grant");
}

#[tokio::test]
async fn a_revoked_session_refreshes_no_more() {
    let test = TestIdentity::new().await;
    let _ = test.signed_in().await;
    let account = test.ledger.account_by_email(&email(EMAIL)).await.expect("an answer");
    let account_id: AccountId = account.expect("the account").0.id;
    let id = Uuid::now_v7();
    // The SHA-256 of "abc".
    let refresh_hash = [
        0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22,
        0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00,
        0x15, 0xad,
    ];
    let expires_at = Timestamp::from_micros(NOW.as_micros() + SECOND);
    let new = NewSession { id, account_id, refresh_hash, expires_at };
    test.ledger.create_session(new).await.expect("a session");
    let _ = test.post_as(PATH, FORM, refresh("abc")).await.expect(200);
    test.ledger.revoke_session(id).await.expect("an answer");
    refused(&test.post_as(PATH, FORM, refresh("abc")).await, 400, "invalid_grant");
}

#[tokio::test]
async fn a_form_that_is_none_or_lacks_something_is_an_invalid_request() {
    let test = TestIdentity::new().await;
    let tokens = test.signed_in().await;
    let good = refresh(tokens["refresh_token"].as_str().expect("a refresh token"));
    for (media_type, body) in [
        (FORM, ""),
        (FORM, "refresh_token=x"),
        (FORM, "grant_type=&refresh_token=x"),
        (FORM, "grant_type=refresh_token"),
        (FORM, "grant_type=refresh_token&refresh_token="),
        (FORM, &format!("{good}&grant_type=refresh_token")),
        (FORM, &format!("{good}&refresh_token=x")),
        (FORM, &format!("{good}&scope=user&scope=user")),
        (FORM, "{\"grant_type\":\"refresh_token\"}"),
        ("application/json", "{\"grant_type\":\"refresh_token\"}"),
        ("application/json", &good),
        ("text/plain", &good),
    ] {
        let answer = test.post_as(PATH, media_type, body.to_owned()).await;
        refused(&answer, 400, "invalid_request");
    }
    let untyped = Request::post(PATH).body(Body::from(good)).expect("a request");
    refused(&test.send(untyped).await, 400, "invalid_request");
}

#[tokio::test]
async fn another_grant_is_unsupported() {
    let test = TestIdentity::new().await;
    for grant in ["client_credentials", "password", "authorization_code", "REFRESH_TOKEN", "쿠폰"]
    {
        let form = format!("grant_type={grant}&username=x&password=y");
        let answer = test.post_as(PATH, FORM, form).await;
        refused(&answer, 400, "unsupported_grant_type");
    }
}

#[tokio::test]
async fn whoever_says_to_be_a_client_is_none() {
    let test = TestIdentity::new().await;
    let tokens = test.signed_in().await;
    let good = refresh(tokens["refresh_token"].as_str().expect("a refresh token"));
    for more in ["client_id=shop", "client_secret=x", "client_id=shop&client_secret=x"] {
        let answer = test.post_as(PATH, FORM, format!("{good}&{more}")).await;
        refused(&answer, 401, "invalid_client");
        assert!(answer.header("www-authenticate").starts_with("Basic realm="));
    }
    let request = Request::post(PATH).header(CONTENT_TYPE, FORM);
    let request = request.header(AUTHORIZATION, "Basic c2hvcDpzZWNyZXQ=");
    let answer = test.send(request.body(Body::from(good)).expect("a request")).await;
    refused(&answer, 401, "invalid_client");
    assert!(answer.header("www-authenticate").starts_with("Basic realm="));
}

#[tokio::test]
async fn a_scope_may_be_less_than_was_granted_and_never_more() {
    let test = TestIdentity::new().await;
    test.identity.add_admin(email(EMAIL), password("an admin's")).await.expect("an admin");
    let tokens = test.log_in(EMAIL, "an admin's").await.expect(200).json();
    assert_eq!(tokens["scope"], "user admin");
    let good = refresh(tokens["refresh_token"].as_str().expect("a refresh token"));
    for (asked, granted) in [("admin+user", "user admin"), ("user", "user"), ("admin", "admin")] {
        let answer = test.post_as(PATH, FORM, format!("{good}&scope={asked}")).await.expect(200);
        assert_eq!(answer.member("/scope"), granted);
        assert_eq!(test.scope_of(&answer.json()).await, granted);
    }
    for asked in ["redeem", "user+redeem", "root", "user,admin", "+"] {
        let answer = test.post_as(PATH, FORM, format!("{good}&scope={asked}")).await;
        refused(&answer, 400, "invalid_scope");
    }
}

#[tokio::test]
async fn a_promotion_shows_in_the_next_access_token() {
    let test = TestIdentity::new().await;
    let tokens = test.signed_in().await;
    test.identity
        .add_admin(email(EMAIL), password(crate::support::PASSWORD))
        .await
        .expect("proven");
    let good = refresh(tokens["refresh_token"].as_str().expect("a refresh token"));
    let answer = test.post_as(PATH, FORM, good).await.expect(200);
    assert_eq!(answer.member("/scope"), "user admin");
}

#[tokio::test]
async fn what_the_edge_refuses_stays_a_problem() {
    let test = TestIdentity::new().await;
    let large = "a".repeat(64 * 1024 + 1);
    let _ = test.post_as(PATH, FORM, large).await.expect_problem(413, "too_large");
    let get = test.get(PATH, None).await.expect_problem(405, "method_not_allowed");
    assert_eq!(get.header("allow"), "POST");
}
