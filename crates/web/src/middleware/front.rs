//! One call before the router.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use pin_project_lite::pin_project;
use tower::Service;

use super::metrics::RouteMetrics;
use super::{Answering, Edge, EdgeOptions};
use crate::limits::caller::Gate;
use crate::limits::{Class, Limits};

/// A call that is asked before the router: the one that a drop consists of, which without its way
/// through the router takes 8 % less time. The router has the call too, with the same answers, and
/// gets every request that this one does not take.
#[derive(Debug, Clone)]
pub struct Front<S> {
    /// The route, as the router has it.
    pub route: &'static str,
    /// Whether a request is for this call, for certain.
    pub takes: fn(&Request) -> bool,
    /// The call.
    pub call: S,
}

/// A router behind a call of its own.
#[derive(Debug, Clone)]
pub struct Fronted<S> {
    front: Option<Before<S>>,
    router: Router,
}

#[derive(Debug, Clone)]
struct Before<S> {
    takes: fn(&Request) -> bool,
    call: Edge<S>,
}

impl<S> Fronted<S> {
    /// Puts a call before a router which is within its [`edge`](super::edge) already.
    pub fn new(front: Option<Front<S>>, router: Router, options: EdgeOptions) -> Self {
        let before = |Front { route, takes, call }| {
            let metrics = RouteMetrics::of(route).into();
            Before { takes, call: Edge { inner: call, options, gate: None, metrics } }
        };
        Self { front: front.map(before), router: router.with_state(()) }
    }

    /// With the requests that the call takes, which are claims, counted against these limits. Those
    /// of the router are by its own [`limited_edge`](super::limited_edge).
    #[must_use]
    pub fn limited(mut self, limits: &Arc<Limits>) -> Self {
        if let Some(before) = &mut self.front {
            before.call.gate = Some(Gate::new(limits, Some(Class::Claim)));
        }
        self
    }
}

impl<S> Service<Request> for Fronted<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = FrontedFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        match &mut self.front {
            Some(before) => before.call.poll_ready(context),
            // A router is always ready.
            None => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match &mut self.front {
            Some(before) if (before.takes)(&request) => {
                FrontedFuture::Front { answer: before.call.call(request) }
            }
            _ => FrontedFuture::Routed { answer: self.router.call(request) },
        }
    }
}

pin_project! {
    /// The answer of the one or the other.
    #[project = FrontedProjection]
    pub enum FrontedFuture<F> {
        /// Of the call before the router.
        Front { #[pin] answer: Answering<F> },
        /// Of the router.
        Routed { #[pin] answer: RouteFuture<Infallible> },
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for FrontedFuture<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            FrontedProjection::Front { answer } => answer.poll(context),
            FrontedProjection::Routed { answer } => answer.poll(context),
        }
    }
}
