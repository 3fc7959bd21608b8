//! The OpenAPI document names every call, and what each of them takes and gives.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::TestIdentity;

/// Every `$ref` in a document.
fn references(node: &Value, found: &mut BTreeSet<String>) {
    match node {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|node| references(node, found));
        }
        Value::Array(nodes) => nodes.iter().for_each(|node| references(node, found)),
        _ => {}
    }
}

fn names(object: &Value) -> Vec<&str> {
    let mut names: Vec<_> =
        object.as_object().expect("an object").keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn every_call_is_described_and_every_reference_leads_somewhere() {
    let test = TestIdentity::new().await;
    let document = &test.document;
    let paths = &document["paths"];
    let calls: Vec<_> = names(paths).into_iter().map(|path| (path, names(&paths[path]))).collect();
    let expected = [
        ("/.well-known/jwks.json", vec!["get"]),
        ("/oauth/token", vec!["post"]),
        ("/v1/me", vec!["get"]),
        ("/v1/sessions", vec!["post"]),
        ("/v1/users", vec!["post"]),
    ];
    assert_eq!(calls, expected);
    let mut found = BTreeSet::new();
    references(document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("within the document");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

#[tokio::test]
async fn the_token_endpoint_is_described_as_it_is() {
    let test = TestIdentity::new().await;
    let schemas = &test.document["components"]["schemas"];
    assert_eq!(
        names(&schemas["TokenRequest"]["properties"]),
        ["grant_type", "refresh_token", "scope"]
    );
    assert_eq!(names(&schemas["OAuthError"]["properties"]), ["error", "error_description"]);
    let tokens = ["access_token", "expires_in", "refresh_token", "scope", "token_type"];
    assert_eq!(names(&schemas["Tokens"]["properties"]), tokens);
    assert_eq!(
        names(&test.document["paths"]["/oauth/token"]["post"]["requestBody"]["content"]),
        ["application/x-www-form-urlencoded"]
    );
}
