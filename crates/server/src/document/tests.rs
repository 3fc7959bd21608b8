use std::fmt::Write as _;

use super::*;

/// Every operation with the statuses that it documents, a line each.
fn outline(document: &serde_json::Value) -> String {
    let mut lines = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("a path's operations") {
            let mut line = format!("{} {path}:", method.to_uppercase());
            for status in operation["responses"].as_object().expect("responses").keys() {
                let _ = write!(line, " {status}");
            }
            let scopes = operation["security"][0]["bearer"].as_array();
            for scope in scopes.into_iter().flatten() {
                let _ = write!(line, " [{}]", scope.as_str().expect("a scope"));
            }
            lines.push((path, line));
        }
    }
    lines.sort();
    lines.into_iter().map(|(_, line)| line + "\n").collect()
}

fn served() -> serde_json::Value {
    serde_json::from_str(&rendered(&Role::SERVED)).unwrap()
}

#[test]
fn the_operations_are_those_of_the_contract() {
    insta::assert_snapshot!(outline(&served()));
}

#[test]
fn the_document_is_openapi_3_1_and_complete_in_itself() {
    let document = served();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["license"]["identifier"], "MIT OR Apache-2.0");
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    let text = document.to_string();
    for (at, reference) in text.match_indices("#/components/schemas/") {
        let name = text[at + reference.len()..].split('"').next().unwrap();
        assert!(!document["components"]["schemas"][name].is_null(), "{name} is not there");
    }
}

#[test]
fn operations_have_ids_of_their_own_and_known_tags() {
    let document = served();
    let mut ids = Vec::new();
    for operation in document["paths"].as_object().unwrap().values() {
        for operation in operation.as_object().unwrap().values() {
            ids.push(operation["operationId"].to_string());
            let tag = operation["tags"][0].as_str().unwrap_or_default();
            assert!(TAGS.iter().any(|(known, _)| *known == tag), "{operation}");
        }
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "an operation's id is there twice: {ids:?}");
}

#[test]
fn a_role_serves_its_own_part() {
    let catalog: serde_json::Value = serde_json::from_str(&rendered(&[Role::Catalog])).unwrap();
    assert!(!catalog["paths"]["/v1/coupons"].is_null());
    assert!(catalog["paths"]["/v1/users"].is_null());
}

#[tokio::test]
async fn the_page_takes_nothing_from_the_network() {
    let config = Arc::new(page_config());
    let Html(page) = page(State(Arc::clone(&config))).await.unwrap();
    assert!(page.contains(PAGE_BASE), "{page}");
    let initializer = file_of_page("swagger-initializer.js", config).unwrap().unwrap();
    let initializer = String::from_utf8(initializer.bytes.into_owned()).unwrap();
    assert!(initializer.contains("\"validatorUrl\": \"none\""), "{initializer}");
    for text in [page, initializer] {
        assert!(!text.contains("http://") && !text.contains("https://"), "{text}");
    }
}
