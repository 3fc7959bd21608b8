//! The trail of admins' changes, to be read.

use axum::Json;
use axum::extract::State;
use firstcome_core::{Timestamp, UserId};
use firstcome_ledger::{ChangeQuery, ChangeRecord, Resource};
use firstcome_web::{AdminToken, Checks, Listing, Page, Problem};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{Identity, IdentityError};

/// The list, to whoever signs cursors.
const LIST: &str = "changes";

/// A change that an admin made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Change, examples(json!({
    "id": "0199a8f4-3b2a-7e10-8d00-0123456789ab", "at": "2026-11-27T01:20:00Z",
    "actor": "0199a8e0-0c11-7f20-9a00-0123456789ab", "action": "change", "resource": "event",
    "resource_id": "0199a8e2-7c1b-7d3e-8f00-0123456789ab",
    "before": {"quantity": 10000}, "after": {"quantity": 12000},
    "request_id": "3f2b8c1d9e0a4f6b8d7c5e3a1b9f0d2c",
})))]
pub struct ChangeView {
    /// Its id.
    id: Uuid,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Whose token it was: its `sub`.
    #[schema(value_type = String, pattern = "^[!-~]{1,128}$")]
    actor: UserId,
    /// What was done.
    action: String,
    /// What was changed.
    #[schema(value_type = ResourceWord)]
    resource: &'static str,
    /// Which.
    resource_id: String,
    /// What of it can be changed, as it was; null where it was made.
    #[schema(value_type = Option<Object>, required = true)]
    before: Option<Value>,
    /// The same as it became; null where it was removed.
    #[schema(value_type = Option<Object>, required = true)]
    after: Option<Value>,
    /// The id of the request, as in its `X-Request-Id`.
    request_id: String,
}

/// What an admin changes.
#[derive(Debug, ToSchema)]
#[schema(as = Resource)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "a schema; the ledger has the words")]
enum ResourceWord {
    Coupon,
    Event,
    Client,
    User,
    IssuedCoupon,
    Redemption,
}

impl ChangeView {
    fn of(change: ChangeRecord) -> Self {
        Self {
            id: change.id,
            at: change.at,
            actor: change.actor,
            action: change.action,
            resource: change.resource.as_str(),
            resource_id: change.resource_id,
            before: change.before,
            after: change.after,
            request_id: change.request_id,
        }
    }
}

/// Who changed what, newest first. Refused calls are not in it.
#[utoipa::path(
    get, path = "/v1/admin/changes", operation_id = "list_changes", tag = "identity",
    security(("bearer" = ["admin"])),
    params(
        ("actor" = Option<String>, Query, description = "Only those by this user."),
        ("resource" = Option<ResourceWord>, Query, description = "Only those of this kind."),
        ("resource_id" = Option<String>, Query, description = "Only those of this one."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200,
            description = "Most items on the page; 50 when it is left out."),
        ("cursor" = Option<String>, Query,
            description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page of changes.", body = Page<ChangeView>))
)]
pub async fn list(
    State(identity): State<Identity>,
    _: AdminToken,
    listing: Listing,
) -> Result<Json<Page<ChangeView>>, IdentityError> {
    let resource = resource(&listing)?;
    let text = |name| listing.filter(name).map(str::to_owned);
    let (actor, resource_id) = (text("actor"), text("resource_id"));
    let filters = [
        actor.as_deref().unwrap_or_default(),
        resource.map_or("", Resource::as_str),
        resource_id.as_deref().unwrap_or_default(),
    ]
    .map(str::to_owned);
    let filters = filters.each_ref().map(String::as_str);
    let after: Option<Uuid> = listing.position(&identity.cursors, LIST, &filters)?;
    let limit = u64::from(listing.limit) + 1;
    let query = ChangeQuery { actor, resource, resource_id, after, limit };
    let rows = identity.ledger.changes(&query).await?;
    let cursor = |last: &ChangeRecord| identity.cursors.encode(LIST, &filters, &last.id);
    Ok(Json(Page::of(rows, listing.limit, cursor, ChangeView::of)))
}

/// The resource that the list is narrowed to.
fn resource(listing: &Listing) -> Result<Option<Resource>, Problem> {
    let Some(word) = listing.filter("resource") else { return Ok(None) };
    Resource::parse(word).map(Some).ok_or_else(|| {
        let mut checks = Checks::new();
        let words = Resource::ALL.map(Resource::as_str).join(", ");
        checks.refuse("/resource", format!("must be one of {words}"));
        checks.into_problem()
    })
}
