//! The calls about redemptions.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use firstcome_core::{Attempt, IssuedCouponId, NotRedeemed, Order, Redeemed, RedemptionId};
use firstcome_ledger::{By, IssuedCouponRecord};
use firstcome_web::{
    Body, Code, EmptyBody, OptionalBody, PathId, Problem, RedeemToken, Refused, RequestId, Scopes,
    StaffToken, UserToken, codes,
};
use uuid::Uuid;

use crate::order::{OrderBody, OrderByCodeBody};
use crate::view::RedemptionView;
use crate::{Wallet, WalletError};

/// Why a coupon is not used for an order.
const NOT_REDEEMED: u64 = codes(&[
    Code::IssuedCouponNotFound,
    Code::AlreadyUsed,
    Code::Expired,
    Code::NotYetValid,
    Code::Revoked,
    Code::OrderMismatch,
    Code::ConditionsNotMet,
]);

type Outcome = Result<(StatusCode, Json<RedemptionView>), WalletError>;

/// Uses one of the caller's coupons for an order.
///
/// The same order again gets its redemption again (200), also after expiry and after a cancel.
#[utoipa::path(
    post, path = "/v1/me/coupons/{id}/redemptions", operation_id = "redeem_my_coupon",
    tag = "wallet", params(("id" = Uuid, Path)), request_body = OrderBody,
    security(("bearer" = ["user"])),
    responses(
        (status = 201, description = "The redemption.", body = RedemptionView,
            links(("CancelRedemption" = (operation_id = "cancel_redemption",
                parameters(("id" = "$response.body#/id")))))),
        (status = 200, description = "The same redemption again.", body = RedemptionView),
        Refused<NOT_REDEEMED>,
    )
)]
pub async fn redeem(
    State(wallet): State<Wallet>,
    token: UserToken,
    PathId(id): PathId<IssuedCouponId>,
    Body(body): Body<OrderBody>,
) -> Outcome {
    let order = body.parse()?;
    let theirs = wallet.found(|| wallet.ledger.issued_coupon_of(&token.subject, id)).await?;
    let theirs = theirs.ok_or_else(PathId::<IssuedCouponId>::not_found)?;
    use_for(&wallet, theirs, order).await
}

/// Uses the coupon with a code for an order: for a checkout service.
///
/// The same order again gets its redemption again (200), also after expiry and after a cancel.
#[utoipa::path(
    post, path = "/v1/redemptions", operation_id = "redeem_by_code", tag = "wallet",
    request_body = OrderByCodeBody, security(("bearer" = ["redeem"])),
    responses(
        (status = 201, description = "The redemption.", body = RedemptionView,
            links(("CancelRedemption" = (operation_id = "cancel_redemption",
                parameters(("id" = "$response.body#/id")))))),
        (status = 200, description = "The same redemption again.", body = RedemptionView),
        Refused<NOT_REDEEMED>,
    )
)]
pub async fn redeem_by_code(
    State(wallet): State<Wallet>,
    _: RedeemToken,
    Body(body): Body<OrderByCodeBody>,
) -> Outcome {
    let (code, order) = body.parse()?;
    let code = code.ok_or_else(PathId::<IssuedCouponId>::not_found)?;
    let found = wallet.found(|| wallet.ledger.issued_coupon_by_code(code)).await?;
    let found = found.ok_or_else(PathId::<IssuedCouponId>::not_found)?;
    use_for(&wallet, found, order).await
}

/// Takes a use back: the coupon can be used again while it is valid.
///
/// Cancelling again answers the same cancelled redemption.
#[utoipa::path(
    post, path = "/v1/redemptions/{id}/cancel", operation_id = "cancel_redemption",
    tag = "wallet", params(("id" = Uuid, Path)), request_body = EmptyBody,
    security(("bearer" = ["redeem"]), ("bearer" = ["admin"])),
    responses(
        (status = 200, description = "The cancelled redemption.", body = RedemptionView),
        Refused<{ codes(&[Code::RedemptionNotFound]) }>,
    )
)]
pub async fn cancel(
    State(wallet): State<Wallet>,
    staff: StaffToken,
    request_id: RequestId,
    PathId(id): PathId<RedemptionId>,
    _: OptionalBody,
) -> Result<Json<RedemptionView>, WalletError> {
    // What a checkout service cancels is its business as usual.
    let ledger = if staff.scope.has_any(Scopes::ADMIN) {
        wallet.ledger.by(By::new(staff.subject, "cancel", request_id.as_str()))
    } else {
        wallet.ledger.clone()
    };
    let cancelled = ledger.cancel_redemption(id).await?;
    let cancelled = cancelled.ok_or_else(PathId::<RedemptionId>::not_found)?;
    Ok(Json(RedemptionView::of(cancelled)))
}

/// Uses an issued coupon for an order.
async fn use_for(wallet: &Wallet, issued: IssuedCouponRecord, order: Order) -> Outcome {
    let id = RedemptionId::from_uuid(Uuid::now_v7());
    let attempt = Attempt { id, issued_coupon_id: issued.id, order };
    let outcome = wallet.ledger.redeem(issued.user_id, attempt).await?;
    let (status, redemption) = match outcome.ok_or_else(PathId::<IssuedCouponId>::not_found)? {
        Ok(Redeemed::New(redemption)) => (StatusCode::CREATED, redemption),
        Ok(Redeemed::Same(redemption)) => (StatusCode::OK, redemption),
        Err(reason) => return Err(refused(reason).into()),
    };
    Ok((status, Json(RedemptionView::of(redemption))))
}

/// Why a coupon is not used, as the sender reads it.
fn refused(reason: NotRedeemed) -> Problem {
    match reason {
        NotRedeemed::OrderMismatch => Problem::new(
            Code::OrderMismatch,
            "This order was redeemed before, with another amount or currency.",
        ),
        NotRedeemed::Revoked => Problem::new(Code::Revoked, "An admin took this coupon back."),
        NotRedeemed::AlreadyUsed(redemption) => {
            Problem::new(Code::AlreadyUsed, "This coupon is used for another order.")
                .with("redemption", RedemptionView::of(redemption))
        }
        NotRedeemed::Expired => Problem::new(Code::Expired, "This coupon is past its end."),
        NotRedeemed::NotYetValid => {
            Problem::new(Code::NotYetValid, "This coupon's validity has not begun.")
        }
        NotRedeemed::ConditionsNotMet(unmet) => {
            Problem::new(Code::ConditionsNotMet, "The order does not meet the coupon's conditions.")
                .with("unmet", unmet)
        }
    }
}
