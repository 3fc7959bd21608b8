use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::*;

fn served() -> Value {
    serde_json::from_str(&rendered(&Role::SERVED)).unwrap()
}

fn object(node: &Value) -> &Map<String, Value> {
    node.as_object().unwrap_or_else(|| panic!("no object: {node}"))
}

/// Each call with its path and its method.
fn calls_of(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = object(&document["paths"]).iter();
    let calls = paths.flat_map(|(path, item)| {
        object(item).iter().map(move |(method, call)| (path.as_str(), method.as_str(), call))
    });
    calls.collect()
}

/// What a node is, or refers to.
fn resolved<'a>(document: &'a Value, node: &'a Value) -> &'a Value {
    let Some(reference) = node["$ref"].as_str() else { return node };
    let pointer = reference.strip_prefix('#').expect("within the document");
    document.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
}

/// The codes of a response, which are the names of its examples.
fn codes_of<'a>(document: &'a Value, response: &'a Value) -> Vec<&'a str> {
    let content = &resolved(document, response)["content"]["application/problem+json"];
    content["examples"].as_object().into_iter().flatten().map(|(code, _)| code.as_str()).collect()
}

/// Every operation with the statuses that it documents and the codes of each, a line each.
fn outline(document: &Value) -> String {
    let mut lines = String::new();
    for (path, method, call) in calls_of(document) {
        let _ = write!(lines, "{} {path}", method.to_uppercase());
        for scheme in call["security"].as_array().into_iter().flatten() {
            for (name, scopes) in object(scheme) {
                let scopes = scopes.as_array().into_iter().flatten().filter_map(Value::as_str);
                let _ = write!(
                    lines,
                    " [{name}{}]",
                    scopes.map(|it| format!(" {it}")).collect::<String>()
                );
            }
        }
        for (status, response) in object(&call["responses"]) {
            let _ = write!(lines, "\n  {} {}", status, codes_of(document, response).join(" "));
        }
        lines.push('\n');
    }
    lines
}

/// Every schema of a value, its members a line each: `*` is always there.
fn values(document: &Value) -> String {
    let mut lines = String::new();
    for (name, schema) in object(&document["components"]["schemas"]) {
        if name.ends_with("Problem") {
            continue;
        }
        let closed = if schema["additionalProperties"] == false { " (closed)" } else { "" };
        let _ = writeln!(lines, "{name}{closed}: {}", shape(schema));
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (member, schema) in schema["properties"].as_object().into_iter().flatten() {
            let always = if required.contains(&member.as_str().into()) { "*" } else { "" };
            let _ = writeln!(lines, "  {member}{always}: {}", shape(schema));
        }
    }
    lines
}

/// A schema without its words and without its members.
fn shape(schema: &Value) -> Value {
    let Some(members) = schema.as_object() else { return schema.clone() };
    let told = |name: &&String| {
        !["description", "examples", "properties", "required", "additionalProperties"]
            .contains(&name.as_str())
    };
    members
        .iter()
        .filter(|(name, _)| told(name))
        .map(|(name, it)| (name.clone(), it.clone()))
        .collect()
}

#[test]
fn the_operations_are_those_of_the_contract() {
    insta::assert_snapshot!(outline(&served()));
}

#[test]
fn the_values_are_those_of_the_contract() {
    insta::assert_snapshot!(values(&served()));
}

#[test]
fn the_document_is_openapi_3_1_and_complete_in_itself() {
    let document = served();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["license"]["identifier"], "MIT OR Apache-2.0");
    let schemes = &document["components"]["securitySchemes"];
    assert_eq!(schemes["bearer"]["scheme"], "bearer");
    assert_eq!(schemes["client"]["scheme"], "basic");
    assert_eq!(document["servers"][0]["url"], "/");
    let text = document.to_string();
    for (at, _) in text.match_indices("\"#/") {
        let reference = text[at + 1..].split('"').next().unwrap();
        assert!(document.pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
    }
}

#[test]
fn every_refusal_names_its_codes() {
    let document = served();
    for (path, method, call) in calls_of(&document) {
        for (status, response) in object(&call["responses"]) {
            let response_of = resolved(&document, response);
            let is_refusal = response_of["content"]["application/problem+json"].is_object();
            let codes = codes_of(&document, response);
            let what = format!("{method} {path} {status}: say it as Refused<…>");
            assert_eq!(is_refusal, !codes.is_empty(), "{what}");
            for code in codes {
                let code = Code::parse(code).unwrap_or_else(|| panic!("{what}: {code}"));
                assert_eq!(code.status().to_string(), *status, "{what}");
            }
            assert!(!response_of["headers"]["X-Request-Id"].is_null(), "{what}");
            assert!(response_of.get("x-codes").is_none(), "{what}");
        }
    }
}

#[test]
fn a_refusal_is_described_whole() {
    let document = served();
    let claim = &document["paths"]["/v1/events/{id}/claims"]["post"]["responses"]["409"];
    let content = &claim["content"]["application/problem+json"];
    assert_eq!(
        content["schema"]["discriminator"]["mapping"]["not_open"],
        "#/components/schemas/NotOpenProblem"
    );
    assert_eq!(content["examples"]["not_open"]["value"]["opens_at"], "2026-11-27T01:00:00Z");
    assert!(claim["headers"]["Retry-After"].is_object(), "{claim}");
    let own = &document["components"]["schemas"]["NotOpenProblem"]["allOf"][1];
    assert_eq!(own["properties"]["code"]["enum"], serde_json::json!(["not_open"]));
    assert_eq!(own["properties"]["opens_at"]["format"], "date-time");
    let unauthenticated = &document["components"]["responses"]["Unauthenticated"];
    let reference = &unauthenticated["headers"]["WWW-Authenticate"];
    assert_eq!(resolved(&document, reference)["required"], true);
}

/// Every object that a request may carry, by its name.
fn objects_of<'a>(document: &'a Value, node: &'a Value, found: &mut Vec<(String, &'a Value)>) {
    let name = node["$ref"].as_str().unwrap_or("inline").to_owned();
    let schema = resolved(document, node);
    if schema["properties"].is_object() || schema["type"] == "object" {
        found.push((name, schema));
    }
    let parts = ["oneOf", "allOf", "anyOf"].iter().filter_map(|kind| schema[kind].as_array());
    let items = [&schema["items"]].into_iter().filter(|items| items.is_object());
    let members = schema["properties"].as_object().into_iter().flatten().map(|(_, it)| it);
    for part in parts.flatten().chain(items).chain(members) {
        objects_of(document, part, found);
    }
}

#[test]
fn a_body_has_no_member_that_is_not_described_and_an_example() {
    let document = served();
    let mut found = Vec::new();
    for (path, method, call) in calls_of(&document) {
        let body = &call["requestBody"]["content"]["application/json"];
        if body.is_null() {
            continue;
        }
        let schema = &body["schema"];
        objects_of(&document, schema, &mut found);
        let example = &resolved(&document, schema)["examples"][0];
        assert!(example.is_object(), "{method} {path} has no example of its body");
    }
    assert!(found.len() > 10, "{found:?}");
    for (name, schema) in found {
        assert_eq!(schema["additionalProperties"], false, "{name}: deny_unknown_fields");
    }
}

#[test]
fn what_is_answered_has_an_example_with_every_member_that_is_always_there() {
    let document = served();
    for (path, method, call) in calls_of(&document) {
        let responses = object(&call["responses"]).iter();
        for (status, response) in responses.filter(|(status, _)| status.starts_with('2')) {
            let schema = &response["content"]["application/json"]["schema"];
            let is_page = schema["$ref"].as_str().is_none_or(|name| name.contains("/Page_"));
            if schema.is_null() || is_page {
                continue;
            }
            let schema = resolved(&document, schema);
            let example: BTreeSet<&str> = schema["examples"][0]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, _)| name.as_str())
                .collect();
            let required = schema["required"].as_array().into_iter().flatten();
            let required: BTreeSet<&str> = required.filter_map(Value::as_str).collect();
            let all = object(&schema["properties"]);
            let what = format!("{method} {path} {status}: {example:?}");
            assert!(example.is_superset(&required), "{what}");
            assert!(example.iter().all(|name| all.contains_key(*name)), "{what}");
        }
    }
}

#[test]
fn operations_have_ids_of_their_own_and_known_tags() {
    let document = served();
    let mut ids = BTreeSet::new();
    for (path, method, call) in calls_of(&document) {
        assert!(ids.insert(call["operationId"].to_string()), "{method} {path}: an id twice");
        let tag = call["tags"][0].as_str().unwrap_or_default();
        assert!(TAGS.iter().any(|(known, _)| *known == tag), "{method} {path}: {tag}");
        assert!(call["summary"].is_string(), "{method} {path} has no summary");
    }
    let text = document.to_string();
    for (at, linked) in text.match_indices("\"operationId\":") {
        let id = text[at + linked.len()..].split_inclusive('"').take(2).collect::<String>();
        assert!(ids.contains(&id), "a link leads to {id}");
    }
}

#[test]
fn a_role_serves_its_own_part() {
    let catalog: Value = serde_json::from_str(&rendered(&[Role::Catalog])).unwrap();
    assert!(!catalog["paths"]["/v1/coupons"].is_null());
    assert!(catalog["paths"]["/v1/users"].is_null());
    assert!(catalog["components"]["schemas"]["AlreadyClaimedProblem"].is_null());
}

#[tokio::test]
async fn the_page_takes_nothing_from_the_network() {
    let shown = Shown { document: Bytes::new(), page: Arc::new(page_config()) };
    let Html(page) = page(State(shown.clone())).await.unwrap();
    assert!(page.contains(PAGE_BASE), "{page}");
    let initializer = file_of_page("swagger-initializer.js", shown.page).unwrap().unwrap();
    let initializer = String::from_utf8(initializer.bytes.into_owned()).unwrap();
    assert!(initializer.contains("\"validatorUrl\": \"none\""), "{initializer}");
    for text in [page, initializer] {
        assert!(!text.contains("http://") && !text.contains("https://"), "{text}");
    }
}
