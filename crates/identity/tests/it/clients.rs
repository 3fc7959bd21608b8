//! `/v1/clients`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{SECOND, TestIdentity};

const PATH: &str = "/v1/clients";

fn body(name: &str, scope: &str) -> Value {
    json!({"name": name, "scope": scope})
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().copied().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_client_is_made_with_a_secret_that_is_shown_once() {
    let test = TestIdentity::new().await;
    let admin = test.admin().await;
    let made = test.make_client(&admin, &body("  체크아웃 ", "redeem admin")).await.expect(201);
    assert_eq!(made.members(""), set(&["client_id", "client_secret"]));
    assert_eq!(made.header("cache-control"), "no-store");
    let secret = made.member_text("/client_secret");
    assert!(secret.len() >= 43, "{made}");

    let page = test.get(PATH, Some(&admin)).await.expect(200);
    assert_eq!(page.members("/items/0"), set(&["client_id", "name", "scope", "created_at"]));
    assert_eq!(page.member("/items/0/client_id"), made.member("/client_id"));
    assert_eq!(page.member("/items/0/name"), "체크아웃");
    assert_eq!(page.member("/items/0/scope"), "admin redeem");
    assert_eq!(page.member("/items/0/created_at"), "2026-11-27T01:00:00Z");
    assert!(!page.text().contains(&secret), "{page}");
    let again = test.make_client(&admin, &body("체크아웃", "redeem")).await.expect(201);
    assert_ne!(again.member("/client_id"), made.member("/client_id"), "names are not unique");
    assert_ne!(again.member_text("/client_secret"), secret);
}

#[tokio::test]
async fn what_is_no_client_is_refused() {
    let test = TestIdentity::new().await;
    let admin = test.admin().await;
    let long = "가".repeat(101);
    for (name, scope, pointers) in [
        ("", "redeem", &["/name"][..]),
        (" ", "redeem", &["/name"]),
        ("a\u{0}b", "redeem", &["/name"]),
        (&long, "redeem", &["/name"]),
        ("x", "", &["/scope"]),
        ("x", "user", &["/scope"]),
        ("x", "redeem user", &["/scope"]),
        ("x", "redeem  admin", &["/scope"]),
        ("x", "redeem,admin", &["/scope"]),
        ("x", "Redeem", &["/scope"]),
        ("", "root", &["/name", "/scope"]),
    ] {
        let answer = test.make_client(&admin, &body(name, scope)).await;
        assert_eq!(answer.invalid_pointers(), set(pointers), "{name:?} {scope:?}");
    }
    for unread in [
        json!({"name": "x"}),
        json!({"scope": "redeem"}),
        json!({"name": 1, "scope": "redeem"}),
        json!({"name": "x", "scope": ["redeem"]}),
    ] {
        let _ = test.make_client(&admin, &unread).await.expect_problem(422, "invalid");
    }
    let unknown = json!({"name": "x", "scope": "redeem", "client_secret": "mine"});
    let _ = test.make_client(&admin, &unknown).await.expect_problem(400, "malformed");
    assert_eq!(test.get(PATH, Some(&admin)).await.expect(200).member("/items"), json!([]));
}

#[tokio::test]
async fn clients_are_listed_newest_first_page_by_page() {
    let test = TestIdentity::new().await;
    let admin = test.admin().await;
    let mut made = Vec::new();
    for number in 0..5 {
        test.clock.advance_micros(SECOND);
        let client = test.make_client(&admin, &body(&format!("c{number}"), "redeem")).await;
        made.insert(0, client.expect(201).member_text("/client_id"));
    }
    let (mut walked, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = test.get(&format!("{PATH}?limit=2{cursor}"), Some(&admin)).await.expect(200);
        let items = page.member("/items");
        let ids = items.as_array().expect("a list").iter();
        walked.extend(ids.map(|item| item["client_id"].as_str().expect("an id").to_owned()));
        match page.member("/next_cursor") {
            Value::Null => break,
            next => cursor = format!("&cursor={}", next.as_str().expect("a cursor")),
        }
    }
    assert_eq!(walked, made);
    let none = test.get(&format!("{PATH}?limit=0"), Some(&admin)).await;
    let _ = none.expect_problem(422, "invalid");
    let foreign = test.get(&format!("{PATH}?cursor=x"), Some(&admin)).await;
    let _ = foreign.expect_problem(400, "malformed");
}

#[tokio::test]
async fn a_client_is_deleted_once() {
    let test = TestIdentity::new().await;
    let admin = test.admin().await;
    let made = test.make_client(&admin, &body("checkout", "redeem")).await.expect(201);
    let path = format!("{PATH}/{}", made.member_text("/client_id"));
    let gone = test.call("DELETE", &path, &admin).await.expect(204);
    assert!(gone.bytes.is_empty(), "{gone}");
    for path in [&path, "/v1/clients/0193a5b0-0000-7000-8000-000000000000", "/v1/clients/x"] {
        let answer = test.call("DELETE", path, &admin).await;
        let _ = answer.expect_problem(404, "client_not_found");
    }
    assert_eq!(test.get(PATH, Some(&admin)).await.expect(200).member("/items"), json!([]));
}
