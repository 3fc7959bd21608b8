//! The calls that make events and change them; the catalog reads them.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use firstcome_core::{Action, EventId, Timestamp, WrongState};
use firstcome_ledger::{By, EventRecord, Made, Once, OnceKey};
use firstcome_web::{
    AdminToken, Body, Code, EmptyBody, EventView, IfMatch, KeyedBody, OptionalBody, PathId,
    Problem, Refused, RequestId, RequestKey, codes, created, etag,
};

use crate::draft::{EventBody, EventPatch, wrong_state};
use crate::strategy::Restriction;
use crate::view::event_view;
use crate::{IssuanceError, IssuanceState};

/// An event with its `ETag`.
type Event = ([(HeaderName, HeaderValue); 1], Json<EventView>);

/// Makes an event. It opens and closes by itself.
#[utoipa::path(
    post, path = "/v1/events", operation_id = "create_event", tag = "events",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = EventBody, security(("bearer" = ["admin"])),
    responses(
        (status = 201, description = "The event.", body = EventView,
            headers(("Location" = String), ("ETag" = String)),
            links(
                ("ReadEvent" = (operation_id = "read_event",
                    parameters(("id" = "$response.body#/id")))),
                ("ChangeEvent" = (operation_id = "change_event", parameters(
                    ("id" = "$response.body#/id"), ("If-Match" = "$response.header.ETag")))),
                ("Claim" = (operation_id = "claim",
                    parameters(("id" = "$response.body#/id")))),
                ("AuditEvent" = (operation_id = "audit_event",
                    parameters(("id" = "$response.body#/id")))),
            )),
        Refused<{ codes(&[Code::CouponNotFound]) }>,
    )
)]
pub async fn create(
    State(state): State<IssuanceState>,
    admin: AdminToken,
    request_id: RequestId,
    KeyedBody { body, key }: KeyedBody<EventBody>,
) -> Result<Response, IssuanceError> {
    let (new, clock) = (body.parse(state.issuance().offered())?, state.clock().clone());
    let key = key.map(|RequestKey { name, request_hash }| OnceKey {
        caller: admin.subject.clone(),
        path: "/v1/events",
        name,
        request_hash,
    });
    let ledger = state.ledger().by(By::new(admin.subject, "create", request_id.as_str()));
    let answer = move |event| made(event, clock.now());
    let id = new.id;
    match ledger.create_event_once(key, new, answer).await? {
        Once::Made(Made { location, etag, body }) => {
            // So that the first claim need not wait. Where it fails, that one has it done.
            state.issuance().prepare(id).await;
            Ok(created(location, etag, body))
        }
        Once::Missing => Err(Problem::new(Code::CouponNotFound, "There is no such coupon.").into()),
        Once::Mismatch => Err(RequestKey::mismatch().into()),
        Once::InProgress => Err(RequestKey::in_progress().into()),
    }
}

/// What is answered, and kept where there is a key.
fn made(event: EventRecord, now: Timestamp) -> Made {
    let etag = etag(event.version).to_str().expect("digits in quotes").to_owned();
    let location = format!("/v1/events/{}", event.id);
    let body = serde_json::to_string(&event_view(event, now)).expect("plain values serialize");
    Made { location, etag, body }
}

/// Changes an event, also while it is live: what is given is replaced, what is not stays.
///
/// The quantity may rise and fall, but not below what is issued. The window of a closed event
/// does not change.
// The precondition is told last, so that a request that could never succeed says so at once.
#[utoipa::path(
    patch, path = "/v1/events/{id}", operation_id = "change_event", tag = "events",
    params(("id" = Uuid, Path), ("If-Match" = String, Header)),
    request_body = EventPatch, security(("bearer" = ["admin"])),
    responses(
        (status = 200, description = "The event as it is now.", body = EventView,
            headers(("ETag" = String))),
        Refused<{ codes(&[
            Code::EventNotFound, Code::QuantityBelowIssued, Code::WrongState,
        ]) }>,
    )
)]
pub async fn change(
    State(state): State<IssuanceState>,
    admin: AdminToken,
    request_id: RequestId,
    PathId(id): PathId<EventId>,
    if_match: Result<IfMatch, Problem>,
    Body(body): Body<EventPatch>,
) -> Result<Event, IssuanceError> {
    let (change, clock) = (body.parse()?, state.clock().clone());
    let restricting = change.clone();
    let expected = if_match.clone();
    let restricts = move |event: &EventRecord| {
        // What is refused now takes nothing away, for no moment.
        expected?.check(event.version)?;
        Ok(restricting.restricts(event))
    };
    let change = move |event: EventRecord| {
        if_match?.check(event.version)?;
        change.apply(event, clock.now())
    };
    let by = By::new(admin.subject, "change", request_id.as_str());
    changed(&state, by, id, restricts, change).await
}

macro_rules! lifecycle {
    ($($(#[$doc:meta])* $call:ident $path:literal $operation:literal $action:ident)+) => {$(
        $(#[$doc])*
        #[utoipa::path(
            post, path = $path, operation_id = $operation, tag = "events",
            params(("id" = Uuid, Path)), request_body = EmptyBody,
            security(("bearer" = ["admin"])),
            responses(
                (status = 200, description = "The event as it is now.", body = EventView,
                    headers(("ETag" = String))),
                Refused<{ codes(&[Code::EventNotFound, Code::WrongState]) }>,
            )
        )]
        pub async fn $call(
            State(state): State<IssuanceState>,
            admin: AdminToken,
            request_id: RequestId,
            PathId(id): PathId<EventId>,
            _: OptionalBody,
        ) -> Result<Event, IssuanceError> {
            let by = By::new(admin.subject, stringify!($call), request_id.as_str());
            act(&state, by, id, Action::$action).await
        }
    )+};
}

lifecycle! {
    /// Opens a scheduled event before its window begins.
    open "/v1/events/{id}/open" "open_event" Open
    /// Pauses an open or sold-out event.
    pause "/v1/events/{id}/pause" "pause_event" Pause
    /// Ends a pause.
    resume "/v1/events/{id}/resume" "resume_event" Resume
    /// Closes an event for good.
    close "/v1/events/{id}/close" "close_event" Close
}

/// Rebuilds what is remembered of an event from the ledger.
///
/// The strategies `ledger` and `redis_lock` have nothing beside the ledger but what tells that an
/// event is sold out. With `redis`, claims are answered 503 until it is done.
#[utoipa::path(
    post, path = "/v1/events/{id}/sync", operation_id = "sync_event", tag = "events",
    params(("id" = Uuid, Path)), request_body = EmptyBody,
    security(("bearer" = ["admin"])),
    responses(
        (status = 200, description = "The event.", body = EventView,
            headers(("ETag" = String))),
        Refused<{ codes(&[Code::EventNotFound]) }>,
    )
)]
pub async fn sync(
    State(state): State<IssuanceState>,
    _: AdminToken,
    PathId(id): PathId<EventId>,
    _: OptionalBody,
) -> Result<Event, IssuanceError> {
    state.issuance().sync(id).await?;
    let event = state.ledger().event(id).await?;
    Ok(shown(&state, event.ok_or_else(PathId::<EventId>::not_found)?))
}

async fn act(
    state: &IssuanceState,
    by: By,
    id: EventId,
    action: Action,
) -> Result<Event, IssuanceError> {
    let clock = state.clock().clone();
    let act = move |mut event: EventRecord| {
        let acted = event.rule.apply(action, clock.now());
        event.rule = acted.map_err(|WrongState { state }| {
            wrong_state(state, format!("The event is {}.", state.as_str()))
        })?;
        Ok(event)
    };
    let stops = matches!(action, Action::Pause | Action::Close);
    let restriction = Restriction { quantity: None, narrows_window: false };
    let restricts = move |_: &EventRecord| Ok(stops.then_some(restriction));
    changed(state, by, id, restricts, act).await
}

async fn changed(
    state: &IssuanceState,
    by: By,
    id: EventId,
    restricts: impl FnOnce(&EventRecord) -> Result<Option<Restriction>, Problem> + Send + 'static,
    change: impl FnOnce(EventRecord) -> Result<EventRecord, Problem> + Send + 'static,
) -> Result<Event, IssuanceError> {
    let changed = state.issuance().change_event(by, id, restricts, change).await?;
    Ok(shown(state, changed.ok_or_else(PathId::<EventId>::not_found)??))
}

fn shown(state: &IssuanceState, event: EventRecord) -> Event {
    let tag = [(header::ETAG, etag(event.version))];
    (tag, Json(event_view(event, state.clock().now())))
}
