//! The OpenAPI document of the calls.

use serde_json::Value;

use crate::support::TestIssuance;

#[tokio::test]
async fn every_call_is_described_with_its_scope_its_success_and_its_refusals() {
    let test = TestIssuance::new().await;
    let described = [
        ("/v1/events", "post", "admin", "201"),
        ("/v1/events/{id}", "patch", "admin", "200"),
        ("/v1/events/{id}/open", "post", "admin", "200"),
        ("/v1/events/{id}/pause", "post", "admin", "200"),
        ("/v1/events/{id}/resume", "post", "admin", "200"),
        ("/v1/events/{id}/close", "post", "admin", "200"),
        ("/v1/events/{id}/sync", "post", "admin", "200"),
        ("/v1/events/{id}/audit", "get", "admin", "200"),
        ("/v1/events/{id}/issued-coupons", "get", "admin", "200"),
        ("/v1/events/{id}/claims", "post", "user", "201"),
        ("/v1/events/{id}/claims/me", "get", "user", "200"),
    ];
    let paths = test.document["paths"].as_object().expect("paths");
    assert_eq!(paths.len(), described.len());
    for (path, method, scope, success) in described {
        let call = &paths[path][method];
        assert_eq!(call["security"][0]["bearer"][0], scope, "{path}");
        let responses = call["responses"].as_object().expect("responses");
        assert!(responses[success]["content"].is_object(), "{path}");
        for refusal in ["401", "403", "503"] {
            let shared = responses[refusal]["$ref"].as_str();
            let shared = shared.and_then(|reference| reference.strip_prefix('#'));
            let refused = shared.map_or(Some(&responses[refusal]), |at| test.document.pointer(at));
            let refused = refused.expect("the reference leads somewhere");
            let content = &refused["content"]["application/problem+json"];
            assert_ne!(*content, Value::Null, "{path} {refusal}");
        }
    }
}
