//! `POST /v1/users`.

use std::collections::BTreeSet;

use firstcome_core::AccountId;
use futures_util::future::join_all;

use crate::support::{EMAIL, NOW, PASSWORD, TestIdentity, email};

#[tokio::test]
async fn an_account_is_made_and_shown() {
    let test = TestIdentity::new().await;
    let made = test.sign_up("Kim@Example.com", PASSWORD).await.expect(201);
    assert_eq!(made.members(""), BTreeSet::from(["id", "email", "created_at"].map(String::from)));
    let id = made.member_text("/id");
    assert!(AccountId::parse(&id).is_some_and(|id| id.as_uuid().get_version_num() == 7), "{id}");
    assert_eq!(made.member_text("/email"), EMAIL);
    assert_eq!(made.member_text("/created_at"), NOW.to_string());
}

#[tokio::test]
async fn the_password_is_kept_as_its_hash_alone() {
    let test = TestIdentity::new().await;
    let _ = test.sign_up(EMAIL, PASSWORD).await.expect(201);
    let found = test.ledger.account_by_email(&email(EMAIL)).await.expect("an answer");
    let (_, hash) = found.expect("the account");
    assert!(hash.expose().starts_with("$argon2id$"));
    assert!(!hash.expose().contains(PASSWORD));
}

#[tokio::test]
async fn an_address_has_one_account_however_it_is_written() {
    let test = TestIdentity::new().await;
    let made = test.sign_up(EMAIL, PASSWORD).await.expect(201);
    for again in [EMAIL, "KIM@EXAMPLE.COM"] {
        let _ = test.sign_up(again, "another password").await.expect_problem(409, "email_taken");
    }
    let _ = test.log_in(EMAIL, "another password").await.expect_problem(401, "invalid_credentials");
    let tokens = test.log_in(EMAIL, PASSWORD).await.expect(200);
    let me = test.get("/v1/me", Some(&tokens.member_text("/access_token"))).await;
    assert_eq!(me.member_text("/id"), made.member_text("/id"));
}

#[tokio::test]
async fn of_those_who_sign_up_at_once_with_one_address_one_gets_it() {
    let test = TestIdentity::new().await;
    let answers = join_all((0..8).map(|_| test.sign_up(EMAIL, PASSWORD))).await;
    let (made, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 201);
    assert_eq!(made.len(), 1);
    assert!(refused.iter().all(|answer| answer.code() == "email_taken"));
}
