//! How answers of this crate look in the OpenAPI document.

use std::borrow::Cow;

use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::Problem;
use crate::json::{FieldError, Integer};

/// Why a request was refused (RFC 9457). Some codes add members of their own: see `code`.
#[derive(ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "only its schema is used")]
struct ProblemDocument {
    /// Where the code is explained.
    #[schema(example = "/docs/errors/invalid")]
    r#type: String,
    /// What happened, the same for every occurrence of the code.
    #[schema(example = "A value is not acceptable.")]
    title: String,
    /// The HTTP status.
    #[schema(example = 422)]
    status: u16,
    /// What happened this time.
    #[schema(example = "/quantity: must be 1 to 10000000.")]
    detail: String,
    /// The stable word to branch on.
    #[schema(example = "invalid")]
    code: String,
    /// The id of the request, as in `X-Request-Id`.
    request_id: String,
    /// Whether the same request may succeed when it is sent again after `Retry-After`.
    retryable: bool,
    /// What is wrong with each member of the body.
    errors: Option<Vec<FieldError>>,
}

impl PartialSchema for Problem {
    fn schema() -> RefOr<Schema> {
        ProblemDocument::schema()
    }
}

impl ToSchema for Problem {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Problem")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((FieldError::name().into_owned(), FieldError::schema()));
    }
}

impl PartialSchema for Integer {
    fn schema() -> RefOr<Schema> {
        i64::schema()
    }
}

impl ToSchema for Integer {}
