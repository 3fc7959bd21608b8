//! The calls about issued coupons.

use axum::Json;
use axum::extract::State;
use firstcome_core::{IssuedCouponId, IssuedState, Label, Timestamp};
use firstcome_ledger::{By, IssuedCouponRecord, IssuedPlace, IssuedQuery};
use firstcome_web::{
    AdminToken, Body, Checks, Code, IssuedStateWord, IssuedView, LabelText, Listing, Page, PathId,
    Problem, Refused, RequestId, UserToken, codes,
};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::view::{RedemptionView, issued_view};
use crate::{Wallet, WalletError};

/// The name of the list in its cursors.
const LIST: &str = "my-coupons";

/// The caller's issued coupons, or those in one state, newest first.
#[utoipa::path(
    get, path = "/v1/me/coupons", operation_id = "list_my_coupons", tag = "wallet",
    params(
        ("state" = Option<IssuedStateWord>, Query, description = "Only coupons in this state."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200,
            description = "Most items on the page; 50 when it is left out."),
        ("cursor" = Option<String>, Query,
            description = "The `next_cursor` of the page before."),
    ),
    security(("bearer" = ["user"])),
    responses((status = 200, description = "A page of issued coupons.", body = Page<IssuedView>))
)]
pub async fn list(
    State(wallet): State<Wallet>,
    UserToken { subject: user_id, .. }: UserToken,
    listing: Listing,
) -> Result<Json<Page<IssuedView>>, WalletError> {
    let state = state(&listing)?;
    let owner = user_id.clone();
    let filters = [owner.as_str(), state.map_or("", IssuedState::as_str)];
    let after = listing.position(&wallet.cursors, LIST, &filters)?.map(place);
    let (now, limit) = (wallet.clock.now(), u64::from(listing.limit) + 1);
    let query = IssuedQuery { user_id, state, now, after, limit };
    wallet.promised.is_kept().await?;
    let rows = wallet.ledger.issued_coupons_of(&query).await?;
    let cursor = |last: &_| wallet.cursors.encode(LIST, &filters, &position(last));
    Ok(Json(Page::of(rows, listing.limit, cursor, |coupon| issued_view(coupon, now))))
}

/// One of the caller's issued coupons.
#[utoipa::path(
    get, path = "/v1/me/coupons/{id}", operation_id = "read_my_coupon", tag = "wallet",
    params(("id" = Uuid, Path)), security(("bearer" = ["user"])),
    responses(
        (status = 200, description = "The issued coupon.", body = IssuedView),
        Refused<{ codes(&[Code::IssuedCouponNotFound]) }>,
    )
)]
pub async fn read(
    State(wallet): State<Wallet>,
    token: UserToken,
    PathId(id): PathId<IssuedCouponId>,
) -> Result<Json<IssuedView>, WalletError> {
    let found = wallet.found(|| wallet.ledger.issued_coupon_of(&token.subject, id)).await?;
    let coupon = found.ok_or_else(PathId::<IssuedCouponId>::not_found)?;
    Ok(Json(issued_view(coupon, wallet.clock.now())))
}

/// Why a coupon is taken back.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(examples(json!({"reason": "The order was fraudulent."})))]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// For the record.
    #[schema(value_type = LabelText)]
    reason: String,
}

/// Takes an issued coupon back for good; it does not return to the stock.
///
/// Revoking again answers the revoked coupon.
#[utoipa::path(
    post, path = "/v1/issued-coupons/{id}/revoke", operation_id = "revoke_issued_coupon",
    tag = "wallet", params(("id" = Uuid, Path)), request_body = Revocation,
    security(("bearer" = ["admin"])),
    responses(
        (status = 200, description = "The revoked coupon.", body = IssuedView),
        Refused<{ codes(&[Code::IssuedCouponNotFound, Code::AlreadyUsed]) }>,
    )
)]
pub async fn revoke(
    State(wallet): State<Wallet>,
    admin: AdminToken,
    request_id: RequestId,
    PathId(id): PathId<IssuedCouponId>,
    Body(body): Body<Revocation>,
) -> Result<Json<IssuedView>, WalletError> {
    let ledger = wallet.ledger.by(By::new(admin.subject, "revoke", request_id.as_str()));
    let reason = body.parse()?;
    let outcome = wallet.found(|| ledger.revoke(id, reason.clone())).await?;
    let outcome = outcome.ok_or_else(PathId::<IssuedCouponId>::not_found)?;
    let revoked = outcome.map_err(|redemption| {
        let detail = "It is used for an order; cancel the redemption first.";
        Problem::new(Code::AlreadyUsed, detail).with("redemption", RedemptionView::of(redemption))
    })?;
    Ok(Json(issued_view(revoked, wallet.clock.now())))
}

impl Revocation {
    fn parse(&self) -> Result<Label, Problem> {
        let mut checks = Checks::new();
        let reason = checks.field("/reason", Label::parse(&self.reason));
        reason.ok_or_else(|| checks.into_problem())
    }
}

/// The state that the list is narrowed to.
fn state(listing: &Listing) -> Result<Option<IssuedState>, Problem> {
    let Some(word) = listing.filter("state") else { return Ok(None) };
    IssuedState::parse(word).map(Some).ok_or_else(|| {
        let mut checks = Checks::new();
        let words = IssuedState::ALL.map(IssuedState::as_str).join(", ");
        checks.refuse("/state", format!("must be one of {words}"));
        checks.into_problem()
    })
}

/// The place of a coupon in the list, as a cursor holds it.
fn position(coupon: &IssuedCouponRecord) -> (i64, Uuid) {
    (coupon.issued_at.as_micros(), coupon.id.as_uuid())
}

fn place((issued_at, id): (i64, Uuid)) -> IssuedPlace {
    let issued_at = Timestamp::from_micros(issued_at);
    IssuedPlace { issued_at, id: IssuedCouponId::from_uuid(id) }
}
