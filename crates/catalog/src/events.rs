//! The calls that read events; issuance makes and changes them.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use firstcome_core::{EventId, EventState};
use firstcome_ledger::{EventQuery, EventRecord};
use firstcome_web::{
    Checks, Code, EventStateWord, EventView, Listing, Page, PathId, Problem, Refused, codes, etag,
};
use uuid::Uuid;

use crate::view::event_view;
use crate::{Catalog, CatalogError};

/// Every event, or those in one state, newest first.
///
/// `issued`, `remaining` and `sold_out` may lag 10 s behind; where Kafka or Redis holds wins before
/// the ledger, they lag besides for as long as workers do.
#[utoipa::path(
    get, path = "/v1/events", operation_id = "list_events", tag = "events",
    params(
        ("state" = Option<EventStateWord>, Query, description = "Only events in this state."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200,
            description = "Most items on the page; 50 when it is left out."),
        ("cursor" = Option<String>, Query,
            description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page of events.", body = Page<EventView>))
)]
pub async fn list(
    State(catalog): State<Catalog>,
    listing: Listing,
) -> Result<Json<Page<EventView>>, CatalogError> {
    let state = state(&listing)?;
    let filters = [state.map_or("", EventState::as_str)];
    let after: Option<Uuid> = listing.position(&catalog.cursors, "events", &filters)?;
    let limit = u64::from(listing.limit) + 1;
    let query = EventQuery { state, after: after.map(EventId::from_uuid), limit };
    let rows = catalog.ledger.events(&query).await?;
    let now = catalog.clock.now();
    let cursor = |last: &EventRecord| catalog.cursors.encode("events", &filters, &last.id);
    Ok(Json(Page::of(rows, listing.limit, cursor, |event| event_view(event, now))))
}

/// One event.
///
/// `issued`, `remaining`, `sold_out` and `sync` may lag 10 s behind; where Kafka or Redis holds
/// wins before the ledger, the first three lag besides for as long as workers do.
#[utoipa::path(
    get, path = "/v1/events/{id}", operation_id = "read_event", tag = "events",
    params(("id" = Uuid, Path)),
    responses(
        (status = 200, description = "The event.", body = EventView,
            headers(("ETag" = String))),
        Refused<{ codes(&[Code::EventNotFound]) }>,
    )
)]
pub async fn read(
    State(catalog): State<Catalog>,
    PathId(id): PathId<EventId>,
) -> Result<([(HeaderName, HeaderValue); 1], Json<EventView>), CatalogError> {
    let found = catalog.events.get(id.as_uuid(), || catalog.ledger.event(id)).await?;
    let event = found.ok_or_else(PathId::<EventId>::not_found)?;
    let tag = [(header::ETAG, etag(event.version))];
    Ok((tag, Json(event_view(event, catalog.clock.now()))))
}

/// The state that the list is narrowed to.
fn state(listing: &Listing) -> Result<Option<EventState>, Problem> {
    let Some(word) = listing.filter("state") else { return Ok(None) };
    EventState::parse(word).map(Some).ok_or_else(|| {
        let mut checks = Checks::new();
        let words = EventState::ALL.map(EventState::as_str).join(", ");
        checks.refuse("/state", format!("must be one of {words}"));
        checks.into_problem()
    })
}
