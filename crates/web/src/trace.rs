//! Traces: what a request consisted of, told as spans to whoever collects them.
//!
//! Off until [`install`] is called. Until then no header is read and nothing is made for a request:
//! all that is asked is whether there is a tracer. A span is made only for a request that is
//! sampled; one that is not still has ids, for the log.
//!
//! What spans say is in `docs/operations/telemetry.md`. They hold no header but the request's id,
//! no query and no body: nothing in which a secret may come.

mod parent;

use std::sync::{Arc, OnceLock};

use axum::extract::Request;
use axum::http::StatusCode;
use opentelemetry::global::{BoxedSpan, BoxedTracer};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _,
};
use opentelemetry::{Array, Context, KeyValue, Value};

use crate::middleware::request_id::{self, RequestId};

/// Where spans go.
static TRACER: OnceLock<BoxedTracer> = OnceLock::new();

/// Turns traces on, for the rest of the process's life.
///
/// # Panics
/// When they are on already.
pub fn install(tracer: BoxedTracer) {
    assert!(TRACER.set(tracer).is_ok(), "traces are turned on once");
}

/// Whether traces are on.
pub(crate) fn is_on() -> bool {
    TRACER.get().is_some()
}

/// A request's place in its trace; cheap to clone.
#[derive(Debug, Clone)]
pub struct Trace(Arc<SpanContext>);

/// A piece of work within a request. It ends when it is dropped.
#[derive(Debug)]
pub struct Work(BoxedSpan);

impl Trace {
    /// The trace of the request that this task works on; none when traces are off.
    #[must_use]
    pub fn current() -> Option<Self> {
        TRACER.get()?;
        request_id::current_trace()
    }

    /// The same, where the request is sampled: where spans are told to anyone.
    #[must_use]
    pub fn current_sampled() -> Option<Self> {
        Self::current().filter(|trace| trace.0.is_sampled())
    }

    /// The id of the trace, in 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        self.0.trace_id().to_string()
    }

    /// The id of the request's span, in 16 hexadecimal digits.
    #[must_use]
    pub fn span_id(&self) -> String {
        self.0.span_id().to_string()
    }

    /// Begins a piece of work within this request.
    #[must_use]
    pub fn begin(&self, name: &'static str) -> Option<Work> {
        let tracer = TRACER.get().filter(|_| self.0.is_sampled())?;
        let within = Context::new().with_remote_span_context(SpanContext::clone(&self.0));
        Some(Work(tracer.build_with_context(SpanBuilder::from_name(name), &within)))
    }
}

impl Work {
    /// Says something about the work. Never what a user sent.
    pub fn say(&mut self, key: &'static str, value: impl Into<Value>) {
        self.0.set_attribute(KeyValue::new(key, value));
    }

    /// Says that it failed, in a word.
    pub fn failed(&mut self, why: &'static str) {
        self.say("error.type", why);
        self.0.set_status(Status::error(""));
    }
}

/// The span of a request, with the attributes of the semantic conventions for HTTP servers. It ends
/// when it is dropped; without an answer its sender has gone away.
#[derive(Debug)]
pub(crate) struct RequestSpan {
    span: BoxedSpan,
    trace: Trace,
}

impl RequestSpan {
    /// Begins the span of a request; none when traces are off. `route` is the pattern, where one
    /// matches, and `method` one of those known.
    pub(crate) fn begin(
        request: &Request,
        route: Option<&str>,
        method: &'static str,
        request_id: &RequestId,
    ) -> Option<Box<Self>> {
        let tracer = TRACER.get()?;
        let mut attributes = vec![
            KeyValue::new("http.request.method", if method == "OTHER" { "_OTHER" } else { method }),
            KeyValue::new("url.scheme", "http"),
            KeyValue::new("url.path", request.uri().path().to_owned()),
            KeyValue::new(
                "http.request.header.x-request-id",
                Value::Array(Array::String(vec![request_id.as_str().to_owned().into()])),
            ),
        ];
        let name = match route {
            Some(route) => {
                attributes.push(KeyValue::new("http.route", route.to_owned()));
                format!("{method} {route}")
            }
            None => method.to_owned(),
        };
        let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Server);
        let within = Context::new();
        let within = match parent::of(request.headers()) {
            Some(parent) => within.with_remote_span_context(parent),
            None => within,
        };
        let span = tracer.build_with_context(builder.with_attributes(attributes), &within);
        let trace = Trace(Arc::new(span.span_context().clone()));
        Some(Box::new(Self { span, trace }))
    }

    pub(crate) fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The answer is made.
    pub(crate) fn answered(mut self, status: StatusCode) {
        let code = i64::from(status.as_u16());
        self.span.set_attribute(KeyValue::new("http.response.status_code", code));
        if status.is_server_error() {
            self.span.set_attribute(KeyValue::new("error.type", status.as_str().to_owned()));
            self.span.set_status(Status::error(""));
        }
    }
}
