//! A refusal as a document describes it.

use serde_json::{Value, json};
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::schema::{
    AllOfBuilder, Discriminator, ObjectBuilder, OneOfBuilder, Schema, Type,
};
use utoipa::openapi::{Components, ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};

use super::headers;
use super::members::{self, Member};
use super::refused::Codes;
use crate::problem::{Code, MEDIA_TYPE};

/// The members of every refusal (RFC 9457). Each code has a schema of its own, which says what it
/// adds to them.
#[derive(Debug, ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "a schema; the answer is rendered by hand")]
pub struct ProblemView {
    /// The page of the code.
    #[schema(pattern = "^/docs/errors/[a-z_]+$")]
    r#type: String,
    /// One sentence that says what happened, the same every time.
    title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// A sentence about this occurrence.
    detail: String,
    /// The stable word to branch on.
    #[schema(pattern = "^[a-z_]+$")]
    code: String,
    /// The request's id, as in the header `X-Request-Id`.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,64}$")]
    request_id: String,
    /// Whether the same request may succeed when it is sent again after `Retry-After`.
    retryable: bool,
}

/// The answer with one of these codes, which share a status.
pub(super) fn response(codes: Codes) -> RefOr<Response> {
    let all: Vec<Code> = codes.iter().collect();
    match all.as_slice() {
        [code] => Ref::from_response_name(name(*code)).into(),
        all => described(all).into(),
    }
}

/// Adds what [`response`] refers to.
pub(super) fn add(components: &mut Components, used: Codes) {
    components.schemas.insert("Problem".to_owned(), ProblemView::schema());
    for code in used.iter() {
        components.schemas.insert(schema_name(code), schema(code));
        components.responses.insert(name(code), described(&[code]).into());
    }
    members::add(components, used);
}

fn described(codes: &[Code]) -> Response {
    let mut content = ContentBuilder::new().schema(Some(one_of(codes)));
    let mut about = Vec::new();
    for &code in codes {
        let example = ExampleBuilder::new().summary(code.title()).value(Some(example(code)));
        content = content.examples_from_iter([(code.as_str(), example.build())]);
        let added: Vec<_> =
            members::of(code).iter().map(|member| format!("`{}`", member.name)).collect();
        let with = if added.is_empty() { "" } else { ", with " };
        about.push(format!("`{}`{with}{}: {}", code.as_str(), added.join(", "), code.title()));
    }
    let mut response = ResponseBuilder::new()
        .description(about.join("\n\n"))
        .content(MEDIA_TYPE, content.build())
        .build();
    let headers = &mut response.headers;
    headers.insert("X-Request-Id".to_owned(), headers::known("X-Request-Id"));
    if codes.iter().all(|code| code.retryable()) {
        headers.insert("Retry-After".to_owned(), headers::known("Retry-After"));
    } else if codes.iter().any(|code| code.retryable()) {
        headers.insert("Retry-After".to_owned(), headers::optional_retry_after());
    }
    let of_status: &[&str] = match codes[0].status() {
        401 | 403 => &["WWW-Authenticate"],
        405 => &["Allow"],
        429 => &["RateLimit", "RateLimit-Policy"],
        _ => &[],
    };
    for name in of_status {
        headers.insert((*name).to_owned(), headers::known(name));
    }
    response
}

fn one_of(codes: &[Code]) -> RefOr<Schema> {
    if let [code] = codes {
        return Ref::from_schema_name(schema_name(*code)).into();
    }
    let mapping =
        codes.iter().map(|code| (code.as_str(), Ref::from_schema_name(schema_name(*code))));
    let mapping = mapping.map(|(word, reference)| (word, reference.ref_location));
    let one_of =
        OneOfBuilder::new().discriminator(Some(Discriminator::with_mapping("code", mapping)));
    let items = codes.iter().map(|code| Ref::from_schema_name(schema_name(*code)));
    Schema::OneOf(items.fold(one_of, OneOfBuilder::item).build()).into()
}

/// What a code says beyond every refusal.
fn schema(code: Code) -> RefOr<Schema> {
    let only =
        |of: Type, value: Value| ObjectBuilder::new().schema_type(of).enum_values(Some([value]));
    let mut own = ObjectBuilder::new()
        .property("type", only(Type::String, kind(code).into()))
        .property("status", only(Type::Integer, code.status().into()))
        .property("code", only(Type::String, code.as_str().into()))
        .property("retryable", only(Type::Boolean, code.retryable().into()));
    for name in ["type", "status", "code", "retryable"] {
        own = own.required(name);
    }
    for Member { name, schema, is_always_there, .. } in members::of(code) {
        own = own.property(name, schema);
        own = if is_always_there { own.required(name) } else { own };
    }
    let all = AllOfBuilder::new().item(Ref::from_schema_name("Problem")).item(own);
    Schema::AllOf(all.description(Some(code.title())).build()).into()
}

fn example(code: Code) -> Value {
    let mut example = json!({
        "type": kind(code), "title": code.title(), "status": code.status(),
        "detail": code.title(), "code": code.as_str(),
        "request_id": "3f2b8c1d9e0a4f6b8d7c5e3a1b9f0d2c", "retryable": code.retryable(),
    });
    for member in members::of(code) {
        example[member.name] = member.example;
    }
    example
}

fn kind(code: Code) -> String {
    format!("/docs/errors/{}", code.as_str())
}

/// The name of a code's response.
fn name(code: Code) -> String {
    format!("{code:?}")
}

/// The name of a code's schema.
fn schema_name(code: Code) -> String {
    format!("{code:?}Problem")
}
