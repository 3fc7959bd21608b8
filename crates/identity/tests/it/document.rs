//! The OpenAPI document names every call, and what each of them takes and gives.

use std::collections::BTreeSet;

use serde_json::{Value, json};

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
        ("/v1/admin/changes", vec!["get"]),
        ("/v1/clients", vec!["get", "post"]),
        ("/v1/clients/{client_id}", vec!["delete"]),
        ("/v1/me", vec!["delete", "get"]),
        ("/v1/sessions", vec!["post"]),
        ("/v1/sessions/current", vec!["delete"]),
        ("/v1/users", vec!["post"]),
        ("/v1/users/{id}", vec!["delete"]),
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
    let forms = schemas["TokenRequest"]["oneOf"].as_array().expect("two forms");
    let named = |form: &Value| form["$ref"].as_str().map(str::to_owned);
    let forms: Vec<_> = forms.iter().filter_map(named).collect();
    let path = |name: &str| format!("#/components/schemas/{name}");
    assert_eq!(forms, [path("RefreshRequest"), path("ClientRequest")]);
    for (form, grant, members, required) in [
        (
            "RefreshRequest",
            "refresh_token",
            vec!["grant_type", "refresh_token", "scope"],
            json!(["grant_type", "refresh_token"]),
        ),
        (
            "ClientRequest",
            "client_credentials",
            vec!["client_id", "client_secret", "grant_type", "scope"],
            json!(["grant_type"]),
        ),
    ] {
        let form = &schemas[form];
        assert_eq!(names(&form["properties"]), members);
        assert_eq!(form["required"], required);
        assert_eq!(form["properties"]["grant_type"]["enum"], json!([grant]), "{form:#}");
    }
    assert_eq!(names(&schemas["OAuthError"]["properties"]), ["error", "error_description"]);
    let tokens = ["access_token", "expires_in", "refresh_token", "scope", "token_type"];
    assert_eq!(names(&schemas["Tokens"]["properties"]), tokens);
    assert_eq!(
        names(&test.document["paths"]["/oauth/token"]["post"]["requestBody"]["content"]),
        ["application/x-www-form-urlencoded"]
    );
    let call = &test.document["paths"]["/oauth/token"]["post"];
    assert_eq!(call["security"], json!([{}, {"client": []}]));
    let headers = |status: &str| names(&call["responses"][status]["headers"]);
    assert_eq!(headers("200"), ["Cache-Control", "Pragma", "RateLimit", "RateLimit-Policy"]);
    assert_eq!(headers("400"), ["Cache-Control", "Pragma"]);
    assert_eq!(headers("401"), ["Cache-Control", "Pragma", "WWW-Authenticate"]);
}
