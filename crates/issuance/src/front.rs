//! The claim before the router: the same call as [`claims::claim`], without the way to it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use firstcome_core::EventId;
use firstcome_web::{ClaimBody, Front, PathId, UserToken};
use tower::Service;

use crate::claims::{self, Won};
use crate::{IssuanceError, IssuanceState};

const ROUTE: &str = "/v1/events/{id}/claims";

/// The claim, to be put before the router.
#[must_use]
pub fn front(state: IssuanceState) -> Front<ClaimCall> {
    Front { route: ROUTE, takes: |request| event_of(request).is_some(), call: ClaimCall(state) }
}

/// The event that a claim names; none for any other request, and for a claim that names none.
fn event_of(request: &Request) -> Option<EventId> {
    let id = request.uri().path().strip_prefix("/v1/events/")?.strip_suffix("/claims")?;
    (request.method() == Method::POST).then(|| EventId::parse(id)).flatten()
}

/// The call.
#[derive(Clone)]
pub struct ClaimCall(IssuanceState);

impl Service<Request> for ClaimCall {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let state = self.0.clone();
        Box::pin(async move { Ok(answer(state, request).await.into_response()) })
    }
}

/// In the order in which the handler's arguments are extracted.
async fn answer(state: IssuanceState, request: Request) -> Result<Won, IssuanceError> {
    let event = event_of(&request);
    let (mut parts, body) = request.into_parts();
    let token = UserToken::from_request_parts(&mut parts, &state).await?;
    let event = PathId(event.ok_or_else(PathId::<EventId>::not_found)?);
    let body = ClaimBody::from_request(Request::from_parts(parts, body), &state).await?;
    claims::claim(State(state), token, event, body).await
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    const ID: &str = "01a1fd67-e9a5-77ac-a765-586dfbb46788";

    fn takes(method: &str, path: &str) -> bool {
        let request = Request::builder().method(method).uri(path).body(Body::empty());
        event_of(&request.expect("a request")).is_some()
    }

    #[test]
    fn the_route_is_the_documented_one() {
        let document = crate::calls().into_openapi();
        let path = document.paths.paths.get(ROUTE).expect("the document has the route");
        assert!(path.post.is_some());
    }

    #[test]
    fn only_claims_of_well_formed_events_are_taken() {
        assert!(takes("POST", &ROUTE.replace("{id}", ID)));
        assert!(takes("POST", &format!("/v1/events/{ID}/claims?from=push")));
        for (method, path) in [
            ("GET", format!("/v1/events/{ID}/claims")),
            ("POST", format!("/v1/events/{ID}/claims/")),
            ("POST", format!("/v1/events/{ID}/claims/me")),
            ("POST", format!("/v1/events/{}/claims", &ID[1..])),
            ("POST", format!("/v1/events/%30{}/claims", &ID[1..])),
            ("POST", format!("//v1/events/{ID}/claims")),
        ] {
            assert!(!takes(method, &path), "{method} {path}");
        }
    }
}
