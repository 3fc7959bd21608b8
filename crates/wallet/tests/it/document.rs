//! The OpenAPI document names every call, and everything that it names is in it.

use serde_json::Value;

use crate::support::TestWallet;

/// Every `$ref` in a document.
fn references(node: &Value, found: &mut Vec<String>) {
    match node {
        Value::Object(members) => {
            if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                found.push(reference.to_owned());
            }
            members.values().for_each(|node| references(node, found));
        }
        Value::Array(nodes) => nodes.iter().for_each(|node| references(node, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_call_is_described_and_every_reference_leads_somewhere() {
    let test = TestWallet::new().await;
    let document = &test.document;
    let paths = document["paths"].as_object().expect("paths");
    let mut calls: Vec<String> = Vec::new();
    for (path, item) in paths {
        let methods = item.as_object().expect("methods").keys();
        calls.extend(methods.map(|method| format!("{method} {path}")));
    }
    calls.sort_unstable();
    let expected = [
        "get /v1/me/coupons",
        "get /v1/me/coupons/{id}",
        "post /v1/issued-coupons/{id}/revoke",
        "post /v1/me/coupons/{id}/redemptions",
        "post /v1/redemptions",
        "post /v1/redemptions/{id}/cancel",
    ];
    assert_eq!(calls, expected);
    let mut found = Vec::new();
    references(document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("within the document");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}
