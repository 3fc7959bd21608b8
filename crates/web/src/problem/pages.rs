//! The pages that a problem's `type` leads to.

use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::{Code, Problem};
use crate::openapi::{Refused, codes};

/// What a code means and what to do about it, as Markdown.
#[utoipa::path(
    get, path = "/docs/errors/{code}", operation_id = "read_error_page", tag = "operations",
    params(("code" = String, Path, description = "The `code` of a refusal.", example = "sold_out")),
    responses(
        (status = 200, description = "The page.", body = String, content_type = "text/markdown"),
        Refused<{ codes(&[Code::NotFound]) }>,
    )
)]
pub async fn error_page(Path(word): Path<String>) -> Response {
    let Some(code) = Code::parse(&word) else {
        return Problem::new(Code::NotFound, "There is no such code.").into_response();
    };
    let media_type = HeaderValue::from_static("text/markdown; charset=utf-8");
    ([(header::CONTENT_TYPE, media_type)], code.page()).into_response()
}
