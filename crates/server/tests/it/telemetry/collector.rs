//! A collector of traces within the test, over real HTTP.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

/// The number of the status of a span that failed, in OTLP.
pub(super) const ERROR: i32 = 2;
const POLL: Duration = Duration::from_millis(20);
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A collector that takes everything.
pub(super) struct Collector {
    url: String,
    taken: Taken,
}

/// The messages, as they came.
type Taken = Arc<Mutex<Vec<Bytes>>>;

/// A span as it was told.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) trace: String,
    pub(super) id: String,
    pub(super) parent: String,
    pub(super) state: String,
    pub(super) name: String,
    pub(super) kind: i32,
    pub(super) attributes: BTreeMap<String, String>,
    /// [`ERROR`], or another.
    pub(super) status: i32,
    /// The attributes of the process.
    pub(super) resource: BTreeMap<String, String>,
}

impl Collector {
    pub(super) async fn start() -> Self {
        let taken = Taken::default();
        let app = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&taken));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, taken }
    }

    /// Its address, as the configuration has it.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Every byte that was told.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.taken.lock().expect("no panic").iter().flatten().copied().collect()
    }

    /// Every span that was told.
    pub(super) fn spans(&self) -> Vec<Told> {
        let messages = self.taken.lock().expect("no panic").clone();
        messages.iter().flat_map(spans_of).collect()
    }

    /// Waits until spans were told that `is_enough`.
    pub(super) async fn hear(&self, is_enough: impl Fn(&[Told]) -> bool) -> Vec<Told> {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let spans = self.spans();
            if is_enough(&spans) {
                return spans;
            }
            assert!(Instant::now() < deadline, "only {spans:#?}");
            sleep(POLL).await;
        }
    }

    /// Waits for so many spans of a trace, by their names.
    pub(super) async fn trace(&self, trace: &str, count: usize) -> BTreeMap<String, Told> {
        let of_trace = |spans: &[Told]| {
            let told = spans.iter().filter(|told| told.trace == trace).cloned();
            told.map(|told| (told.name.clone(), told)).collect::<BTreeMap<_, _>>()
        };
        of_trace(&self.hear(|spans| of_trace(spans).len() >= count).await)
    }
}

async fn take(State(taken): State<Taken>, body: Bytes) -> StatusCode {
    taken.lock().expect("no panic").push(body);
    StatusCode::OK
}

fn spans_of(bytes: &Bytes) -> Vec<Told> {
    let message = ExportTraceServiceRequest::decode(bytes.clone()).expect("a message of OTLP");
    let mut told = Vec::new();
    for of_process in message.resource_spans {
        let resource = attributes(of_process.resource.unwrap_or_default().attributes);
        for span in of_process.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            told.push(tell(span, &resource));
        }
    }
    told
}

fn tell(span: Span, resource: &BTreeMap<String, String>) -> Told {
    assert!(span.start_time_unix_nano > 0, "{span:?}");
    assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{span:?}");
    Told {
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        state: span.trace_state,
        name: span.name,
        kind: span.kind,
        attributes: attributes(span.attributes),
        status: span.status.unwrap_or_default().code,
        resource: resource.clone(),
    }
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    pairs.into_iter().map(|pair| (pair.key, text(pair.value.unwrap_or_default()))).collect()
}

fn text(value: AnyValue) -> String {
    match value.value {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        Some(any_value::Value::ArrayValue(array)) => {
            array.values.into_iter().map(text).collect::<Vec<_>>().join(",")
        }
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
