//! `client_credentials` at `POST /oauth/token`, as RFC 6749 has it.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use firstcome_testkit::Answer;
use serde_json::{Value, json};

use crate::support::{FORM, SECOND, TestIdentity};
use crate::token::{PATH, refresh, refused};

const GRANT: &str = "grant_type=client_credentials";

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// The text with every byte in percent-encoding.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
}

impl TestIdentity {
    /// Asks for a token with these `Authorization` headers.
    async fn ask(&self, headers: &[&str], form: &str) -> Answer {
        let mut request = Request::post(PATH).header(CONTENT_TYPE, FORM);
        for header in headers {
            request = request.header(AUTHORIZATION, *header);
        }
        self.send(request.body(Body::from(form.to_owned())).expect("a request")).await
    }
}

/// The client is not proven, and told how to.
#[track_caller]
fn unproven(answer: &Answer) {
    refused(answer, 401, "invalid_client");
    assert!(answer.header("www-authenticate").starts_with("Basic realm="), "{answer}");
}

#[tokio::test]
async fn a_client_proves_itself_in_the_header_or_in_the_form() {
    let test = TestIdentity::new().await;
    let (id, secret) = test.client("redeem").await;
    let header = basic(&id, &secret);
    let in_form = format!("{GRANT}&client_id={id}&client_secret={secret}");
    for (headers, form) in [
        (vec![], in_form.clone()),
        (vec![], format!("{GRANT}&client_id={}&client_secret={}", encoded(&id), encoded(&secret))),
        (vec![header.clone()], GRANT.to_owned()),
        (vec![header.replacen("Basic", "bAsIc", 1)], GRANT.to_owned()),
        (vec![basic(&encoded(&id), &encoded(&secret))], GRANT.to_owned()),
        // Who it is may be said once more, but not proven.
        (vec![header.clone()], format!("{GRANT}&client_id={id}&client_secret=&scope=")),
    ] {
        let headers: Vec<_> = headers.iter().map(String::as_str).collect();
        let answer = test.ask(&headers, &form).await.expect(200);
        let members = ["access_token", "token_type", "expires_in", "scope"];
        assert_eq!(answer.members(""), BTreeSet::from(members.map(String::from)), "no refresh");
        assert_eq!(answer.member("/token_type"), "Bearer");
        assert_eq!(answer.member("/expires_in"), 3600);
        assert_eq!(answer.member("/scope"), "redeem");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("pragma"), "no-cache");
    }
    refused(&test.ask(&[&header], &in_form).await, 400, "invalid_request");
    refused(&test.ask(&[&header, &header], GRANT).await, 400, "invalid_request");
    let another = format!("{GRANT}&client_id=another");
    refused(&test.ask(&[&header], &another).await, 400, "invalid_request");
}

#[tokio::test]
async fn a_clients_token_is_its_own() {
    let test = TestIdentity::new().await;
    let (id, secret) = test.client("admin redeem").await;
    let answer = test.ask(&[&basic(&id, &secret)], GRANT).await.expect(200).json();
    let token = answer["access_token"].as_str().expect("a token");
    let claims = claims(token);
    for (claim, value) in [
        ("sub", json!(id)),
        ("client_id", json!(id)),
        ("scope", json!("admin redeem")),
        ("aud", json!("firstcome")),
        ("sid", Value::Null),
    ] {
        assert_eq!(claims[claim], value, "{claim}");
    }
    let me = test.get("/v1/me", Some(token)).await.expect(200);
    assert_eq!(me.json(), json!({"id": id, "email": null, "scope": "admin redeem"}));
    let user = test.signed_in().await;
    let users = crate::client_tokens::claims(user["access_token"].as_str().expect("a token"));
    assert_eq!(users["client_id"], Value::Null, "a session is no client's");
    // It logs out without a session, and makes a client with its scope.
    let _ = test.call("DELETE", "/v1/sessions/current", token).await.expect(204);
    let made = test.make_client(token, &json!({"name": "x", "scope": "redeem"})).await;
    let _ = made.expect(201);
}

#[tokio::test]
async fn a_client_that_is_not_proven_gets_nothing() {
    let test = TestIdentity::new().await;
    let (id, secret) = test.client("redeem").await;
    let (nobody, wrong) = ("0193a5b0-0000-7000-8000-000000000000", "A".repeat(43));
    for (id, secret) in [
        (id.as_str(), wrong.as_str()),
        (nobody, &secret),
        (nobody, &wrong),
        ("checkout", &secret),
        (&id, &secret[1..]),
        (&id, &format!("{secret}x")),
        (&id, &secret.to_lowercase()),
        (&secret, &id),
        ("쿠폰", "쿠폰"),
    ] {
        unproven(&test.ask(&[&basic(id, secret)], GRANT).await);
        let form = format!("{GRANT}&client_id={}&client_secret={}", encoded(id), encoded(secret));
        unproven(&test.ask(&[], &form).await);
    }
    unproven(&test.ask(&[], GRANT).await);
    unproven(&test.ask(&[], &format!("{GRANT}&client_id={id}")).await);
    unproven(&test.ask(&[], &format!("{GRANT}&client_secret={secret}")).await);
    let good = basic(&id, &secret);
    let bare = STANDARD.encode(&id);
    for header in [
        "",
        "Basic",
        "Basic ",
        "Basic !",
        &format!("Basic {bare}"),
        &format!("Basic {id}:{secret}"),
        &good.replacen("Basic", "Bearer", 1),
        &basic(&id, &format!("{secret}%")),
        &basic("%ff", &secret),
        &basic(&id, ""),
    ] {
        unproven(&test.ask(&[header], GRANT).await);
    }
    let _ = test.ask(&[&good], GRANT).await.expect(200);
}

#[tokio::test]
async fn a_scope_is_at_most_the_clients() {
    let test = TestIdentity::new().await;
    let (id, secret) = test.client("admin redeem").await;
    let header = basic(&id, &secret);
    for (asked, granted) in
        [("redeem", "redeem"), ("redeem+admin", "admin redeem"), ("admin", "admin")]
    {
        let form = format!("{GRANT}&scope={asked}");
        let answer = test.ask(&[&header], &form).await.expect(200);
        assert_eq!(answer.member("/scope"), granted);
        assert_eq!(test.scope_of(&answer.json()).await, granted);
    }
    for asked in ["user", "redeem+user", "root", "redeem,admin", "+"] {
        let answer = test.ask(&[&header], &format!("{GRANT}&scope={asked}")).await;
        refused(&answer, 400, "invalid_scope");
    }
}

#[tokio::test]
async fn a_deleted_client_gets_no_more_and_keeps_what_it_has_until_its_time() {
    let test = TestIdentity::new().await;
    let (id, secret) = test.client("redeem").await;
    let header = basic(&id, &secret);
    let tokens = test.ask(&[&header], GRANT).await.expect(200).json();
    let admin = test.log_in("admin@example.com", "an admin's").await.member_text("/access_token");
    let _ = test.call("DELETE", &format!("/v1/clients/{id}"), &admin).await.expect(204);
    unproven(&test.ask(&[&header], GRANT).await);
    assert_eq!(test.scope_of(&tokens).await, "redeem");
    test.clock.advance_micros((3600 + 60) * SECOND);
    let late = test.get("/v1/me", tokens["access_token"].as_str()).await;
    let _ = late.expect_problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_sessions_token_is_no_clients() {
    let test = TestIdentity::new().await;
    let (id, secret) = test.client("redeem").await;
    let tokens = test.signed_in().await;
    let form = refresh(tokens["refresh_token"].as_str().expect("a refresh token"));
    refused(&test.ask(&[&basic(&id, &secret)], &form).await, 400, "invalid_grant");
    unproven(&test.ask(&[&basic(&id, "wrong")], &form).await);
    unproven(&test.ask(&[], &format!("{form}&client_id={id}")).await);
    let _ = test.ask(&[], &form).await.expect(200);
}
