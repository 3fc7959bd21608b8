//! The OpenAPI document, and the page that shows it. The page takes nothing from the network.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use firstcome_web::{Code, Problem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Server,
};
use utoipa_swagger_ui::Config;

use crate::config::Role;
use crate::{operations, services};

const DOCUMENT_PATH: &str = "/openapi.json";
/// Where the page's own files are.
const PAGE_BASE: &str = "<head><base href=\"/docs/\">";

/// What a reader sees first.
const DESCRIPTION: &str = "\
Limited coupons, first come, first served, exactly: never more than the quantity, never twice for \
a user, and an acknowledged claim is never lost. Every refusal is an `application/problem+json` \
with a stable `code`; those with `retryable: true` are safe to send again.";

/// The groups of calls, in the order of the page.
const TAGS: [(&str, &str); 6] = [
    ("identity", "Sign up, log in, tokens."),
    ("coupons", "The benefit: discount, conditions, validity."),
    ("events", "One drop of a coupon: quantity, window, lifecycle, audit."),
    ("claims", "A shopper's request for one coupon of an event, and its verdict."),
    ("wallet", "Issued coupons and their redemption."),
    ("operations", "Health and metrics."),
];

/// The document of the calls that these roles serve.
pub(crate) fn document(roles: &[Role]) -> OpenApi {
    let components = ComponentsBuilder::new()
        .security_scheme("bearer", bearer())
        .security_scheme("client", client());
    let license = LicenseBuilder::new()
        .name("MIT OR Apache-2.0")
        .identifier(Some("MIT OR Apache-2.0"))
        .build();
    let info = InfoBuilder::new()
        .title("Firstcome")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(license))
        .build();
    let mut document = OpenApiBuilder::new()
        .info(info)
        .servers(Some([Server::new("/")]))
        .components(Some(components.build()))
        .tags(Some(
            TAGS.map(|(name, about)| TagBuilder::new().name(name).description(Some(about)).build()),
        ))
        .build();
    for calls in roles.iter().map(|role| services::document(*role)) {
        document.merge(calls);
    }
    document.merge(operations::calls().into_openapi());
    document
}

/// How most calls know who asks.
fn bearer() -> SecurityScheme {
    let about = "An access token of `POST /v1/sessions`, or of `POST /oauth/token` for a client. \
                 Scopes: user, admin, redeem.";
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT");
    SecurityScheme::Http(scheme.description(Some(about)).build())
}

/// How a client proves itself to get one.
fn client() -> SecurityScheme {
    let about = "The id and the secret of `POST /v1/clients`, each encoded as in a form.";
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Basic).description(Some(about));
    SecurityScheme::Http(scheme.build())
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

/// `/openapi.json`, `/docs`, and the pages of the problems.
pub(crate) fn router(roles: &[Role]) -> Router {
    let document = Bytes::from(rendered(roles));
    Router::new()
        .route(DOCUMENT_PATH, get(|| async { ([(CONTENT_TYPE, "application/json")], document) }))
        .route("/docs", get(page))
        .route("/docs/", get(page))
        .route("/docs/{file}", get(page_file))
        .with_state(Arc::new(page_config()))
        .merge(firstcome_web::error_pages())
}

/// By default the page would send the document to a validator of its makers.
fn page_config() -> Config<'static> {
    Config::new([DOCUMENT_PATH])
        .validator_url("none")
        .try_it_out_enabled(true)
        .persist_authorization(true)
}

async fn page(State(config): State<Arc<Config<'static>>>) -> Result<Html<String>, Problem> {
    let file = file_of_page("index.html", config)?.ok_or_else(absent)?;
    let html = String::from_utf8_lossy(&file.bytes);
    Ok(Html(html.replace("<head>", PAGE_BASE)))
}

async fn page_file(
    State(config): State<Arc<Config<'static>>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let file = file_of_page(&name, config)?.ok_or_else(absent)?;
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
