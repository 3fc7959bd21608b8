//! The calls about coupons.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use firstcome_core::CouponId;
use firstcome_ledger::CouponRecord;
use firstcome_web::{
    AdminToken, Body, IfMatch, Listing, Page, PathId, Problem, ProblemView, Refused, etag,
};
use uuid::Uuid;

use crate::draft::{CouponBody, CouponPatch};
use crate::view::CouponView;
use crate::{Catalog, CatalogError};

/// A coupon with its `ETag`.
type Coupon = ([(HeaderName, HeaderValue); 1], Json<CouponView>);

/// Makes a coupon.
#[utoipa::path(
    post, path = "/v1/coupons", operation_id = "create_coupon", tag = "coupons",
    request_body = CouponBody, security(("bearer" = ["admin"])),
    responses(
        (status = 201, description = "The coupon.", body = CouponView,
            headers(("Location" = String), ("ETag" = String))),
        Refused<400>, Refused<401>, Refused<403>, Refused<413>, Refused<415>, Refused<422>,
        Refused<503>,
    )
)]
pub async fn create(
    State(catalog): State<Catalog>,
    _: AdminToken,
    Body(body): Body<CouponBody>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Coupon), CatalogError> {
    let id = CouponId::from_uuid(Uuid::now_v7());
    let made = catalog.ledger.create_coupon(id, body.parse()?).await?;
    let location = [(header::LOCATION, format!("/v1/coupons/{id}"))];
    Ok((StatusCode::CREATED, location, shown(made)))
}

/// Every coupon, newest first.
#[utoipa::path(
    get, path = "/v1/coupons", operation_id = "list_coupons", tag = "coupons",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query),
    ),
    responses(
        (status = 200, description = "A page of coupons.", body = Page<CouponView>),
        Refused<400>, Refused<422>, Refused<503>,
    )
)]
pub async fn list(
    State(catalog): State<Catalog>,
    listing: Listing,
) -> Result<Json<Page<CouponView>>, CatalogError> {
    let after: Option<Uuid> = listing.position(&catalog.cursors, "coupons", &[])?;
    let after = after.map(CouponId::from_uuid);
    let rows = catalog.ledger.coupons(after, u64::from(listing.limit) + 1).await?;
    let cursor = |last: &CouponRecord| catalog.cursors.encode("coupons", &[], &last.id);
    Ok(Json(Page::of(rows, listing.limit, cursor, CouponView::of)))
}

/// One coupon.
#[utoipa::path(
    get, path = "/v1/coupons/{id}", operation_id = "read_coupon", tag = "coupons",
    params(("id" = Uuid, Path)),
    responses(
        (status = 200, description = "The coupon.", body = CouponView,
            headers(("ETag" = String))),
        (status = 404, description = "`coupon_not_found`", body = ProblemView,
            content_type = "application/problem+json"),
        Refused<503>,
    )
)]
pub async fn read(
    State(catalog): State<Catalog>,
    PathId(id): PathId<CouponId>,
) -> Result<Coupon, CatalogError> {
    let found = catalog.ledger.coupon(id).await?;
    Ok(shown(found.ok_or_else(PathId::<CouponId>::not_found)?))
}

/// Changes a coupon: what is given is replaced whole, what is not stays.
///
/// Coupons issued before keep their dates; benefit and conditions count for every redemption from
/// now on.
// The precondition is told last, so that a request that could never succeed says so at once.
#[utoipa::path(
    patch, path = "/v1/coupons/{id}", operation_id = "change_coupon", tag = "coupons",
    params(("id" = Uuid, Path), ("If-Match" = String, Header)),
    request_body = CouponPatch, security(("bearer" = ["admin"])),
    responses(
        (status = 200, description = "The coupon as it is now.", body = CouponView,
            headers(("ETag" = String))),
        (status = 404, description = "`coupon_not_found`", body = ProblemView,
            content_type = "application/problem+json"),
        Refused<400>, Refused<401>, Refused<403>, Refused<412>, Refused<413>, Refused<415>,
        Refused<422>, Refused<428>, Refused<503>,
    )
)]
pub async fn change(
    State(catalog): State<Catalog>,
    _: AdminToken,
    PathId(id): PathId<CouponId>,
    if_match: Result<IfMatch, Problem>,
    Body(body): Body<CouponPatch>,
) -> Result<Coupon, CatalogError> {
    let change = body.parse()?;
    let change = |found: &CouponRecord| {
        if_match?.check(found.version)?;
        Ok::<_, Problem>(change.apply(&found.draft))
    };
    let changed = catalog.ledger.change_coupon(id, change).await?;
    Ok(shown(changed.ok_or_else(PathId::<CouponId>::not_found)??))
}

fn shown(coupon: CouponRecord) -> Coupon {
    ([(header::ETAG, etag(coupon.version))], Json(CouponView::of(coupon)))
}
