//! Traces: spans on their way to a collector, by OTLP over HTTP. `docs/operations/telemetry.md`
//! says how to collect them.
//!
//! No request waits for a collector: spans go to a queue, and a thread of their own sends them on.
//! A queue that is full drops what comes; a collector that is away is told of once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use metrics::{Counter, counter, describe_counter};
use opentelemetry::KeyValue;
use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, Span, SpanData,
    SpanExporter, SpanProcessor,
};
use tokio::runtime::Handle;

use crate::config::TelemetryConfig;

/// Most spans that are ended and not sent yet: some 2 MiB.
const QUEUE_SPANS_MAX: usize = 2_048;
/// Most spans that are sent at once.
const SENT_SPANS_MAX: usize = 512;
const _: () = assert!(SENT_SPANS_MAX <= QUEUE_SPANS_MAX, "a full message must fit the queue");
/// Longest that a span waits for others to be sent with.
const SEND_EVERY: Duration = Duration::from_secs(1);
/// Longest that the collector may take for one message.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// Where below its address a collector takes spans.
const PATH: &str = "v1/traces";

const SPANS: &str = "firstcome_trace_spans_total";

/// Traces that are on.
pub(crate) struct Traces(SdkTracerProvider);

/// Turns traces on where the configuration names a collector. Within a tokio runtime, after the
/// metrics' recorder was installed.
///
/// # Errors
/// When the collector's address cannot be used.
pub(crate) fn start(config: &TelemetryConfig) -> anyhow::Result<Option<Traces>> {
    let Some(endpoint) = config.otlp_endpoint() else { return Ok(None) };
    describe_counter!(SPANS, "Spans by what became of them; without a collector there are none.");
    let url = format!("{endpoint}/{PATH}");
    let collector = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(&url)
        .with_timeout(SEND_TIMEOUT)
        .build()
        .with_context(|| format!("cannot send traces to {url}"))?;
    let counts = Arc::new(Counts::new());
    let exporter = Exporter {
        collector: Arc::new(collector),
        runtime: Handle::current(),
        url,
        failing: AtomicBool::new(false),
        counts: Arc::clone(&counts),
    };
    let limits = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE_SPANS_MAX)
        .with_max_export_batch_size(SENT_SPANS_MAX)
        .with_scheduled_delay(SEND_EVERY)
        .build();
    let sending = BatchSpanProcessor::builder(exporter).with_batch_config(limits).build();
    let resource = Resource::builder()
        .with_service_name(env!("CARGO_PKG_NAME"))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let sampler = Sampler::TraceIdRatioBased(config.trace_ratio);
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(Sampler::ParentBased(Box::new(sampler)))
        .with_span_processor(Bounded { sending, counts })
        .build();
    let tracer = provider.tracer(env!("CARGO_PKG_NAME"));
    firstcome_web::trace::install(BoxedTracer::new(Box::new(tracer)));
    Ok(Some(Traces(provider)))
}

impl Traces {
    /// Sends what is left, for at most so long, and no longer than one message may take: a
    /// collector that is away does not hold the end up.
    pub(crate) async fn end(self, within: Duration) {
        let within = within.min(SEND_TIMEOUT);
        // The exporter has told of what could not be sent.
        let ended = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(within));
        tokio::time::timeout(within, ended).await.ok();
    }
}

/// Where spans are counted.
#[derive(Debug)]
struct Counts {
    /// Spans that are ended and not sent yet.
    queued: AtomicUsize,
    sent: Counter,
    failed: Counter,
    dropped: Counter,
}

impl Counts {
    fn new() -> Self {
        Self {
            queued: AtomicUsize::new(0),
            sent: counter!(SPANS, "outcome" => "sent"),
            failed: counter!(SPANS, "outcome" => "failed"),
            dropped: counter!(SPANS, "outcome" => "dropped"),
        }
    }
}

/// The way to the sending thread, as long as there is room.
#[derive(Debug)]
struct Bounded {
    sending: BatchSpanProcessor,
    counts: Arc<Counts>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &opentelemetry::Context) {
        self.sending.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.counts.queued.fetch_add(1, Ordering::Relaxed) < QUEUE_SPANS_MAX {
            self.sending.on_end(span);
        } else {
            self.counts.queued.fetch_sub(1, Ordering::Relaxed);
            self.counts.dropped.increment(1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.sending.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.sending.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.sending.set_resource(resource);
    }
}

/// Sends to the collector, and says once that it fails, and once that it no longer does.
#[derive(Debug)]
struct Exporter {
    collector: Arc<opentelemetry_otlp::SpanExporter>,
    /// Where connections live: the sending thread has no runtime.
    runtime: Handle,
    url: String,
    failing: AtomicBool,
    counts: Arc<Counts>,
}

impl Exporter {
    fn report(&self, outcome: &OTelSdkResult, spans: usize) {
        let counter = if outcome.is_ok() { &self.counts.sent } else { &self.counts.failed };
        counter.increment(spans as u64);
        let url = self.url.as_str();
        match (outcome, self.failing.swap(outcome.is_err(), Ordering::Relaxed)) {
            (Err(error), false) => tracing::warn!(
                error.message = %error, url.full = url,
                "traces cannot be sent; what is not sent is lost"
            ),
            (Ok(()), true) => tracing::info!(url.full = url, "traces are sent again"),
            (Ok(()), false) | (Err(_), true) => {}
        }
    }
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let collector = Arc::clone(&self.collector);
        let sent = self.runtime.spawn(async move { collector.export(batch).await }).await;
        let ended = |_| OTelSdkError::InternalFailure("the process is stopping".to_owned());
        let outcome = sent.map_err(ended).flatten();
        self.counts.queued.fetch_sub(spans, Ordering::Relaxed);
        self.report(&outcome, spans);
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.collector.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        // Asked for once, before anything is sent.
        if let Some(collector) = Arc::get_mut(&mut self.collector) {
            collector.set_resource(resource);
        }
    }
}
