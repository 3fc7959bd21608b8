//! What operators ask: is it alive, is it ready, what does it measure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use firstcome_ledger::Ledger;
use firstcome_web::{Code, Problem, Refused, codes};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::kafka::KafkaState;
use crate::measures::Measures;

/// The text format of Prometheus.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the answers are taken from; cheap to clone.
#[derive(Clone)]
pub(crate) struct Operations {
    ledger: Ledger,
    measures: Measures,
    /// Where this process needs Kafka.
    kafka: Option<KafkaState>,
    draining: Arc<AtomicBool>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"status": "ready"})))]
struct Health {
    /// One word.
    #[schema(pattern = "^(alive|ready)$")]
    status: &'static str,
}

impl Operations {
    pub(crate) fn new(ledger: Ledger, measures: Measures, kafka: Option<KafkaState>) -> Self {
        Self { ledger, measures, kafka, draining: Arc::default() }
    }

    /// From here on the process says that it is not ready.
    pub(crate) fn begin_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// What a request would lack, in a word each.
    async fn missing(&self) -> Vec<&'static str> {
        let mut missing = Vec::new();
        if self.draining.load(Ordering::Relaxed) {
            missing.push("acceptance");
        }
        if let Err(error) = self.ledger.ping().await {
            tracing::warn!(error.message = %error, "not ready: the ledger does not answer");
            missing.push("ledger");
        }
        // Its log line comes with the change.
        missing.extend(self.kafka.as_ref().and_then(KafkaState::missing));
        missing
    }
}

/// The calls, and their part of the OpenAPI document.
pub(crate) fn calls() -> OpenApiRouter<Operations> {
    OpenApiRouter::new().routes(routes!(livez)).routes(routes!(readyz)).routes(routes!(metrics))
}

/// Whether the process lives; it says nothing of what it depends on.
#[utoipa::path(
    get, path = "/livez", operation_id = "livez", tag = "operations",
    responses((status = 200, description = "It lives.", body = Health))
)]
async fn livez() -> Json<Health> {
    Json(Health { status: "alive" })
}

/// Whether the process can serve: the ledger answers, Kafka too where the process needs it, and it
/// is not stopping. Where it cannot, the refusal `unavailable` lists in `missing` what it lacks.
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "operations",
    responses(
        (status = 200, description = "It is ready.", body = Health),
        Refused<{ codes(&[Code::Unavailable]) }>,
    )
)]
async fn readyz(State(operations): State<Operations>) -> Result<Json<Health>, Problem> {
    let missing = operations.missing().await;
    if missing.is_empty() {
        return Ok(Json(Health { status: "ready" }));
    }
    Err(Problem::new(Code::Unavailable, "not ready").with("missing", missing))
}

/// Every metric, in the text format of Prometheus; `docs/metrics.md` explains each.
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "operations",
    responses((status = 200, description = "The metrics.", body = String,
        content_type = "text/plain"))
)]
async fn metrics(
    State(operations): State<Operations>,
) -> (StatusCode, [(HeaderName, &'static str); 1], String) {
    (StatusCode::OK, [(CONTENT_TYPE, METRICS_TYPE)], operations.measures.render(&operations.ledger))
}
