//! What OpenAPI documents say of refusals.

use std::collections::BTreeMap;

use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder, Schema};
use utoipa::{IntoResponses, PartialSchema, ToSchema};

use crate::json::{FieldError, Integer};
use crate::problem::MEDIA_TYPE;

/// The members of every refusal (RFC 9457); some codes add members of their own.
#[derive(Debug, ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "a schema; the answer is rendered by hand")]
pub struct ProblemView {
    /// The page of the code.
    #[schema(example = "/docs/errors/sold_out")]
    r#type: String,
    /// One sentence that says what happened, the same every time.
    title: String,
    /// The HTTP status.
    status: u16,
    /// A sentence about this occurrence.
    detail: String,
    /// The stable word to branch on.
    #[schema(example = "sold_out")]
    code: String,
    /// The request's id, as in the header `X-Request-Id`.
    request_id: String,
    /// Whether the same request may succeed when it is sent again after `Retry-After`.
    retryable: bool,
    /// What is wrong with each member of the body, where the code is `invalid`.
    errors: Option<Vec<FieldError>>,
}

impl PartialSchema for Integer {
    fn schema() -> RefOr<Schema> {
        i64::schema()
    }
}

impl ToSchema for Integer {}

/// For `responses(…)`: the refusal that every call of a kind shares.
pub struct Refused<const STATUS: u16>;

impl<const STATUS: u16> Refused<STATUS> {
    const fn description() -> &'static str {
        match STATUS {
            400 => "`malformed`: the request cannot be read, or the cursor is not ours.",
            401 => "`unauthenticated`: there is no valid access token.",
            403 => "`forbidden`: the token lacks the scope.",
            412 => "`precondition_failed`: `If-Match` is not the present `ETag`.",
            413 => "`too_large`: the body is over the limit.",
            415 => "`unsupported_media_type`: the body is not announced as JSON.",
            422 => "`invalid`, with `errors: [{pointer, detail}]`.",
            428 => "`precondition_required`: there is no `If-Match`.",
            429 => "`rate_limited`: too many requests; go on after `Retry-After`.",
            503 => "`unavailable`: nothing was decided; send the same request again.",
            _ => panic!("a refusal that no two calls share is described where it is"),
        }
    }
}

impl<const STATUS: u16> IntoResponses for Refused<STATUS> {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response = ResponseBuilder::new()
            .description(const { Self::description() })
            .content(MEDIA_TYPE, problem)
            .build();
        BTreeMap::from([(STATUS.to_string(), response.into())])
    }
}
