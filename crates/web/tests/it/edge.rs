//! What the edge does to every request.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Path;
use axum::http::{Method, Request, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use firstcome_core::EventId;
use firstcome_web::{Code, EdgeOptions, PathId, Problem, RequestId, edge};
use serde_json::json;

use crate::Answer;

fn app() -> Router {
    app_within(EdgeOptions::default().answer_timeout)
}

fn app_within(answer_timeout: Duration) -> Router {
    let router = Router::new()
        .route("/ok", get(async || "fine").post(async || "fine"))
        .route("/id", get(async |id: RequestId| id.as_str().to_owned()))
        .route("/sold-out", post(async || Problem::new(Code::SoldOut, "All 10 are gone.")))
        .route("/leak", get(async || Problem::internal(&std::io::Error::other("secret /data"))))
        .route("/panic", get(panics))
        .route("/slow", get(std::future::pending::<()>))
        .route("/number/{number}", get(async |Path(number): Path<u32>| number.to_string()))
        .route("/events/{event_id}", get(async |PathId(id): PathId<EventId>| id.to_string()))
        .route("/bare/{status}", get(bare))
        .route(
            "/json",
            get(async || (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"ledger": "missing"})))),
        );
    edge(router, EdgeOptions { answer_timeout, ..Default::default() })
}

async fn panics() -> &'static str {
    panic!("secret in a panic")
}

async fn bare(Path(status): Path<u16>) -> impl IntoResponse {
    (StatusCode::from_u16(status).unwrap(), [("x-kept", "yes")], "secret text")
}

async fn call(method: Method, path: &str) -> Answer {
    let request = Request::builder().method(method).uri(path).body(Body::empty());
    Answer::of(&app(), request.unwrap()).await
}

#[tokio::test]
async fn every_answer_has_an_id_and_is_not_sniffed() {
    for path in ["/ok", "/nowhere", "/panic", "/leak", "/sold-out"] {
        let answer = call(Method::GET, path).await;
        assert!(answer.header("x-request-id").is_some_and(|id| id.len() == 32), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("cache-control"), None, "{path}");
    }
}

#[tokio::test]
async fn the_senders_id_is_taken_and_echoed() {
    for path in ["/id", "/sold-out", "/nowhere"] {
        let request = Request::get(path).header("x-request-id", "my.id_1-A");
        let answer = Answer::of(&app(), request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.header("x-request-id"), Some("my.id_1-A"));
        assert!(answer.text.contains("my.id_1-A"), "{}", answer.text);
    }
    let request = Request::get("/id").header("x-request-id", "no spaces");
    let answer = Answer::of(&app(), request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.header("x-request-id"), Some(answer.text.as_str()));
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    for path in ["/nowhere", "/", "/ok/", "//ok", "/OK", "/ok/more"] {
        assert_eq!(call(Method::GET, path).await.code(), "not_found", "{path}");
    }
    for method in [Method::DELETE, Method::PUT, Method::OPTIONS, Method::TRACE] {
        let answer = call(method.clone(), "/ok").await;
        assert_eq!(answer.code(), "method_not_allowed", "{method}");
        assert_eq!(answer.header("allow"), Some("GET,HEAD,POST"), "{method}");
    }
    let answer = call(Method::from_bytes(b"BREW").unwrap(), "/ok").await;
    assert_eq!(answer.code(), "method_not_allowed");
}

#[tokio::test]
async fn head_answers_as_get_without_a_body() {
    let answer = call(Method::HEAD, "/ok").await;
    assert_eq!((answer.status, answer.text.as_str()), (200, ""));
    assert_eq!(answer.header("content-length"), Some("4"));
    assert_eq!(call(Method::HEAD, "/nowhere").await.status, 404);
}

#[tokio::test]
async fn malformed_ids_are_unknown_ids() {
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    assert_eq!(call(Method::GET, &format!("/events/{id}")).await.text, id);
    for id in ["1", "%EC%BF%A0", "%ff", "01890a5dac96774bbcceb302099a8057", &format!("{{{id}}}")] {
        let path = format!("/events/{}", id.replace('{', "%7B").replace('}', "%7D"));
        assert_eq!(call(Method::GET, &path).await.code(), "event_not_found", "{id}");
    }
}

#[tokio::test]
async fn errors_of_libraries_become_problems() {
    for (status, code) in [
        (400, "malformed"),
        (404, "not_found"),
        (413, "too_large"),
        (415, "unsupported_media_type"),
        (422, "invalid"),
        (500, "internal"),
        (502, "internal"),
    ] {
        let answer = call(Method::GET, &format!("/bare/{status}")).await;
        assert_eq!(answer.code(), code);
        assert_eq!(answer.header("x-kept"), Some("yes"));
        assert!(!answer.text.contains("secret"), "{}", answer.text);
    }
    assert_eq!(call(Method::GET, "/number/x").await.code(), "malformed");
    let answer = call(Method::GET, "/bare/200").await;
    assert_eq!(answer.text, "secret text");
}

#[tokio::test]
async fn an_answer_in_json_stays_as_it_is() {
    let answer = call(Method::GET, "/json").await;
    assert_eq!((answer.status, answer.text.as_str()), (503, r#"{"ledger":"missing"}"#));
}

#[tokio::test]
async fn failures_tell_nothing_of_the_inside() {
    for path in ["/panic", "/leak"] {
        let answer = call(Method::GET, path).await;
        assert_eq!(answer.code(), "internal");
        assert!(!answer.text.contains("secret"), "{}", answer.text);
    }
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_given_up() {
    let app = app_within(Duration::from_millis(20));
    let request = Request::get("/slow").body(Body::empty());
    let answer = Answer::of(&app, request.unwrap()).await;
    assert_eq!(answer.code(), "timeout");
    assert_eq!(answer.status, 503);
}

#[tokio::test]
async fn a_large_head_is_refused() {
    let send = async |target: usize, value: usize| {
        let request = Request::get(format!("/ok?{}", "a".repeat(target)))
            .header(header::COOKIE, "c".repeat(value))
            .body(Body::empty());
        Answer::of(&app(), request.unwrap()).await
    };
    assert_eq!(send(8_000, 8_000).await.status, 200);
    for (target, value) in [(8_000, 9_000), (16_384, 0), (0, 16_384)] {
        assert_eq!(send(target, value).await.code(), "headers_too_large", "{target} {value}");
    }
}
