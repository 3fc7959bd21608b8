//! `POST /v1/sessions`.

use std::collections::BTreeSet;

use firstcome_identity::IdentityConfig;
use futures_util::future::join_all;

use crate::support::{EMAIL, PASSWORD, TestIdentity};

#[tokio::test]
async fn the_right_password_gives_tokens_that_nothing_keeps() {
    let test = TestIdentity::new().await;
    let _ = test.sign_up(EMAIL, PASSWORD).await.expect(201);
    let answer = test.log_in("KIM@example.com", PASSWORD).await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("pragma"), "no-cache");
    let members = ["access_token", "token_type", "expires_in", "refresh_token", "scope"];
    assert_eq!(answer.members(""), BTreeSet::from(members.map(String::from)));
    assert_eq!(answer.member("/token_type"), "Bearer");
    assert_eq!(answer.member("/expires_in"), 3600);
    assert_eq!(answer.member("/scope"), "user");
    assert_eq!(test.scope_of(&answer.json()).await, "user");
}

#[tokio::test]
async fn every_log_in_is_a_session_of_its_own() {
    let test = TestIdentity::new().await;
    let one = test.signed_in().await;
    let other = test.log_in(EMAIL, PASSWORD).await.expect(200).json();
    assert_ne!(one["refresh_token"], other["refresh_token"]);
    assert_ne!(one["access_token"], other["access_token"]);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_are_one_and_the_same() {
    let test = TestIdentity::new().await;
    let _ = test.sign_up(EMAIL, PASSWORD).await.expect(201);
    let verified = test.measures.of("firstcome_password_seconds/verify");
    let mut bodies = Vec::new();
    for (step, email) in [(1, EMAIL), (2, "nobody@example.com")] {
        let refused = test.log_in(email, "wrong password").await;
        assert_eq!(refused.header("www-authenticate"), "Bearer");
        let refused = refused.expect_problem(401, "invalid_credentials");
        assert_eq!(verified.count(), step, "every log-in verifies one password");
        let mut body = refused.json();
        let members = body.as_object_mut().expect("an object");
        members.remove("request_id");
        bodies.push(body);
    }
    assert_eq!(bodies[0], bodies[1]);
    let _ = test.log_in(EMAIL, PASSWORD).await.expect(200);
    assert_eq!(verified.count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_at_once_are_all_answered_two_at_a_time() {
    let bounds = IdentityConfig { hashes_parallel_max: 2, ..Default::default() };
    let test = TestIdentity::with(bounds).await;
    let _ = test.sign_up(EMAIL, PASSWORD).await.expect(201);
    let answers = join_all((0..50).map(|_| test.log_in(EMAIL, PASSWORD))).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    assert_eq!(test.measures.of("firstcome_password_seconds/verify").count(), 50);
    assert!(test.measures.of("firstcome_passwords_at_work").level_max() <= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_find_no_place_are_told_to_come_back() {
    let bounds =
        IdentityConfig { hashes_parallel_max: 1, hashes_waiting_max: 1, ..Default::default() };
    let test = TestIdentity::with(bounds).await;
    let _ = test.sign_up(EMAIL, PASSWORD).await.expect(201);
    let answers = join_all((0..50).map(|_| test.log_in(EMAIL, PASSWORD))).await;
    let (served, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 200);
    assert!(!served.is_empty() && !refused.is_empty());
    for answer in refused {
        let answer = answer.expect_problem(503, "unavailable");
        assert_eq!(answer.member("/retryable"), true);
        assert_eq!(answer.header("retry-after"), "1");
        assert_eq!(answer.header("cache-control"), "");
    }
    assert_eq!(test.measures.of("firstcome_passwords_at_work").level_max(), 1);
}
