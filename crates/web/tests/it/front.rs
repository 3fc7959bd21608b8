//! A call before the router.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use firstcome_web::{EdgeOptions, Front, Fronted, edge};
use metrics_exporter_prometheus::PrometheusBuilder;
use tower::{ServiceExt, service_fn};

use crate::Answer;

const OPTIONS: EdgeOptions =
    EdgeOptions { answer_timeout: Duration::from_millis(20), head_bytes_max: 256 };

/// What the call before the router does with a path.
async fn call(request: Request) -> Result<Response, Infallible> {
    match request.uri().path() {
        "/front/slow" => std::future::pending().await,
        "/front/panic" => panic!("secret in a panic"),
        _ => Ok("the front".into_response()),
    }
}

/// Sends a request to a router with a call before it.
async fn answer(method: &str, path: &str) -> Answer {
    let front = Front {
        route: "/front/{what}",
        takes: |request| request.method() == "POST" && request.uri().path().starts_with("/front/"),
        call: service_fn(call),
    };
    let router = Router::new().route("/{front}/{what}", post(async || "the router"));
    let app = Fronted::new(Some(front), edge(router, OPTIONS), OPTIONS);
    let request = Request::builder().method(method).uri(path).header("x-request-id", "id-1");
    let request = request.body(Body::empty()).unwrap();
    Answer::read(app.oneshot(request).await.unwrap()).await
}

#[tokio::test]
async fn it_gets_what_it_takes_and_the_router_the_rest() {
    assert_eq!(answer("POST", "/front/a").await.text, "the front");
    assert_eq!(answer("POST", "/other/a").await.text, "the router");
    assert_eq!(answer("GET", "/front/a").await.code(), "method_not_allowed");
    assert_eq!(answer("POST", "/front").await.code(), "not_found");
}

#[tokio::test]
async fn it_is_within_the_edge() {
    let fine = answer("POST", "/front/a").await;
    assert_eq!(fine.header("x-request-id"), Some("id-1"));
    assert_eq!(fine.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer("POST", "/front/panic").await.code(), "internal");
    assert_eq!(answer("POST", "/front/slow").await.code(), "timeout");
    let long = format!("/front/{}", "a".repeat(300));
    assert_eq!(answer("POST", &long).await.code(), "headers_too_large");
}

#[tokio::test]
async fn without_it_the_router_gets_everything() {
    let router = Router::new().route("/front/a", post(async || "the router"));
    let none: Option<Front<axum::routing::Route>> = None;
    let app = Fronted::new(none, edge(router, OPTIONS), OPTIONS);
    let request = Request::post("/front/a").body(Body::empty()).unwrap();
    let answer = Answer::read(app.oneshot(request).await.unwrap()).await;
    assert_eq!(answer.text, "the router");
}

#[test]
fn it_is_counted_as_its_route() {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(answer("POST", "/front/a"));
    });
    let text = recorder.handle().render();
    let line = r#"http_requests_total{route="/front/{what}",method="POST",status="200"} 1"#;
    assert!(text.lines().any(|found| found == line), "{text}");
}
