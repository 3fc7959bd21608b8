//! `POST /oauth/token`, as RFC 6749 has it.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Request;
use axum::http::header::CONTENT_TYPE;
use firstcome_testkit::Answer;
use futures_util::future::join_all;
use serde_json::Value;

use crate::support::{EMAIL, FORM, PASSWORD, SECOND, TestIdentity, email, password};

pub(crate) const PATH: &str = "/oauth/token";

pub(crate) fn refresh(token: &str) -> String {
    form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "refresh_token")
        .append_pair("refresh_token", token)
        .finish()
}

/// The answer is a refusal of OAuth's, and carries nothing but that.
#[track_caller]
pub(crate) fn refused(answer: &Answer, status: u16, error: &str) {
    assert_eq!((answer.status, answer.member_text("/error").as_str()), (status, error), "{answer}");
    let members = BTreeSet::from(["error", "error_description"].map(String::from));
    assert_eq!(answer.members(""), members);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("pragma"), "no-cache");
}

/// The refresh token of tokens.
fn refresh_token(tokens: &Value) -> &str {
    tokens["refresh_token"].as_str().expect("a refresh token")
}

impl TestIdentity {
    /// Refreshes, which succeeds; the next tokens.
    async fn refreshed(&self, token: &str) -> Value {
        self.post_as(PATH, FORM, refresh(token)).await.expect(200).json()
    }

    /// Refreshes, which is refused as a token that is not in force.
    async fn not_in_force(&self, token: &str) {
        refused(&self.post_as(PATH, FORM, refresh(token)).await, 400, "invalid_grant");
    }
}

#[tokio::test]
async fn a_session_gives_the_next_tokens_as_often_as_it_is_asked() {
    let test = TestIdentity::new().await;
    let mut tokens = test.signed_in().await;
    test.clock.advance_micros(3600 * SECOND);
    let mut seen = BTreeSet::new();
    for _ in 0..4 {
        for member in ["access_token", "refresh_token"] {
            assert!(seen.insert(tokens[member].to_string()), "a new {member}");
        }
        let answer = test.post_as(PATH, FORM, refresh(refresh_token(&tokens))).await.expect(200);
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("pragma"), "no-cache");
        tokens = answer.json();
        assert_eq!(tokens["token_type"], "Bearer");
        assert_eq!(tokens["expires_in"], 3600);
        assert_eq!(tokens["scope"], "user");
        assert_eq!(test.scope_of(&tokens).await, "user");
    }
}

#[tokio::test]
async fn a_token_that_was_used_ends_its_session_and_no_other() {
    let test = TestIdentity::new().await;
    let other = test.signed_in().await;
    // Of four tokens, each of the three that were used.
    for old in 0..3 {
        let first = test.log_in(EMAIL, PASSWORD).await.expect(200).json();
        let mut family = vec![refresh_token(&first).to_owned()];
        for used in 0..3 {
            let next = test.refreshed(&family[used]).await;
            family.push(refresh_token(&next).to_owned());
        }
        test.not_in_force(&family[old]).await;
        for token in &family {
            test.not_in_force(token).await;
        }
    }
    let _ = test.refreshed(refresh_token(&other)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_refreshes_at_once_with_one_token_one_gets_the_next() {
    let test = TestIdentity::new().await;
    let tokens = test.signed_in().await;
    let form = refresh(refresh_token(&tokens));
    let answers = join_all((0..20).map(|_| test.post_as(PATH, FORM, form.clone()))).await;
    let (given, denied): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!(given.len(), 1);
    for answer in &denied {
        refused(answer, 400, "invalid_grant");
    }
    // Whoever came second showed a token that was used.
    test.not_in_force(&given[0].member_text("/refresh_token")).await;
}

#[tokio::test]
async fn what_is_refused_uses_nothing_up() {
    let test = TestIdentity::new().await;
    let tokens = test.signed_in().await;
    let good = refresh(refresh_token(&tokens));
    for (more, status, error) in [
        ("&scope=admin", 400, "invalid_scope"),
        ("&client_id=x&client_secret=y", 401, "invalid_client"),
        ("&scope=user&scope=user", 400, "invalid_request"),
        ("&x=%", 400, "invalid_request"),
    ] {
        let answer = test.post_as(PATH, FORM, format!("{good}{more}")).await;
        refused(&answer, status, error);
    }
    let _ = test.post_as(PATH, FORM, good).await.expect(200);
}

#[tokio::test]
async fn a_form_may_name_its_charset_and_what_nobody_knows() {
    let test = TestIdentity::new().await;
    let tokens = test.signed_in().await;
    let form = refresh(refresh_token(&tokens));
    let media_type = "Application/X-WWW-Form-Urlencoded; charset=UTF-8";
    let form = format!("{form}&resource=x&resource=y&scope=&client_id=&=&&a");
    let _ = test.post_as(PATH, media_type, form).await.expect(200);
}

#[tokio::test]
async fn a_refresh_token_that_is_not_in_force_is_an_invalid_grant() {
    let test = TestIdentity::new().await;
    let tokens = test.signed_in().await;
    let token = refresh_token(&tokens);
    let access = tokens["access_token"].as_str().expect("an access token");
    let unknown = "A".repeat(43);
    for other in [
        "x",
        "토큰",
        access,
        &token[1..],
        &format!("{token} "),
        &format!("{token}."),
        &token.to_uppercase(),
        &unknown,
        &format!("{unknown}.{token}"),
    ] {
        test.not_in_force(other).await;
    }
    let _ = test.refreshed(token).await;
}

#[tokio::test]
async fn a_session_ends_with_its_time_however_often_it_is_refreshed() {
    let test = TestIdentity::new().await;
    let tokens = test.signed_in().await;
    test.clock.advance_micros(30 * 86_400 * SECOND - 1);
    let tokens = test.refreshed(refresh_token(&tokens)).await;
    test.clock.advance_micros(1);
    test.not_in_force(refresh_token(&tokens)).await;
}

#[tokio::test]
async fn a_form_that_is_none_or_lacks_something_is_an_invalid_request() {
    let test = TestIdentity::new().await;
    let tokens = test.signed_in().await;
    let good = refresh(refresh_token(&tokens));
    for (media_type, body) in [
        (FORM, ""),
        (FORM, "refresh_token=x"),
        (FORM, "grant_type=&refresh_token=x"),
        (FORM, "grant_type=refresh_token"),
        (FORM, "grant_type=refresh_token&refresh_token="),
        (FORM, &format!("{good}&grant_type=refresh_token")),
        (FORM, &format!("{good}&refresh_token=x")),
        (FORM, &format!("{good}&scope=user&scope=user")),
        (FORM, &format!("{good}&state=%")),
        (FORM, &format!("{good}&state=%zz")),
        (FORM, &format!("{good}&%e=x")),
        (FORM, &format!("{good}&state=%ff")),
        (FORM, &format!("{good}&state=%ED%A0%80")),
        (FORM, "{\"grant_type\":\"refresh_token\"}"),
        ("application/json", "{\"grant_type\":\"refresh_token\"}"),
        ("application/json", &good),
        ("text/plain", &good),
    ] {
        let answer = test.post_as(PATH, media_type, body.to_owned()).await;
        refused(&answer, 400, "invalid_request");
    }
    let bytes = [good.as_bytes(), b"&state=\xff"].concat();
    refused(&test.post_as(PATH, FORM, bytes).await, 400, "invalid_request");
    let untyped = Request::post(PATH).body(Body::from(good.clone())).expect("a request");
    refused(&test.send(untyped).await, 400, "invalid_request");
    let twice = Request::post(PATH).header(CONTENT_TYPE, FORM).header(CONTENT_TYPE, FORM);
    let twice = twice.body(Body::from(good.clone())).expect("a request");
    refused(&test.send(twice).await, 400, "invalid_request");
    let _ = test.post_as(PATH, FORM, good).await.expect(200);
}

#[tokio::test]
async fn another_grant_is_unsupported() {
    let test = TestIdentity::new().await;
    for grant in ["password", "authorization_code", "REFRESH_TOKEN", "client", "쿠폰"] {
        let form = format!("grant_type={grant}&username=x&password=y");
        let answer = test.post_as(PATH, FORM, form).await;
        refused(&answer, 400, "unsupported_grant_type");
    }
}

#[tokio::test]
async fn a_scope_may_be_less_than_was_granted_and_never_more() {
    let test = TestIdentity::new().await;
    test.identity.add_admin(email(EMAIL), password("an admin's")).await.expect("an admin");
    let tokens = test.log_in(EMAIL, "an admin's").await.expect(200).json();
    assert_eq!(tokens["scope"], "user admin");
    let mut token = refresh_token(&tokens).to_owned();
    // Less was given: the session still has it all.
    for (asked, granted) in [("admin+user", "user admin"), ("user", "user"), ("admin", "admin")] {
        let form = format!("{}&scope={asked}", refresh(&token));
        let answer = test.post_as(PATH, FORM, form).await.expect(200);
        assert_eq!(answer.member("/scope"), granted);
        assert_eq!(test.scope_of(&answer.json()).await, granted);
        token = answer.member_text("/refresh_token");
    }
    let good = refresh(&token);
    for asked in ["redeem", "user+redeem", "root", "user,admin", "+"] {
        let answer = test.post_as(PATH, FORM, format!("{good}&scope={asked}")).await;
        refused(&answer, 400, "invalid_scope");
    }
    let _ = test.refreshed(&token).await;
}

#[tokio::test]
async fn a_promotion_shows_in_the_next_access_token() {
    let test = TestIdentity::new().await;
    let tokens = test.signed_in().await;
    test.identity.add_admin(email(EMAIL), password(PASSWORD)).await.expect("proven");
    let good = refresh(refresh_token(&tokens));
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
