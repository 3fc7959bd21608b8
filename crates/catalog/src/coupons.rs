//! The calls about coupons.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use firstcome_core::CouponId;
use firstcome_ledger::{By, CouponRecord, LedgerError, Made, Once, OnceKey};
use firstcome_web::{
    AdminToken, Body, Code, IfMatch, KeyedBody, Listing, Page, PathId, Problem, Refused, RequestId,
    RequestKey, codes, created, etag,
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
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = CouponBody, security(("bearer" = ["admin"])),
    responses(
        (status = 201, description = "The coupon.", body = CouponView,
            headers(("Location" = String), ("ETag" = String)),
            links(
                ("ReadCoupon" = (operation_id = "read_coupon",
                    parameters(("id" = "$response.body#/id")))),
                ("ChangeCoupon" = (operation_id = "change_coupon", parameters(
                    ("id" = "$response.body#/id"), ("If-Match" = "$response.header.ETag")))),
            )),
    )
)]
pub async fn create(
    State(catalog): State<Catalog>,
    admin: AdminToken,
    request_id: RequestId,
    KeyedBody { body, key }: KeyedBody<CouponBody>,
) -> Result<Response, CatalogError> {
    let (id, draft) = (CouponId::from_uuid(Uuid::now_v7()), body.parse()?);
    let key = key.map(|RequestKey { name, request_hash }| OnceKey {
        caller: admin.subject.clone(),
        path: "/v1/coupons",
        name,
        request_hash,
    });
    let ledger = catalog.ledger.by(By::new(admin.subject, "create", request_id.as_str()));
    match ledger.create_coupon_once(key, id, draft, made).await? {
        Once::Made(Made { location, etag, body }) => Ok(created(location, etag, body)),
        Once::Missing => Err(PathId::<CouponId>::not_found().into()),
        Once::Mismatch => Err(RequestKey::mismatch().into()),
        Once::InProgress => Err(RequestKey::in_progress().into()),
    }
}

/// What is answered, and kept where there is a key.
fn made(coupon: CouponRecord) -> Made {
    let etag = etag(coupon.version).to_str().expect("digits in quotes").to_owned();
    let location = format!("/v1/coupons/{}", coupon.id);
    let body = serde_json::to_string(&CouponView::of(coupon)).expect("plain values serialize");
    Made { location, etag, body }
}

/// Every coupon, newest first.
#[utoipa::path(
    get, path = "/v1/coupons", operation_id = "list_coupons", tag = "coupons",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200,
            description = "Most items on the page; 50 when it is left out."),
        ("cursor" = Option<String>, Query,
            description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page of coupons.", body = Page<CouponView>))
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
        Refused<{ codes(&[Code::CouponNotFound]) }>,
    )
)]
pub async fn read(
    State(catalog): State<Catalog>,
    PathId(id): PathId<CouponId>,
) -> Result<Coupon, CatalogError> {
    let found = catalog.coupons.get(id.as_uuid(), || catalog.ledger.coupon(id)).await?;
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
        Refused<{ codes(&[Code::CouponNotFound]) }>,
    )
)]
pub async fn change(
    State(catalog): State<Catalog>,
    admin: AdminToken,
    request_id: RequestId,
    PathId(id): PathId<CouponId>,
    if_match: Result<IfMatch, Problem>,
    Body(body): Body<CouponPatch>,
) -> Result<Coupon, CatalogError> {
    let change = body.parse()?;
    let change = |found: &CouponRecord| {
        if_match?.check(found.version)?;
        Ok::<_, Problem>(change.apply(&found.draft))
    };
    let ledger = catalog.ledger.by(By::new(admin.subject, "change", request_id.as_str()));
    // To the end even if the sender goes away: who reads later must not find the old one.
    let changed = tokio::spawn(async move {
        let changed = ledger.change_coupon(id, change).await;
        if let Ok(Some(Ok(coupon))) = &changed {
            catalog.coupons.changed(coupon).await;
        }
        changed
    });
    let changed = changed.await.unwrap_or(Err(LedgerError::Closing))?;
    Ok(shown(changed.ok_or_else(PathId::<CouponId>::not_found)??))
}

fn shown(coupon: CouponRecord) -> Coupon {
    ([(header::ETAG, etag(coupon.version))], Json(CouponView::of(coupon)))
}
