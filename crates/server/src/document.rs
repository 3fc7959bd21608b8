//! The OpenAPI document, and the page that shows it. The page takes nothing from the network.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use firstcome_web::{Code, Problem, complete};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, Info, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, ServerBuilder,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::Config;

use crate::config::Role;
use crate::{operations, services};

/// Where the page's own files are.
const PAGE_BASE: &str = "<head><base href=\"/docs/\">";

/// What a reader sees first.
const DESCRIPTION: &str = "\
Limited coupons, first come, first served, exactly: never more than the quantity, never twice for \
a user, and an acknowledged claim is never lost.

**Refusals** are `application/problem+json` (RFC 9457). Branch on `code`, a stable word; \
`GET /docs/errors/{code}` explains each. Those with `retryable: true` may be sent again after \
`Retry-After`; whoever makes a coupon or an event sends an `Idempotency-Key`, lest it be made \
twice. A path that is none of these is 404 `not_found`, a method that a path lacks is 405 \
`method_not_allowed` with `Allow`; `/oauth/token` refuses as RFC 6749 says.

**Values**: times are RFC 3339 with an offset, answered in UTC with `Z`; money is an integer in \
the minor unit of an ISO 4217 `currency`; a malformed id in a path is 404, as an unknown one. An \
unknown or repeated member of a body is 400.

**Lists** answer `items` and `next_cursor`, which is the `cursor` of the next page and null on the \
last.";

/// The groups of calls, in the order of the page.
const TAGS: [(&str, &str); 6] = [
    ("identity", "Sign up, log in, tokens."),
    ("coupons", "The benefit: discount, conditions, validity."),
    ("events", "One drop of a coupon: quantity, window, lifecycle, audit."),
    ("claims", "A shopper's request for one coupon of an event, and its verdict."),
    ("wallet", "Issued coupons and their redemption."),
    ("operations", "Health, metrics, and this document."),
];

/// The document of the calls that these roles serve.
pub(crate) fn document(roles: &[Role]) -> OpenApi {
    let components = ComponentsBuilder::new()
        .security_scheme("bearer", bearer())
        .security_scheme("client", client())
        .build();
    let here = ServerBuilder::new().url("/").description(Some("Where this document is served."));
    let mut document = OpenApiBuilder::new()
        .info(info())
        .servers(Some([here.build()]))
        .components(Some(components))
        .tags(Some(
            TAGS.map(|(name, about)| TagBuilder::new().name(name).description(Some(about)).build()),
        ))
        .build();
    for calls in roles.iter().map(|role| services::document(*role)) {
        document.merge(calls);
    }
    document.merge(operations::calls().into_openapi());
    document.merge(calls().into_openapi());
    complete(&mut document);
    document
}

fn info() -> Info {
    let license = LicenseBuilder::new()
        .name("MIT OR Apache-2.0")
        .identifier(Some("MIT OR Apache-2.0"))
        .build();
    InfoBuilder::new()
        .title("Firstcome")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(license))
        .build()
}

/// Access tokens.
fn bearer() -> SecurityScheme {
    let about = "An access token of `POST /v1/sessions` or `POST /oauth/token`: a JWT with the \
                 claims of RFC 9068. Scopes: `user`, `admin`, `redeem`.";
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT");
    SecurityScheme::Http(scheme.description(Some(about)).build())
}

/// Clients at the token endpoint.
fn client() -> SecurityScheme {
    let about = "The id and the secret of `POST /v1/clients`, each encoded as in a form.";
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Basic);
    SecurityScheme::Http(scheme.description(Some(about)).build())
}

/// The document as it is served and printed.
///
/// # Panics
/// Never: the document is made of plain values, which always serialize.
pub(crate) fn rendered(roles: &[Role]) -> String {
    let mut text = document(roles).to_pretty_json().expect("a document of plain values serializes");
    text.push('\n');
    text
}

/// What the calls about the document answer from; cheap to clone.
#[derive(Clone)]
struct Shown {
    document: Bytes,
    page: Arc<Config<'static>>,
}

/// `/openapi.json`, `/docs`, and the pages of the problems.
pub(crate) fn router(roles: &[Role]) -> Router {
    let shown = Shown { document: rendered(roles).into(), page: Arc::new(page_config()) };
    let files = Router::new().route("/docs/", get(page)).route("/docs/{file}", get(page_file));
    files.with_state(shown.clone()).merge(calls().with_state(shown))
}

/// The calls, and their part of the OpenAPI document.
fn calls() -> OpenApiRouter<Shown> {
    OpenApiRouter::new()
        .routes(routes!(read_document))
        .routes(routes!(page))
        .routes(routes!(firstcome_web::problem::pages::error_page))
}

/// By default the page would send the document to a validator of its makers.
fn page_config() -> Config<'static> {
    Config::new(["/openapi.json"])
        .validator_url("none")
        .try_it_out_enabled(true)
        .persist_authorization(true)
}

/// This document. `firstcome openapi` prints the same.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "read_document", tag = "operations",
    responses((status = 200, description = "The document.", body = serde_json::Value))
)]
async fn read_document(State(shown): State<Shown>) -> Response {
    ([(CONTENT_TYPE, "application/json")], shown.document).into_response()
}

/// This document as a page, to try every call in a browser. It takes nothing from the network.
#[utoipa::path(
    get, path = "/docs", operation_id = "read_page", tag = "operations",
    responses((status = 200, description = "The page.", body = String, content_type = "text/html"))
)]
async fn page(State(shown): State<Shown>) -> Result<Html<String>, Problem> {
    let file = file_of_page("index.html", shown.page)?.ok_or_else(absent)?;
    let html = String::from_utf8_lossy(&file.bytes);
    Ok(Html(html.replace("<head>", PAGE_BASE)))
}

async fn page_file(
    State(shown): State<Shown>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let file = file_of_page(&name, shown.page)?.ok_or_else(absent)?;
    Ok(([(CONTENT_TYPE, file.content_type)], file.bytes.into_owned()).into_response())
}

fn file_of_page(
    name: &str,
    config: Arc<Config<'static>>,
) -> Result<Option<utoipa_swagger_ui::SwaggerFile<'static>>, Problem> {
    utoipa_swagger_ui::serve(name, config)
        .map_err(|error| Problem::new(Code::Internal, error.to_string()))
}

fn absent() -> Problem {
    Problem::new(Code::NotFound, "There is no such page.")
}

#[cfg(test)]
mod tests;
