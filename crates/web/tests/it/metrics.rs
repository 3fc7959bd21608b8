//! What the edge counts.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use firstcome_web::{EdgeOptions, edge};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::time::timeout;

use crate::Answer;

/// What is counted while the requests are answered, one a line.
fn counted(requests: &[(&str, &str)]) -> String {
    let router = Router::new()
        .route("/events/{id}", get(async || "an event"))
        .route("/slow", get(std::future::pending::<()>));
    let app = edge(router, EdgeOptions::default());
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            for (method, path) in requests {
                let request = Request::builder().method(*method).uri(*path).body(Body::empty());
                let answer = Answer::of(&app, request.unwrap());
                let _gone = timeout(Duration::from_millis(20), answer).await;
            }
        });
    });
    recorder.handle().render()
}

#[test]
fn requests_are_counted_by_route_method_and_status() {
    let text = counted(&[
        ("GET", "/events/1"),
        ("GET", "/events/2"),
        ("DELETE", "/events/1"),
        ("GET", "/nowhere/1"),
        ("GET", "/nowhere/2"),
        ("BREW", "/nowhere/3"),
        ("GET", "/slow"),
    ]);
    for line in [
        r#"http_requests_total{route="/events/{id}",method="GET",status="200"} 2"#,
        r#"http_requests_total{route="/events/{id}",method="DELETE",status="405"} 1"#,
        r#"http_requests_total{route="unmatched",method="GET",status="404"} 2"#,
        r#"http_requests_total{route="unmatched",method="OTHER",status="404"} 1"#,
        r#"http_requests_total{route="/slow",method="GET",status="abandoned"} 1"#,
        r#"http_request_duration_seconds_count{route="/events/{id}",method="GET"} 2"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in:\n{text}");
    }
    assert_eq!(text.matches("http_requests_total{").count(), 5, "no other series:\n{text}");
}
