//! Erasing a person, by themselves or by an admin.

use axum::extract::State;
use axum::http::StatusCode;
use firstcome_core::UserId;
use firstcome_ledger::{By, Ledger};
use firstcome_web::{AdminToken, Code, PathId, Refused, RequestId, UserToken, codes};

use crate::{Identity, IdentityError};

/// Erases the caller: account, address, password and sessions; a pseudonym takes the place of the
/// user id in issued coupons.
///
/// The access token goes on until it ends, and is no use any more for what was erased.
#[utoipa::path(
    delete, path = "/v1/me", operation_id = "erase_me", tag = "identity",
    security(("bearer" = ["user"])),
    responses(
        (status = 204, description = "Nothing is left."),
        Refused<{ codes(&[Code::UserNotFound]) }>,
    )
)]
pub async fn erase_me(
    State(identity): State<Identity>,
    token: UserToken,
) -> Result<StatusCode, IdentityError> {
    erase(&identity, &identity.ledger, token.subject).await
}

/// Erases a user: account, address, password and sessions; a pseudonym takes the place of the user
/// id in issued coupons.
#[utoipa::path(
    delete, path = "/v1/users/{id}", operation_id = "erase_user", tag = "identity",
    params(("id" = String, Path, description = "The `sub` of the user's tokens.")),
    security(("bearer" = ["admin"])),
    responses(
        (status = 204, description = "Nothing is left."),
        Refused<{ codes(&[Code::UserNotFound]) }>,
    )
)]
pub async fn erase_user(
    State(identity): State<Identity>,
    admin: AdminToken,
    request_id: RequestId,
    PathId(id): PathId<UserId>,
) -> Result<StatusCode, IdentityError> {
    let by = By::new(admin.subject, "erase", request_id.as_str());
    erase(&identity, &identity.ledger.by(by), id).await
}

async fn erase(
    identity: &Identity,
    ledger: &Ledger,
    user: UserId,
) -> Result<StatusCode, IdentityError> {
    // What is written later would be written under the user's own id.
    identity.promised.is_settled().await?;
    if ledger.erase_user(user).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(PathId::<UserId>::not_found().into())
}
