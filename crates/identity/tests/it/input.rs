//! What is no e-mail and password is refused, by sign-up and log-in alike, and changes nothing.

use std::collections::BTreeSet;

use firstcome_identity::IdentityConfig;
use serde_json::{Value, json};

use crate::support::{EMAIL, PASSWORD, TestIdentity, credentials};

const PATHS: [&str; 2] = ["/v1/users", "/v1/sessions"];

/// Nothing was hashed or verified for what was refused, and no account was made.
async fn untouched(test: &TestIdentity) {
    for work in ["hash", "verify"] {
        let measure = test.measures.of(&format!("firstcome_password_seconds/{work}"));
        assert_eq!(measure.count(), 0, "{work}");
    }
    let _ = test.sign_up(EMAIL, PASSWORD).await.expect(201);
}

#[tokio::test]
async fn values_out_of_range_or_of_a_wrong_type_are_named() {
    let test = TestIdentity::new().await;
    let mut table: Vec<(Value, Value, &[&str])> = Vec::new();
    let no_text = [
        json!(null),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(9_007_199_254_740_993_u64),
        json!(9_223_372_036_854_775_808_u64),
        json!(true),
        json!([]),
        json!(["kim@example.com"]),
        json!({}),
    ];
    for value in no_text {
        table.push((value.clone(), json!(PASSWORD), &["/email"]));
        table.push((json!(EMAIL), value, &["/password"]));
    }
    let long = format!("{}@example.com", "가".repeat(243));
    for address in [
        "",
        " ",
        "kim",
        "@",
        "kim@",
        "@example.com",
        "kim@@example.com",
        "kim@a@b",
        "kim@.com",
        "kim@example.",
        "kim @example.com",
        " kim@example.com",
        "kim@example.com\n",
        "kim\u{0}@a.b",
        "kim\u{7f}@a.b",
        "kim\u{3000}@a.b",
        "김철수",
        "😀",
        &long,
    ] {
        table.push((json!(address), json!(PASSWORD), &["/email"]));
    }
    for text in
        ["", "1234567", "비밀번호일곱자", &"😀".repeat(7), &"a".repeat(129), &"😀".repeat(129)]
    {
        table.push((json!(EMAIL), json!(text), &["/password"]));
    }
    table.push((json!("kim"), json!("short"), &["/email", "/password"]));
    for (email, password, pointers) in table {
        for path in PATHS {
            let body = json!({"email": email, "password": password}).to_string();
            let answer = test.post(path, body.clone()).await;
            let pointers: BTreeSet<String> = pointers.iter().map(ToString::to_string).collect();
            assert_eq!(answer.invalid_pointers(), pointers, "{path} {body}");
            let shown = answer.text();
            assert!(!password.as_str().is_some_and(|text| text.len() > 7 && shown.contains(text)));
        }
    }
    untouched(&test).await;
}

#[tokio::test]
async fn a_missing_member_is_named() {
    let test = TestIdentity::new().await;
    for (body, pointer) in [
        (json!({"email": EMAIL}), "/password"),
        (json!({"password": PASSWORD}), "/email"),
        (json!({}), "/email"),
    ] {
        for path in PATHS {
            let pointers = test.post(path, body.to_string()).await.invalid_pointers();
            assert!(pointers.contains(pointer), "{path} {body}: {pointers:?}");
        }
    }
    untouched(&test).await;
}

#[tokio::test]
async fn what_is_not_strict_json_is_malformed() {
    let test = TestIdentity::new().await;
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    let repeated = r#"{"email":"kim@example.com","email":"lee@example.com","password":"12345678"}"#;
    let escaped = r#"{"email":"kim@example.com","password":"12345678","passwor\u0064":"87654321"}"#;
    let unknown = r#"{"email":"kim@example.com","password":"12345678","scope":"admin"}"#;
    let lone = r#"{"email":"kim@example.com","password":"1234567\ud800"}"#;
    let control = "{\"email\":\"kim@example.com\",\"password\":\"1234567\n\"}";
    for body in ["", "{", "email=kim", &deep, repeated, escaped, unknown, lone, control] {
        for path in PATHS {
            let _ = test.post(path, body.to_owned()).await.expect_problem(400, "malformed");
        }
    }
    for path in PATHS {
        let invalid = b"{\"email\":\"kim@example.com\",\"password\":\"1234567\xff\"}".to_vec();
        let _ = test.post(path, invalid).await.expect_problem(400, "malformed");
        let form = test.post_as(path, "text/plain", credentials(EMAIL, PASSWORD)).await;
        let _ = form.expect_problem(415, "unsupported_media_type");
        let large = credentials(EMAIL, &"a".repeat(64 * 1024));
        let _ = test.post(path, large).await.expect_problem(413, "too_large");
    }
    untouched(&test).await;
}

#[tokio::test]
async fn the_bounds_themselves_and_every_script_are_accepted() {
    let bounds = IdentityConfig { hashes_waiting_max: 10, ..Default::default() };
    let test = TestIdentity::with(bounds).await;
    let long = format!("{}@example.com", "가".repeat(242));
    let table = [
        ("eight@example.com", "12345678".to_owned()),
        ("most@example.com", "a".repeat(128)),
        ("김철수@예시.한국", "비밀번호여덟글자".to_owned()),
        ("😀@example.com", "😀".repeat(128)),
        ("control@example.com", "\u{0}\n\t\u{7f}    ".to_owned()),
        ("o'neil+\"--;drop@example.com", "' OR 1=1 --".to_owned()),
        ("admin@localhost", "  blanks stay  ".to_owned()),
        (&long, "12345678".to_owned()),
    ];
    for (email, password) in table {
        let made = test.sign_up(email, &password).await.expect(201);
        assert_eq!(made.member_text("/email"), email);
        let _ = test.log_in(email, &password).await.expect(200);
        let near = format!("{}x", password.chars().skip(1).collect::<String>());
        let _ = test.log_in(email, &near).await.expect_problem(401, "invalid_credentials");
    }
}
