//! What follows for a call from what it says of itself.

use utoipa::ToSchema;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::schema::{ArrayItems, Schema};
use utoipa::openapi::{Components, OpenApi, PathItem, Ref, RefOr, Required, Response};

use super::refused::Codes;
use super::words::EmptyBody;
use super::{headers, problem};
use crate::problem::Code;

/// What any call can be answered, whatever it does.
const ANY: Codes = Codes::of(&[
    Code::RateLimited,
    Code::HeadersTooLarge,
    Code::Internal,
    Code::Unavailable,
    Code::Timeout,
]);
/// What is answered beside every call: where no path is, or the path lacks the method.
const NO_CALL: Codes = Codes::of(&[Code::NotFound, Code::MethodNotAllowed]);
/// The security scheme of access tokens.
const BEARER: &str = "bearer";
/// What the name of a page's schema begins with; the name of its items follows.
const PAGE: &str = "Page_";

/// Completes what the calls of a document say of themselves.
///
/// To each call it adds the refusals that its security, its parameters and its body can cause and
/// those that any call can have, each with schema, example and headers; `X-Request-Id` both ways;
/// and `Cache-Control` where the answer is for one bearer.
pub fn complete(document: &mut OpenApi) {
    let mut used = NO_CALL;
    for item in document.paths.paths.values_mut() {
        for operation in operations(item) {
            used = used.and(complete_operation(operation));
        }
    }
    let components = document.components.get_or_insert_with(Components::new);
    name_items_of_pages(components);
    headers::add(components);
    problem::add(components, used);
}

/// Makes the items of each page a reference; the library writes them out.
fn name_items_of_pages(components: &mut Components) {
    for (name, schema) in &mut components.schemas {
        let Some(item) = name.strip_prefix(PAGE) else { continue };
        let RefOr::T(Schema::Object(page)) = schema else { continue };
        if let Some(RefOr::T(Schema::Array(items))) = page.properties.get_mut("items") {
            let item = RefOr::Ref(Ref::from_schema_name(item));
            items.items = ArrayItems::RefOrSchema(Box::new(item));
        }
    }
}

/// The calls of a path.
fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, patch, .. } = item;
    [get, put, post, delete, patch].into_iter().flatten()
}

/// Completes a call; the codes that it can be answered.
fn complete_operation(operation: &mut Operation) -> Codes {
    let scopes = scopes(operation);
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            complete_answer(response, scopes.is_some());
        }
    }
    let declared = operation.responses.responses.values().filter_map(Codes::declared);
    let codes = declared.fold(ANY, Codes::and);
    let codes = [of_token(scopes), of_parameters(operation), of_body(operation)]
        .into_iter()
        .fold(codes, Codes::and);
    for (status, codes) in codes.by_status() {
        operation.responses.responses.insert(status.to_string(), problem::response(codes));
    }
    allow_no_body(operation);
    complete_headers(operation);
    codes
}

/// Describes the headers that a call asks for, and the one that all take.
fn complete_headers(operation: &mut Operation) {
    let parameters = operation.parameters.get_or_insert_default();
    for parameter in parameters.iter_mut() {
        let RefOr::T(Parameter { name, parameter_in: ParameterIn::Header, .. }) = parameter else {
            continue;
        };
        *parameter = headers::of_request(name)
            .unwrap_or_else(|| panic!("describe the header {name} in openapi/headers.rs"));
    }
    parameters.extend(headers::of_request("X-Request-Id"));
}

/// A body that says nothing may be left out.
fn allow_no_body(operation: &mut Operation) {
    let Some(RefOr::T(body)) = &mut operation.request_body else { return };
    let empty = Ref::from_schema_name(EmptyBody::name());
    let is_empty = body.content.values().any(|content| match content {
        RefOr::T(content) => content.schema == Some(RefOr::Ref(empty.clone())),
        RefOr::Ref(_) => false,
    });
    if is_empty {
        body.required = Some(Required::False);
    }
}

/// Completes an answer that a call says itself; what it refuses is replaced afterwards.
fn complete_answer(response: &mut Response, is_personal: bool) {
    let names: Vec<String> = response.headers.keys().cloned().collect();
    for name in names {
        response.headers.insert(name.clone(), headers::known(&name));
    }
    response.headers.insert("X-Request-Id".to_owned(), headers::known("X-Request-Id"));
    if is_personal {
        response.headers.insert("Cache-Control".to_owned(), headers::known("Cache-Control"));
    }
}

/// Whether a call needs a token, and whether one of a certain scope.
fn scopes(operation: &Operation) -> Option<bool> {
    let schemes = serde_json::to_value(operation.security.as_ref()?).ok()?;
    let bearer = schemes.as_array()?.iter().find_map(|scheme| scheme.get(BEARER))?;
    Some(bearer.as_array().is_some_and(|scopes| !scopes.is_empty()))
}

fn of_token(scopes: Option<bool>) -> Codes {
    match scopes {
        None => Codes::default(),
        Some(false) => Codes::of(&[Code::Unauthenticated]),
        Some(true) => Codes::of(&[Code::Unauthenticated, Code::Forbidden]),
    }
}

/// A query is read strictly; some headers are a protocol of their own.
fn of_parameters(operation: &Operation) -> Codes {
    let parameters = operation.parameters.iter().flatten();
    let own = parameters.filter_map(|parameter| match parameter {
        RefOr::T(parameter) => Some(parameter),
        RefOr::Ref(_) => None,
    });
    let of = |Parameter { name, parameter_in, .. }: &Parameter| match (parameter_in, &**name) {
        (ParameterIn::Query, _) => Codes::of(&[Code::Malformed, Code::Invalid]),
        (ParameterIn::Header, "If-Match") => {
            Codes::of(&[Code::PreconditionRequired, Code::PreconditionFailed])
        }
        (ParameterIn::Header, "Idempotency-Key") => {
            Codes::of(&[Code::IdempotencyInProgress, Code::IdempotencyMismatch])
        }
        _ => Codes::default(),
    };
    own.map(of).fold(Codes::default(), Codes::and)
}

/// A body is bounded, and JSON is read strictly.
fn of_body(operation: &Operation) -> Codes {
    let Some(RefOr::T(body)) = &operation.request_body else { return Codes::default() };
    if !body.content.contains_key("application/json") {
        return Codes::of(&[Code::TooLarge]);
    }
    Codes::of(&[Code::Malformed, Code::TooLarge, Code::UnsupportedMediaType, Code::Invalid])
}
