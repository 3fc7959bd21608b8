//! What happens to every request, whatever its route: the whole order is `Edge::call`
//! and `Answering::poll`.

pub(crate) mod request_id;

mod front;
mod metrics;

use std::any::Any;
use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::{Layer, Service};

pub use front::{Front, Fronted};
pub use metrics::describe_metrics;
pub use request_id::{RequestId, current_request_id};

use crate::limits::caller::{self, Caller, Gate};
use crate::limits::{LimitFields, Limits};
use crate::problem::{Code, Failure, Problem};
use crate::trace::{self, RequestSpan};
use metrics::{Measured, RouteMetrics};

/// The bounds that hold for every request.
#[derive(Debug, Clone, Copy)]
pub struct EdgeOptions {
    /// Longest time from the request's head to the answer's; then 503 `timeout`.
    pub answer_timeout: Duration,
    /// Most bytes of a request's target and headers; above, 431 `headers_too_large`.
    pub head_bytes_max: usize,
}

impl Default for EdgeOptions {
    fn default() -> Self {
        Self { answer_timeout: Duration::from_secs(30), head_bytes_max: 16 * 1024 }
    }
}

/// Wraps every route of a complete router, and its 404 and 405, in the edge.
///
/// Call it last: routes that are added afterwards have no edge. The state is already in the router
/// then, so that its layers are made once for each route and not for each request.
pub fn edge(router: Router, options: EdgeOptions) -> Router {
    router.with_state(()).layer(EdgeLayer { options, gate: None })
}

/// The same, with requests counted against these limits.
pub fn limited_edge(router: Router, options: EdgeOptions, limits: &Arc<Limits>) -> Router {
    let gate = Some(Gate::new(limits, None));
    router.with_state(()).layer(EdgeLayer { options, gate })
}

#[derive(Debug, Clone)]
struct EdgeLayer {
    options: EdgeOptions,
    gate: Option<Gate>,
}

impl<S> Layer<S> for EdgeLayer {
    type Service = Edge<S>;

    fn layer(&self, inner: S) -> Edge<S> {
        let Self { options, gate } = self.clone();
        Edge { inner, options, gate, metrics: Arc::new(RouteMetrics::default()) }
    }
}

/// One route behind everything that all routes share.
#[derive(Debug, Clone)]
struct Edge<S> {
    inner: S,
    options: EdgeOptions,
    /// None where nothing is limited.
    gate: Option<Gate>,
    metrics: Arc<RouteMetrics>,
}

impl<S> Service<Request> for Edge<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    /// From the outside in: measured, named by its id, traced, logged, its head bounded, its
    /// address limited; the rest is [`Answering`]'s.
    fn call(&mut self, request: Request) -> Self::Future {
        let EdgeOptions { answer_timeout, head_bytes_max } = self.options;
        let measured = RouteMetrics::start(&self.metrics, &request);
        let id = RequestId::take_or_make(request.headers());
        let mut told = Told {
            span: trace::is_on()
                .then(|| RequestSpan::begin(&request, measured.route(), measured.method(), &id))
                .flatten(),
            measured,
            id,
            line: LogLine::of(&request),
            personal: request.headers().contains_key(header::AUTHORIZATION),
            caller: None,
            limit: None,
        };
        let handled = match self.admit(&request, head_bytes_max, &mut told) {
            Ok(()) => Handled::Inside { answer: self.inner.call(request) },
            Err(problem) => Handled::Refused { problem: Some(problem) },
        };
        Answering { handled, timer: None, answer_timeout, told: Some(told) }
    }
}

impl<S> Edge<S> {
    /// Lets a request in, or says why not.
    fn admit(
        &self,
        request: &Request,
        head_bytes_max: usize,
        told: &mut Told,
    ) -> Result<(), Box<Problem>> {
        if head_bytes(request) > head_bytes_max {
            return Err(Box::new(head_too_large(head_bytes_max)));
        }
        if let Some(gate) = &self.gate {
            let (caller, limit) = gate.admit(request, told.measured.began())?;
            told.caller = Some(caller);
            told.limit = limit.map(Box::new);
        }
        Ok(())
    }
}

pin_project! {
    /// A request on its way through the edge. From the outside in: its answer dressed with headers
    /// and its bare errors told as problems; panics caught; time bounded; handled.
    pub struct Answering<F> {
        #[pin]
        handled: Handled<F>,
        // Only an answer that is not there at once sets it.
        #[pin]
        timer: Option<Sleep>,
        answer_timeout: Duration,
        // Until the answer.
        told: Option<Told>,
    }
}

pin_project! {
    #[project = HandledProjection]
    enum Handled<F> {
        // Until it is told.
        Refused { problem: Option<Box<Problem>> },
        Inside { #[pin] answer: F },
    }
}

/// What is told about a request, in its answer and elsewhere.
struct Told {
    measured: Measured,
    id: RequestId,
    /// None when traces are off.
    span: Option<Box<RequestSpan>>,
    line: LogLine,
    personal: bool,
    caller: Option<Caller>,
    /// What the answer says of the limit of its address.
    limit: Option<Box<LimitFields>>,
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for Answering<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let told = this.told.as_mut().expect("a future is not polled after its end");
        let bound = (told.measured.began(), *this.answer_timeout);
        let response = told.scope(|| bounded(this.handled, this.timer, bound, context));
        let response = ready!(response);
        let told = this.told.take().expect("as above");
        Poll::Ready(Ok(told.answer(response)))
    }
}

impl Told {
    /// Runs some work on the request: what it logs is the request's, and what it spends of a limit
    /// its sender's.
    fn scope<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let Self { id, span, caller, .. } = self;
        let trace = span.as_deref().map(RequestSpan::trace);
        caller::scope(caller, || request_id::scope(id, trace, work))
    }

    /// Tells of the answer wherever it is to be told, and dresses it.
    fn answer(mut self, mut response: Response) -> Response {
        if let Some(fields) = self.limit.take() {
            fields.append_to(response.headers_mut());
        }
        let mut response = dress(response, &self.id, self.personal);
        let status = response.status();
        let failure = if status.is_server_error() {
            response.extensions_mut().remove::<Failure>()
        } else {
            None
        };
        if failure.is_some() || self.line.0.is_some() {
            let trace = self.span.as_deref().map(RequestSpan::trace);
            request_id::scope(&self.id, trace, || self.log(failure.as_ref(), status));
        }
        if let Some(span) = self.span {
            span.answered(status);
        }
        self.measured.answered(status);
        response
    }

    fn log(&self, failure: Option<&Failure>, status: StatusCode) {
        let Self { measured, line, .. } = self;
        if let Some(failure) = failure {
            failure.log(measured.method(), measured.route().unwrap_or_default(), status.as_u16());
        }
        line.write(measured.began(), status);
    }
}

/// The handler's answer, or why there is none.
fn bounded<F: Future<Output = Result<Response, Infallible>>>(
    handled: Pin<&mut Handled<F>>,
    mut timer: Pin<&mut Option<Sleep>>,
    (began, answer_timeout): (Instant, Duration),
    context: &mut Context<'_>,
) -> Poll<Response> {
    let answer = match handled.project() {
        HandledProjection::Inside { answer } => answer,
        HandledProjection::Refused { problem } => {
            let problem = problem.take().expect("a future is not polled after its end");
            return Poll::Ready(problem.into_response());
        }
    };
    match catch_unwind(AssertUnwindSafe(|| answer.poll(context))) {
        Ok(Poll::Ready(Ok(response))) => Poll::Ready(tell_bare_error_as_problem(response)),
        Ok(Poll::Pending) => {
            if timer.is_none() {
                timer.set(Some(sleep_until(began + answer_timeout)));
            }
            let timer = timer.as_pin_mut().expect("it was set");
            timer.poll(context).map(|()| timed_out(answer_timeout).into_response())
        }
        Err(panic) => Poll::Ready(panicked(panic.as_ref()).into_response()),
    }
}

/// Bytes of the request's target and headers, as sent.
fn head_bytes(request: &Request) -> usize {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let header = |(name, value): (&header::HeaderName, &HeaderValue)| {
        name.as_str().len() + ": \r\n".len() + value.len()
    };
    target + request.headers().iter().map(header).sum::<usize>()
}

fn head_too_large(bytes_max: usize) -> Problem {
    let detail = format!("Target and headers may have at most {bytes_max} bytes.");
    Problem::new(Code::HeadersTooLarge, detail)
}

fn timed_out(after: Duration) -> Problem {
    Problem::new(Code::Timeout, format!("no answer within {after:?}"))
}

/// The process's panic hook has told the log what and where.
fn panicked(panic: &(dyn Any + Send)) -> Problem {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let detail = format!("panicked: {}", text.unwrap_or("without a message"));
    Problem::new(Code::Internal, detail).told()
}

/// Answers that a library makes by itself (404, 405, a refused path or body) are bare, or plain
/// text: they become problems. What a handler answers as JSON stays as it is.
fn tell_bare_error_as_problem(response: Response) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let made_by_library = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_none_or(|media_type| media_type.as_bytes().starts_with(b"text/plain"));
    if !made_by_library {
        return response;
    }
    let code = Code::of_status(status.as_u16());
    let mut problem = Problem::new(code, code.title()).into_response();
    for (name, value) in response.headers() {
        if !matches!(*name, header::CONTENT_TYPE | header::CONTENT_LENGTH) {
            problem.headers_mut().insert(name.clone(), value.clone());
        }
    }
    problem
}

/// Headers of every answer. What was answered to a token is for its bearer alone, so nothing on
/// the way may keep it unless the handler said so.
fn dress(mut response: Response, id: &RequestId, personal: bool) -> Response {
    let headers = response.headers_mut();
    headers.insert(request_id::X_REQUEST_ID, id.to_header());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if personal {
        let no_store = HeaderValue::from_static("no-store");
        headers.entry(header::CACHE_CONTROL).or_insert(no_store);
    }
    response
}

/// One line for each request in the debug log; costs nothing when nobody reads it.
struct LogLine(Option<(Method, Uri)>);

impl LogLine {
    fn of(request: &Request) -> Self {
        let read = tracing::enabled!(tracing::Level::DEBUG);
        Self(read.then(|| (request.method().clone(), request.uri().clone())))
    }

    fn write(&self, began: Instant, status: StatusCode) {
        if let Some((method, uri)) = &self.0 {
            let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            tracing::debug!(
                http.request.method = method.as_str(),
                url.path = uri.path(),
                http.response.status_code = status.as_u16(),
                event.duration = nanos,
                "answered"
            );
        }
    }
}
