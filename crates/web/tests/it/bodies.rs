//! Bodies, good and bad.

use axum::Router;
use axum::body::Body as Bytestream;
use axum::http::{Request, header};
use axum::routing::post;
use firstcome_web::{Body, ClaimBody, EdgeOptions, Integer, OptionalBody, edge};
use futures_util::stream;
use serde::Deserialize;

use crate::Answer;

#[derive(Deserialize)]
struct Note {
    text: String,
    size: Integer,
}

fn app() -> Router {
    let router = Router::new()
        .route(
            "/note",
            post(async |Body(note): Body<Note>| format!("{}{}", note.text, note.size.0)),
        )
        .route("/claim", post(async |_: ClaimBody| "claimed"))
        .route("/pause", post(async |_: OptionalBody| "paused"));
    edge(router, EdgeOptions::default())
}

async fn send(path: &str, media_type: &[&str], body: impl Into<Bytestream>) -> Answer {
    let mut request = Request::post(path);
    for media_type in media_type {
        request = request.header(header::CONTENT_TYPE, *media_type);
    }
    Answer::of(&app(), request.body(body.into()).unwrap()).await
}

const JSON: &[&str] = &["application/json"];

#[tokio::test]
async fn a_good_body_is_read() {
    for media_type in [
        "application/json",
        "APPLICATION/JSON",
        "application/json;charset=utf-8",
        "application/json ; charset=UTF-8",
        "application/json; charset=\"utf-8\"",
        "application/json;",
    ] {
        let answer = send("/note", &[media_type], r#"{"size":-1,"text":"쿠폰🎟"}"#).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "쿠폰🎟-1"), "{media_type}");
    }
}

#[tokio::test]
async fn other_media_types_are_refused() {
    let good = r#"{"size":1,"text":""}"#;
    for media_type in [
        &[][..],
        &["text/plain"],
        &["text/json"],
        &["application/x-www-form-urlencoded"],
        &["application/problem+json"],
        &["application/jsonx"],
        &["application/json, text/plain"],
        &["application/json; charset=euc-kr"],
        &["application/json; version=2"],
        &["application/json", "application/json"],
        &[""],
    ] {
        let answer = send("/note", media_type, good).await;
        assert_eq!(answer.code(), "unsupported_media_type", "{media_type:?}");
    }
    let request = Request::post("/note")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_ENCODING, "gzip")
        .body(good.into());
    let answer = Answer::of(&app(), request.unwrap()).await;
    assert_eq!(answer.code(), "unsupported_media_type");
}

#[tokio::test]
async fn bad_bodies_are_refused() {
    let deep = |depth| format!("{{\"text\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    for (body, code) in [
        (String::new(), "malformed"),
        (" ".to_owned(), "malformed"),
        ("{".to_owned(), "malformed"),
        ("{'size':1}".to_owned(), "malformed"),
        (r#"{"size":1,"text":"a"} true"#.to_owned(), "malformed"),
        (r#"{"size":01,"text":"a"}"#.to_owned(), "malformed"),
        (r#"{"size":1,"text":"a","size":1}"#.to_owned(), "malformed"),
        (r#"{"size":1,"text":"a","color":"red"}"#.to_owned(), "malformed"),
        ("{\"size\":1,\"text\":\"\u{1}\"}".to_owned(), "malformed"),
        (deep(64), "malformed"),
        (deep(20_000), "malformed"),
        (deep(63), "invalid"),
        (deep(100_000), "too_large"),
        (r#"{"size":1}"#.to_owned(), "invalid"),
        (r#"{"size":null,"text":"a"}"#.to_owned(), "invalid"),
        (r#"{"size":1.0,"text":"a"}"#.to_owned(), "invalid"),
        (r#"{"size":9223372036854775808,"text":5}"#.to_owned(), "invalid"),
        (r#"{"size":18446744073709551616,"text":"a"}"#.to_owned(), "invalid"),
        (r#"["a",1]"#.to_owned(), "invalid"),
        ("null".to_owned(), "invalid"),
    ] {
        let start: String = body.chars().take(60).collect();
        let answer = send("/note", JSON, body).await;
        assert_eq!(answer.code(), code, "{start}: {}", answer.text);
    }
    let answer = send("/note", JSON, &b"{\"size\":1,\"text\":\"\xff\"}"[..]).await;
    assert_eq!(answer.code(), "malformed");
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let answer = send("/note", JSON, r#"{"size":1,"text":"a","color":"red"}"#).await;
    assert!(answer.problem()["detail"].as_str().unwrap().contains("color"));
    let answer = send("/note", JSON, r#"{"size":1,"text":"a","text":"b"}"#).await;
    assert!(answer.problem()["detail"].as_str().unwrap().contains("text"));
    let answer = send("/note", JSON, r#"{"size":true,"text":"a"}"#).await;
    assert_eq!(answer.problem()["errors"][0]["pointer"], "/size");
}

#[tokio::test]
async fn the_limit_holds_with_and_without_an_announced_length() {
    let note = |bytes: usize| {
        let frame = r#"{"size":1,"text":""}"#.len();
        format!(r#"{{"size":1,"text":"{}"}}"#, "a".repeat(bytes - frame))
    };
    let streamed = |text: String| {
        let chunks: Vec<_> = text.into_bytes().chunks(1000).map(<[u8]>::to_vec).collect();
        Bytestream::from_stream(stream::iter(chunks.into_iter().map(Ok::<_, std::io::Error>)))
    };
    for (bytes, status) in [(64 * 1024, 200), (64 * 1024 + 1, 413)] {
        assert_eq!(send("/note", JSON, note(bytes)).await.status, status);
        assert_eq!(send("/note", JSON, streamed(note(bytes))).await.status, status);
    }
    let spaces = |bytes: usize| format!("{{{}}}", " ".repeat(bytes - 2));
    for (path, bytes, status) in [
        ("/claim", 4 * 1024, 200),
        ("/claim", 4 * 1024 + 1, 413),
        ("/pause", 64 * 1024, 200),
        ("/pause", 64 * 1024 + 1, 413),
    ] {
        assert_eq!(send(path, JSON, spaces(bytes)).await.status, status, "{path} {bytes}");
    }
}

#[tokio::test]
async fn a_body_that_nobody_needs_is_absent_or_empty() {
    for (media_type, body, status, code) in [
        (&[][..], "", 200, ""),
        (JSON, "", 200, ""),
        (&["text/plain"], "", 200, ""),
        (JSON, "{}", 200, ""),
        (JSON, " { } ", 200, ""),
        (&[], "{}", 415, "unsupported_media_type"),
        (&["text/plain"], "{}", 415, "unsupported_media_type"),
        (JSON, r#"{"user_id":"somebody"}"#, 400, "malformed"),
        (JSON, "{", 400, "malformed"),
        (JSON, "{}{}", 400, "malformed"),
        (JSON, "null", 422, "invalid"),
        (JSON, "[]", 422, "invalid"),
        (JSON, "1", 422, "invalid"),
    ] {
        for path in ["/claim", "/pause"] {
            let answer = send(path, media_type, body).await;
            assert_eq!(answer.status, status, "{path} {media_type:?} {body}: {}", answer.text);
            if status != 200 {
                assert_eq!(answer.code(), code);
            }
        }
    }
}
