//! The OpenAPI document of a server under test: every answer that a test gets is held against it.

use serde_json::Value;

use crate::{Answer, Api};

/// An OpenAPI document.
#[derive(Debug)]
pub struct Document(Value);

impl Document {
    /// What a server says of itself, which depends on its roles.
    ///
    /// # Panics
    /// When it serves no document.
    pub(crate) async fn of(api: &Api) -> Self {
        Self(api.get("/openapi.json").await.expect(200).json())
    }

    /// That the document foresees this answer: its status, its media type, its headers, and of a
    /// refusal its code with exactly the members that belong to it.
    ///
    /// A path that is none, and a method that a path lacks, are beside the document.
    ///
    /// # Panics
    /// When it does not.
    pub(crate) fn check(&self, answer: &Answer) {
        let (method, path) = answer.call.split_once(' ').expect("a method and a path");
        let Some(call) = self.call(method, path) else { return };
        let response = self.resolved(&call["responses"][answer.status.to_string()]);
        assert!(response.is_object(), "the document does not foresee this status: {answer}");
        for (name, header) in response["headers"].as_object().into_iter().flatten() {
            let is_there = answer.headers.contains_key(name);
            let may_lack = self.resolved(header)["required"] != true;
            assert!(is_there || may_lack, "without the header {name}: {answer}");
        }
        let media_type = answer.header("content-type").split(';').next().unwrap_or_default();
        let content = &response["content"][media_type];
        let is_bare = answer.bytes.is_empty() && response["content"].is_null();
        assert!(content.is_object() || is_bare, "undocumented media type: {answer}");
        if media_type == "application/problem+json" {
            self.check_refusal(content, answer);
        }
    }

    fn check_refusal(&self, content: &Value, answer: &Answer) {
        let code = answer.code();
        let is_foreseen = content["examples"][&code].is_object();
        assert!(is_foreseen, "the document does not foresee this code: {answer}");
        let schemas = &self.0["components"]["schemas"];
        let reference = match &content["schema"]["$ref"] {
            Value::Null => &content["schema"]["discriminator"]["mapping"][&code],
            one => one,
        };
        let name = reference.as_str().and_then(|reference| reference.rsplit('/').next());
        let own = &schemas[name.expect("a schema of its own")]["allOf"][1];
        let parts = [&schemas["Problem"], own];
        let members = answer.members("");
        for part in parts {
            for required in part["required"].as_array().into_iter().flatten() {
                let required = required.as_str().expect("a name");
                assert!(members.contains(required), "without {required}: {answer}");
            }
        }
        for member in members {
            let is_foreseen = parts.iter().any(|part| part["properties"][&member].is_object());
            assert!(is_foreseen, "the document does not foresee the member {member}: {answer}");
        }
    }

    /// Whether there is such a call.
    pub(crate) fn has(&self, method: &str, path: &str) -> bool {
        self.call(method, path).is_some()
    }

    /// The call that a request is for.
    fn call(&self, method: &str, path: &str) -> Option<&Value> {
        let path = path.split('?').next().unwrap_or_default();
        let paths = self.0["paths"].as_object().expect("paths");
        let (_, item) = paths.iter().find(|(template, _)| is_of(template, path))?;
        item.get(method.to_ascii_lowercase())
    }

    /// What a node is, or refers to.
    fn resolved<'a>(&'a self, node: &'a Value) -> &'a Value {
        let reference = node["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        reference.map_or(node, |pointer| self.0.pointer(pointer).expect("it leads somewhere"))
    }
}

/// Whether a path is one of a template.
fn is_of(template: &str, path: &str) -> bool {
    let (mut parts, mut segments) = (template.split('/'), path.split('/'));
    loop {
        match (parts.next(), segments.next()) {
            (None, None) => return true,
            (Some(part), Some(segment)) if part.starts_with('{') && !segment.is_empty() => {}
            (Some(part), Some(segment)) if part == segment => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;
    use serde_json::json;

    use super::*;

    fn document() -> Document {
        Document(json!({
            "paths": {"/v1/events/{id}": {"get": {"responses": {
                "200": {
                    "headers": {"ETag": {"required": true}, "Vary": {}},
                    "content": {"application/json": {}},
                },
                "404": {"$ref": "#/components/responses/EventNotFound"},
            }}}},
            "components": {
                "responses": {"EventNotFound": {"content": {"application/problem+json": {
                    "schema": {"$ref": "#/components/schemas/EventNotFoundProblem"},
                    "examples": {"event_not_found": {}},
                }}}},
                "schemas": {
                    "Problem": {
                        "required": ["code"],
                        "properties": {
                            "type": {}, "title": {}, "status": {}, "detail": {}, "code": {},
                            "request_id": {}, "retryable": {},
                        },
                    },
                    "EventNotFoundProblem": {"allOf": [{}, {
                        "required": ["hint"], "properties": {"hint": {}},
                    }]},
                },
            },
        }))
    }

    fn answer(call: &str, status: u16, headers: &[(&'static str, &str)], body: &Value) -> Answer {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
        let headers: HeaderMap = headers.collect();
        Answer { call: call.to_owned(), status, headers, bytes: body.to_string().into_bytes() }
    }

    fn refusal(code: &str, more: &str) -> Answer {
        let mut body = json!({
            "type": "t", "title": "t", "status": 404, "detail": "d", "code": code,
            "request_id": "r", "retryable": false,
        });
        body[more] = "x".into();
        let headers = [("content-type", "application/problem+json"), ("x-request-id", "r")];
        answer("GET /v1/events/7?a=b", 404, &headers, &body)
    }

    /// Whether the document foresees it.
    fn foreseen(answer: &Answer) -> bool {
        std::panic::catch_unwind(|| document().check(answer)).is_ok()
    }

    #[test]
    fn what_the_document_does_not_foresee_is_noticed() {
        let json = ("content-type", "application/json");
        let tag = ("etag", "\"1\"");
        let got = |status, headers: &[(&'static str, &str)]| {
            foreseen(&answer("GET /v1/events/7", status, headers, &json!({})))
        };
        assert!(got(200, &[json, tag]));
        assert!(!got(200, &[json]), "a header is missing");
        assert!(!got(200, &[("content-type", "text/csv"), tag]), "another media type");
        assert!(!got(201, &[json, tag]), "another status");
        assert!(foreseen(&refusal("event_not_found", "hint")));
        assert!(!foreseen(&refusal("event_not_found", "other")), "another member");
        assert!(!foreseen(&refusal("coupon_not_found", "hint")), "another code");
        for beside in ["PUT /v1/events/7", "GET /v1/events/", "GET /v1/events/7/8", "GET /v2"] {
            assert!(foreseen(&answer(beside, 405, &[], &json!({}))), "{beside}");
        }
    }
}
