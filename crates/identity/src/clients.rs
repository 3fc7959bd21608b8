//! Clients: programs that an admin lets in, as a checkout service. Each has a secret, which is
//! shown once, and buys access tokens with it at `/oauth/token`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, HeaderName};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use firstcome_core::{ClientId, Invalid, Name, Timestamp};
use firstcome_ledger::{By, ClientRecord, NewClient};
use firstcome_web::{
    AdminToken, Body, Checks, Code, Listing, NameText, Page, PathId, Problem, Refused, RequestId,
    Scopes, codes,
};
use rand::TryRngCore;
use rand::rngs::OsRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::mint::parse_scope;
use crate::{Identity, IdentityError};

/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;
/// The list, to whoever signs cursors.
const LIST: &str = "clients";

/// A client to be made.
#[derive(Deserialize, ToSchema)]
#[schema(as = CreateClient, examples(json!({"name": "checkout", "scope": "redeem"})))]
#[serde(deny_unknown_fields)]
pub struct ClientBody {
    /// What people call it.
    #[schema(value_type = NameText)]
    name: String,
    /// The most that its tokens may do: `redeem`, `admin`, or both with a space between.
    scope: String,
}

impl ClientBody {
    fn parse(&self) -> Result<(Name, Scopes), Problem> {
        let mut checks = Checks::new();
        let name = checks.field("/name", Name::parse(&self.name));
        let scope = checks.field("/scope", client_scope(&self.scope));
        name.zip(scope).ok_or_else(|| checks.into_problem())
    }
}

/// Reads the scope of a client. It is never a user: a coupon is for a person, and what a client
/// claimed would be its own.
fn client_scope(text: &str) -> Result<Scopes, Invalid> {
    let known = parse_scope(text).ok().filter(|scope| !scope.has_any(Scopes::USER));
    known.ok_or_else(|| Invalid::new("must be redeem, admin, or both with a space between"))
}

/// A client's id and secret.
#[derive(Serialize, ToSchema)]
#[schema(as = NewClient, examples(json!({
    "client_id": "0199a8e2-7c1b-7d3e-8f00-0123456789ab",
    "client_secret": "k2Rz7VtO1o3cYQbqX8dLr5uNfEwG0sJmHhTiPaCvBxU",
})))]
pub struct NewClientView {
    /// Its id, the `sub` of its tokens.
    #[schema(value_type = String, format = Uuid)]
    client_id: ClientId,
    /// What it proves itself with. It is kept nowhere and never shown again.
    #[schema(value_type = String, example = "k2Rz7VtO1o3cYQbqX8dLr5uNfEwG0sJmHhTiPaCvBxU")]
    client_secret: ClientSecret,
}

/// A client.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Client, examples(json!({
    "client_id": "0199a8e2-7c1b-7d3e-8f00-0123456789ab", "name": "checkout", "scope": "redeem",
    "created_at": "2026-11-20T02:00:00Z",
})))]
pub struct ClientView {
    /// Its id, the `sub` of its tokens.
    #[schema(value_type = String, format = Uuid)]
    client_id: ClientId,
    /// What people call it.
    #[schema(value_type = String, min_length = 1, max_length = 100)]
    name: Name,
    /// The most that its tokens may do, words apart by spaces.
    #[schema(value_type = String)]
    scope: Scopes,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl ClientView {
    fn of(client: ClientRecord) -> Self {
        let ClientRecord { id: client_id, name, scope, created_at } = client;
        Self { client_id, name, scope: Scopes::parse(&scope), created_at }
    }
}

// Without `Debug`.
/// What a client proves itself with. The ledger knows its SHA-256 only.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct ClientSecret(String);

impl ClientSecret {
    fn new() -> Result<Self, IdentityError> {
        let mut secret = [0; SECRET_BYTES];
        OsRng.try_fill_bytes(&mut secret)?;
        Ok(Self(URL_SAFE_NO_PAD.encode(secret)))
    }

    /// The secret as it was sent, whatever it is.
    pub(crate) const fn sent(text: String) -> Self {
        Self(text)
    }

    /// What the ledger keeps. The secret has 256 random bits, so that a plain digest cannot be
    /// undone.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }
}

/// Makes a client.
///
/// Its secret is shown in this answer only.
#[utoipa::path(
    post, path = "/v1/clients", operation_id = "create_client", tag = "identity",
    request_body = ClientBody, security(("bearer" = ["admin"])),
    responses(
        (status = 201, description = "Id and secret.", body = NewClientView,
            headers(("Cache-Control" = String)),
            links(("DeleteClient" = (operation_id = "delete_client",
                parameters(("client_id" = "$response.body#/client_id")))))),
    )
)]
pub async fn create(
    State(identity): State<Identity>,
    admin: AdminToken,
    request_id: RequestId,
    Body(body): Body<ClientBody>,
) -> Result<(StatusCode, [(HeaderName, &'static str); 1], Json<NewClientView>), IdentityError> {
    let (name, scope) = body.parse()?;
    let (id, client_secret) = (ClientId::from_uuid(Uuid::now_v7()), ClientSecret::new()?);
    let secret_hash = client_secret.hash();
    let new = NewClient { id, name, scope: scope.to_string(), secret_hash };
    let by = By::new(admin.subject, "create", request_id.as_str());
    identity.ledger.by(by).create_client(new).await?;
    let made = NewClientView { client_id: id, client_secret };
    Ok((StatusCode::CREATED, [(CACHE_CONTROL, "no-store")], Json(made)))
}

/// Every client, newest first.
#[utoipa::path(
    get, path = "/v1/clients", operation_id = "list_clients", tag = "identity",
    security(("bearer" = ["admin"])),
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200,
            description = "Most items on the page; 50 when it is left out."),
        ("cursor" = Option<String>, Query,
            description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page of clients.", body = Page<ClientView>))
)]
pub async fn list(
    State(identity): State<Identity>,
    _: AdminToken,
    listing: Listing,
) -> Result<Json<Page<ClientView>>, IdentityError> {
    let after: Option<Uuid> = listing.position(&identity.cursors, LIST, &[])?;
    let after = after.map(ClientId::from_uuid);
    let rows = identity.ledger.clients(after, u64::from(listing.limit) + 1).await?;
    let cursor = |last: &ClientRecord| identity.cursors.encode(LIST, &[], &last.id);
    Ok(Json(Page::of(rows, listing.limit, cursor, ClientView::of)))
}

/// Deletes a client.
///
/// It gets no more tokens; those that it has end with their time.
#[utoipa::path(
    delete, path = "/v1/clients/{client_id}", operation_id = "delete_client", tag = "identity",
    params(("client_id" = Uuid, Path)), security(("bearer" = ["admin"])),
    responses(
        (status = 204, description = "There is no such client any more."),
        Refused<{ codes(&[Code::ClientNotFound]) }>,
    )
)]
pub async fn delete(
    State(identity): State<Identity>,
    admin: AdminToken,
    request_id: RequestId,
    PathId(id): PathId<ClientId>,
) -> Result<StatusCode, IdentityError> {
    let by = By::new(admin.subject, "delete", request_id.as_str());
    if identity.ledger.by(by).delete_client(id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(PathId::<ClientId>::not_found().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_redeem_and_administer_and_is_no_user() {
        let both = Scopes::REDEEM.and(Scopes::ADMIN);
        for (text, scope) in [
            ("redeem", Some(Scopes::REDEEM)),
            ("admin", Some(Scopes::ADMIN)),
            ("redeem admin", Some(both)),
            ("admin redeem admin", Some(both)),
            ("user", None),
            ("redeem user", None),
            ("", None),
            ("redeem ", None),
            ("redeem,admin", None),
            ("Redeem", None),
        ] {
            assert_eq!(client_scope(text).ok(), scope, "{text:?}");
        }
    }

    #[test]
    fn secrets_are_long_and_new() {
        let (one, other) =
            (ClientSecret::new().expect("random"), ClientSecret::new().expect("random"));
        assert_eq!(one.0.len(), 43);
        assert_ne!(one.hash(), other.hash());
    }
}
