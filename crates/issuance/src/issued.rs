//! What an event has issued: a page at a time, or all of it as a file.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use firstcome_core::{EventId, Sequence};
use firstcome_ledger::{EventRecord, IssuedCouponRecord};
use firstcome_web::{AdminToken, Code, IssuedView, Listing, Page, PathId, Problem, Refused, codes};

use crate::accept::Wanted;
use crate::csv;
use crate::view::issued_view;
use crate::{IssuanceError, IssuanceState};

const LIST: &str = "issued-coupons";

/// What an event has issued, in the order of the sequences.
///
/// With `Accept: text/csv` all of it, as a file: the members of an issued coupon in the same order
/// under a header row. A user id that a spreadsheet would take for a formula is shown there behind
/// an apostrophe.
#[utoipa::path(
    get, path = "/v1/events/{id}/issued-coupons", operation_id = "list_issued_coupons",
    tag = "events", security(("bearer" = ["admin"])),
    params(
        ("id" = Uuid, Path),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200,
            description = "Most items on the page; 50 when it is left out."),
        ("cursor" = Option<String>, Query,
            description = "The `next_cursor` of the page before."),
    ),
    responses(
        (status = 200, description = "A page of issued coupons, or all of them.", content(
            (Page<IssuedView> = "application/json"), (String = "text/csv")),
            headers(("Vary" = String))),
        Refused<{ codes(&[Code::EventNotFound]) }>,
    )
)]
pub async fn list(
    State(state): State<IssuanceState>,
    _: AdminToken,
    PathId(id): PathId<EventId>,
    wanted: Wanted,
    listing: Listing,
) -> Result<Response, IssuanceError> {
    let found = state.ledger().event(id).await?;
    let event = found.ok_or_else(PathId::<EventId>::not_found)?;
    state.issuance().catch_up(&event).await?;
    match wanted {
        Wanted::Page => Ok(page(&state, &event, &listing).await?.into_response()),
        Wanted::Csv => {
            let chunks = state.ledger().issued_coupons_stream(event.no);
            Ok(csv::file(id, state.clock().now(), chunks).await?.into_response())
        }
    }
}

async fn page(
    state: &IssuanceState,
    event: &EventRecord,
    listing: &Listing,
) -> Result<impl IntoResponse + use<>, IssuanceError> {
    let (cursors, event_id) = (state.cursors(), event.id.to_string());
    let filters = [event_id.as_str()];
    let after: Option<i128> = listing.position(cursors, LIST, &filters)?;
    let after = after.map(Sequence::parse).transpose();
    let after = after.map_err(|_| Problem::new(Code::Malformed, "The cursor names no place."))?;
    let limit = u64::from(listing.limit) + 1;
    let rows = state.ledger().issued_coupons_of_event(event.no, after, limit).await?;
    let now = state.clock().now();
    let cursor = |last: &IssuedCouponRecord| cursors.encode(LIST, &filters, &last.sequence);
    let page = Page::of(rows, listing.limit, cursor, |coupon| issued_view(coupon, now));
    Ok(([(header::VARY, HeaderValue::from_static("Accept"))], Json(page)))
}
