//! The calls of a drop: a claim, and what became of it.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use firstcome_core::{Commit, EventId, Timestamp};
use firstcome_ledger::{Claim, Decision, IssuedCouponRecord};
use firstcome_web::{
    ClaimBody, Code, EmptyBody, IssuedView, PathId, Problem, Refused, UserToken, codes,
};

use crate::view::issued_view;
use crate::{IssuanceError, IssuanceState};

/// Bytes that hold the JSON of an issued coupon with a user id of usual length.
const ISSUED_BYTES: usize = 512;

/// A coupon that was won just now: 201 with its `Location`.
pub struct Won(IssuedCouponRecord);

/// Claims a coupon of the event. The verdict is final: sending the same again never gives a
/// second coupon, and never takes one away.
#[utoipa::path(
    post, path = "/v1/events/{id}/claims", operation_id = "claim", tag = "claims",
    params(("id" = Uuid, Path)), request_body = EmptyBody,
    security(("bearer" = ["user"])),
    responses(
        (status = 201, description = "The coupon that was won.", body = IssuedView,
            headers(("Location" = String)),
            links(
                ("ReadMyCoupon" = (operation_id = "read_my_coupon",
                    parameters(("id" = "$response.body#/id")))),
                ("RedeemMyCoupon" = (operation_id = "redeem_my_coupon",
                    parameters(("id" = "$response.body#/id")))),
                ("ReadMyClaim" = (operation_id = "read_my_claim",
                    parameters(("id" = "$response.body#/event_id")))),
            )),
        Refused<{ codes(&[
            Code::EventNotFound, Code::AlreadyClaimed, Code::SoldOut, Code::NotOpen, Code::Paused,
            Code::Closed, Code::InDoubt,
        ]) }>,
    )
)]
pub async fn claim(
    State(state): State<IssuanceState>,
    UserToken { subject, .. }: UserToken,
    PathId(event_id): PathId<EventId>,
    _: ClaimBody,
) -> Result<Won, IssuanceError> {
    let claim = Claim { event_id, user_id: subject };
    let decision = state.issuance().claim(claim).await?;
    Ok(won(decision, || state.clock().now())?)
}

/// The coupon that the caller has won of the event.
#[utoipa::path(
    get, path = "/v1/events/{id}/claims/me", operation_id = "read_my_claim", tag = "claims",
    params(("id" = Uuid, Path)), security(("bearer" = ["user"])),
    responses(
        (status = 200, description = "The issued coupon.", body = IssuedView),
        Refused<{ codes(&[Code::NotClaimed, Code::EventNotFound]) }>,
    )
)]
pub async fn read_mine(
    State(state): State<IssuanceState>,
    UserToken { subject, .. }: UserToken,
    PathId(event_id): PathId<EventId>,
) -> Result<Json<IssuedView>, IssuanceError> {
    let (ledger, now) = (state.ledger(), state.clock().now());
    if let Some(coupon) = ledger.issued_coupon_claimed(event_id, &subject).await? {
        return Ok(Json(issued_view(coupon, now)));
    }
    let event = ledger.event(event_id).await?.ok_or_else(PathId::<EventId>::not_found)?;
    if event.commit != Commit::Ledger {
        state.issuance().catch_up(&event).await?;
        if let Some(coupon) = ledger.issued_coupon_claimed(event_id, &subject).await? {
            return Ok(Json(issued_view(coupon, now)));
        }
    }
    Err(Problem::new(Code::NotClaimed, "You hold no coupon of this event.").into())
}

/// The coupon, or why there is none.
fn won(decision: Decision, now: impl Fn() -> Timestamp) -> Result<Won, Problem> {
    Err(match decision {
        Decision::Issued(coupon) => return Ok(Won(coupon)),
        Decision::AlreadyClaimed(coupon) => {
            let detail = "You hold a coupon of this event: issued_coupon.";
            Problem::new(Code::AlreadyClaimed, detail)
                .with("issued_coupon", issued_view(coupon, now()))
        }
        Decision::SoldOut => Problem::new(Code::SoldOut, "Every coupon of this event is issued."),
        Decision::NotOpen { opens_at } => not_open(opens_at, now()),
        Decision::Paused => Problem::new(Code::Paused, "The event is paused; it may go on."),
        Decision::Closed => Problem::new(Code::Closed, "The event has ended."),
        Decision::EventNotFound => PathId::<EventId>::not_found(),
    })
}

/// 409 `not_open`. Who comes back after `Retry-After` finds the event open.
fn not_open(opens_at: Timestamp, now: Timestamp) -> Problem {
    let seconds = u32::try_from(now.seconds_until(opens_at)).unwrap_or(u32::MAX);
    Problem::new(Code::NotOpen, "The event opens at opens_at.")
        .with("opens_at", opens_at)
        .retry_after_seconds(seconds.max(1))
}

impl IntoResponse for Won {
    fn into_response(self) -> Response {
        let Self(coupon) = self;
        let issued_at = coupon.issued_at;
        let location = HeaderValue::try_from(format!("/v1/me/coupons/{}", coupon.id))
            .expect("a path of ASCII letters is a header value");
        let mut json = Vec::with_capacity(ISSUED_BYTES);
        serde_json::to_writer(&mut json, &issued_view(coupon, issued_at))
            .expect("plain values serialize to memory");
        let mut response = Response::new(Body::from(json));
        *response.status_mut() = StatusCode::CREATED;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::LOCATION, location);
        response
    }
}
