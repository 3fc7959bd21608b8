//! The call that audits an event.

use axum::Json;
use axum::extract::State;
use firstcome_core::EventId;
use firstcome_web::{AdminToken, Code, PathId, Refused, codes};

use crate::view::AuditView;
use crate::{IssuanceError, IssuanceState};

/// Counts an event's invariants from the rows themselves, at one moment; claims go on meanwhile.
#[utoipa::path(
    get, path = "/v1/events/{id}/audit", operation_id = "audit_event", tag = "events",
    params(("id" = Uuid, Path)), security(("bearer" = ["admin"])),
    responses(
        (status = 200, description = "The audit, whether it passes or fails.", body = AuditView),
        Refused<{ codes(&[Code::EventNotFound]) }>,
    )
)]
pub async fn read(
    State(state): State<IssuanceState>,
    _: AdminToken,
    PathId(id): PathId<EventId>,
) -> Result<Json<AuditView>, IssuanceError> {
    let pending = state.issuance().drain(id).await?;
    let audit = state.ledger().audit(id).await?;
    let audit = audit.ok_or_else(PathId::<EventId>::not_found)?;
    Ok(Json(AuditView::of(audit.beside(pending))))
}
