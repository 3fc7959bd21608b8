//! The HTTP metrics: requests by route, method and status, and their time.

use std::sync::{Arc, OnceLock};

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_histogram, histogram};
use tokio::time::Instant;

const REQUESTS: &str = "http_requests_total";
const SECONDS: &str = "http_request_duration_seconds";

/// The label of every path that no route matches: strangers shall not make series.
const UNMATCHED: &str = "unmatched";
/// The status label of a request whose sender went away before the answer.
const ABANDONED: &str = "abandoned";

/// Methods with a series of their own; any other is counted under the last.
const METHODS: [&str; 8] = ["GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS", "OTHER"];
/// Statuses whose counters are kept at hand; any other is looked up each time.
const STATUSES: [u16; 16] =
    [200, 201, 204, 400, 401, 403, 404, 405, 409, 412, 413, 422, 428, 429, 500, 503];

/// Declares the HTTP metrics with their help texts. Call it once a recorder is installed.
pub fn describe_metrics() {
    describe_counter!(REQUESTS, Unit::Count, "HTTP requests by route, method and status.");
    describe_histogram!(SECONDS, Unit::Seconds, "Time from a request's head to its answer's.");
}

/// The series of one route. They are made when first used, so that a recorder is there, and kept,
/// because to look one up costs as much as the rest of the edge.
#[derive(Default)]
pub(super) struct RouteMetrics {
    /// The route, where it is known beforehand.
    route: Option<&'static str>,
    by_method: [OnceLock<Box<Series>>; METHODS.len()],
}

struct Series {
    route: String,
    method: &'static str,
    seconds: Histogram,
    requests: [OnceLock<Counter>; STATUSES.len()],
}

impl std::fmt::Debug for RouteMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RouteMetrics")
    }
}

impl RouteMetrics {
    /// The series of this route, whatever the request says of its own.
    pub(super) fn of(route: &'static str) -> Self {
        Self { route: Some(route), ..Self::default() }
    }

    /// Begins to measure a request.
    pub(super) fn start(metrics: &Arc<Self>, request: &Request) -> Measured {
        let method = method_index(request.method());
        metrics.by_method[method].get_or_init(|| {
            let matched = request.extensions().get::<MatchedPath>();
            let route = metrics.route.or(matched.map(MatchedPath::as_str)).unwrap_or(UNMATCHED);
            Box::new(Series::new(route, METHODS[method]))
        });
        Measured { metrics: Arc::clone(metrics), method, began: Instant::now(), status: None }
    }
}

impl Series {
    fn new(route: &str, method: &'static str) -> Self {
        let seconds = histogram!(SECONDS, "route" => route.to_owned(), "method" => method);
        Self { route: route.to_owned(), method, seconds, requests: Default::default() }
    }

    fn requests(&self, status: &str) -> Counter {
        let (route, status) = (self.route.clone(), status.to_owned());
        counter!(REQUESTS, "route" => route, "method" => self.method, "status" => status)
    }

    fn count(&self, status: u16) {
        match STATUSES.iter().position(|known| *known == status) {
            Some(index) => {
                self.requests[index]
                    .get_or_init(|| self.requests(&status.to_string()))
                    .increment(1);
            }
            None => self.requests(&status.to_string()).increment(1),
        }
    }
}

fn method_index(method: &Method) -> usize {
    let known = METHODS.iter().position(|known| *known == method.as_str());
    known.unwrap_or(METHODS.len() - 1)
}

/// A request being measured. When it is dropped unanswered, its sender has gone away.
pub(super) struct Measured {
    metrics: Arc<RouteMetrics>,
    method: usize,
    began: Instant,
    status: Option<StatusCode>,
}

impl Measured {
    /// The pattern of the request's route; none for an unknown path.
    pub(super) fn route(&self) -> Option<&str> {
        let series = self.metrics.by_method[self.method].get()?;
        Some(series.route.as_str()).filter(|route| *route != UNMATCHED)
    }

    /// The request's method, or `OTHER`.
    pub(super) fn method(&self) -> &'static str {
        METHODS[self.method]
    }

    /// When the request came.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// The answer is made.
    pub(super) fn answered(mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let Some(series) = self.metrics.by_method[self.method].get() else {
            return;
        };
        match self.status {
            Some(status) => {
                series.count(status.as_u16());
                series.seconds.record(self.began.elapsed().as_secs_f64());
            }
            None => series.requests(ABANDONED).increment(1),
        }
    }
}
