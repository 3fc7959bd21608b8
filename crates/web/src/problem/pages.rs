//! The pages that a problem's `type` leads to.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{Code, Problem};

/// `GET /docs/errors/{code}`: what the code means and what to do, as Markdown.
pub fn error_pages() -> Router {
    Router::new().route("/docs/errors/{code}", get(page))
}

async fn page(Path(word): Path<String>) -> Response {
    let Some(code) = Code::parse(&word) else {
        return Problem::new(Code::NotFound, "There is no such code.").into_response();
    };
    let media_type = HeaderValue::from_static("text/markdown; charset=utf-8");
    ([(header::CONTENT_TYPE, media_type)], code.page()).into_response()
}
