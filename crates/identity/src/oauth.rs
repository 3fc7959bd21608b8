//! The token endpoint (RFC 6749, section 3.2) and the published keys (RFC 7517).
//!
//! Two grants: `refresh_token` continues a session of [`crate::sessions`], which is no client's;
//! `client_credentials` is for the clients of [`crate::clients`]. In reading order: this file,
//! `form` (what was sent), `proof` (which client sent it).

mod form;
mod proof;

use std::borrow::Cow;

use axum::Json;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, PRAGMA, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use firstcome_ledger::{AccountRecord, ClientRecord, Rotation};
use firstcome_web::auth::Jwk;
use firstcome_web::{RawBody, Scopes};
use serde::Serialize;
use utoipa::ToSchema;

use crate::mint::parse_scope;
use crate::sessions::{RefreshToken, TokensView};
use crate::{Identity, IdentityError};

use form::{GrantAsked, TokenForm};
use proof::Proof;

/// Why the token endpoint refuses (RFC 6749, section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Denial {
    /// The form lacks a parameter, repeats one, or is none; or a client proves itself twice.
    InvalidRequest,
    /// No client has this id and secret, or the client's proof is missing.
    InvalidClient,
    /// The refresh token is none, was used before, has expired, or was revoked.
    InvalidGrant,
    /// The grant type is none that is offered.
    UnsupportedGrantType,
    /// The scope is more than can be granted.
    InvalidScope,
}

/// A refusal of the token endpoint.
#[derive(Debug, Clone, Serialize, thiserror::Error, ToSchema)]
#[error("{error_description}")]
#[schema(as = OAuthError, examples(json!({
    "error": "invalid_grant", "error_description": "The refresh token is not in force.",
})))]
pub struct Denied {
    error: Denial,
    /// A sentence for the developer.
    #[schema(value_type = String)]
    error_description: Cow<'static, str>,
}

impl Denied {
    fn new(error: Denial, description: impl Into<Cow<'static, str>>) -> Self {
        Self { error, error_description: description.into() }
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let no_store = [(CACHE_CONTROL, "no-store"), (PRAGMA, "no-cache")];
        if self.error == Denial::InvalidClient {
            let challenge = [(WWW_AUTHENTICATE, "Basic realm=\"firstcome\"")];
            return (StatusCode::UNAUTHORIZED, no_store, challenge, Json(self)).into_response();
        }
        (StatusCode::BAD_REQUEST, no_store, Json(self)).into_response()
    }
}

/// What is asked of the token endpoint.
#[derive(ToSchema)]
#[schema(as = TokenRequest)]
#[serde(untagged)]
pub enum TokenRequest {
    /// The next tokens of a session.
    Session(RefreshRequest),
    /// An access token of a client.
    Client(ClientRequest),
}

/// The next tokens of a session. No client proves itself here.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema; the form is read by hand")]
pub struct RefreshRequest {
    // Without a description: it would be a second type.
    #[schema(inline)]
    grant_type: RefreshGrant,
    /// The last one that the session was given. It buys once.
    refresh_token: String,
    /// Fewer words than were granted; all of them when it is left out.
    #[schema(nullable = false, example = "user")]
    scope: Option<String>,
}

/// An access token of a client, which proves itself by HTTP Basic or by `client_id` and
/// `client_secret` here, never both.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema; the form is read by hand")]
pub struct ClientRequest {
    #[schema(inline)]
    grant_type: ClientGrant,
    /// The client's id.
    #[schema(nullable = false)]
    client_id: Option<String>,
    /// Its secret.
    #[schema(nullable = false)]
    client_secret: Option<String>,
    /// Fewer words than the client has; all of them when it is left out.
    #[schema(nullable = false, example = "redeem")]
    scope: Option<String>,
}

#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "a schema; the form is read by hand")]
enum RefreshGrant {
    RefreshToken,
}

#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "a schema; the form is read by hand")]
enum ClientGrant {
    ClientCredentials,
}

/// Gives tokens: the next ones of a session, or one to a client.
///
/// A refresh token buys once; the answer has the next one. One that was used before ends its
/// session, for two have it.
#[utoipa::path(
    post, path = "/oauth/token", operation_id = "get_token", tag = "identity",
    request_body(
        content = TokenRequest, content_type = "application/x-www-form-urlencoded",
        examples(
            ("refresh_token" = (summary = "The next tokens of a session.", value = json!({
                "grant_type": "refresh_token",
                "refresh_token": "x0pmBhUgTBXu2FJ6mRkCQYCmQ9W1Bf0eGqE4iVwTzVY"
            }))),
            ("client_credentials" = (summary = "A client's access token.", value = json!({
                "grant_type": "client_credentials",
                "client_id": "0199a8e2-7c1b-7d3e-8f00-0123456789ab",
                "client_secret": "k2Rz7VtO1o3cYQbqX8dLr5uNfEwG0sJmHhTiPaCvBxU",
                "scope": "redeem"
            })))
        )
    ),
    security((), ("client" = [])),
    responses(
        (status = 200, description = "Tokens.", body = TokensView,
            headers(("Cache-Control" = String), ("Pragma" = String), ("RateLimit" = String),
                ("RateLimit-Policy" = String))),
        (status = 400, description = "Refused, as RFC 6749 has it.", body = Denied,
            headers(("Cache-Control" = String),
                ("Pragma" = String)),
            example = json!({"error": "invalid_grant",
                "error_description": "The refresh token is not in force."})),
        (status = 401, description = "`invalid_client`: the client is not proven.", body = Denied,
            headers(("Cache-Control" = String),
                ("Pragma" = String),
                ("WWW-Authenticate" = String)),
            example = json!({"error": "invalid_client",
                "error_description": "No client has this id and secret."})),
    )
)]
pub async fn token(
    State(identity): State<Identity>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<TokensView, IdentityError> {
    let mut form = TokenForm::parse(&headers, &body)?;
    let client = identity.proven(Proof::of(&headers, &mut form)?).await?;
    identity.grant(form, client.as_ref()).await
}

impl Identity {
    /// What is asked for, when whoever asks may.
    async fn grant(
        &self,
        form: TokenForm,
        client: Option<&ClientRecord>,
    ) -> Result<TokensView, IdentityError> {
        let denied = |error, description| Err(Denied::new(error, description).into());
        match (form.grant, client) {
            (GrantAsked::RefreshToken(token), None) => self.refresh(token, form.scope).await,
            (GrantAsked::RefreshToken(_), Some(_)) => denied(
                Denial::InvalidGrant,
                "No refresh token is a client's: send it without a client.",
            ),
            (GrantAsked::ClientCredentials, Some(client)) => {
                Ok(self.grant_to(client, form.scope.as_deref())?)
            }
            (GrantAsked::ClientCredentials, None) => denied(
                Denial::InvalidClient,
                "client_credentials needs the client's id and secret.",
            ),
        }
    }

    /// The next tokens of a session, with what its account may do now, or as much of it as is
    /// asked for. The refresh token that was shown is used up by it.
    async fn refresh(
        &self,
        token: Option<RefreshToken>,
        scope: Option<String>,
    ) -> Result<TokensView, IdentityError> {
        let refused = || Denied::new(Denial::InvalidGrant, "The refresh token is not in force.");
        let token = token.ok_or_else(refused)?;
        let shown = token.shown();
        // Most of what is refused is refused here, without a turn and without a write.
        let session = self.ledger.session_by_refresh_hash(&shown.first_hash).await?;
        session.filter(|session| session.is_live(self.clock.now())).ok_or_else(refused)?;

        let turn = self.refreshes.wait().await;
        let next = token.next()?;
        let permit = move |account: &AccountRecord| {
            let granted = narrowed(Scopes::parse(&account.scope), scope.as_deref())?;
            // The turn goes with the write: a client that goes away does not free it earlier.
            Ok::<_, Denied>((granted, turn))
        };
        match self.ledger.rotate_session(shown, next.shown().hash, permit).await? {
            Rotation::Rotated(session, (granted, _)) => Ok(self.tokens(&session, granted, next)),
            Rotation::Refused(denied) => Err(denied.into()),
            Rotation::Reused(session) => {
                let session = session.id;
                tracing::warn!(%session, "a used refresh token came again: its session is ended");
                Err(refused().into())
            }
            Rotation::Ended => Err(refused().into()),
        }
    }

    /// An access token for a client's own sake. It comes without a refresh token, which would be
    /// no more than the secret is (RFC 6749, section 4.4.3).
    fn grant_to(&self, client: &ClientRecord, scope: Option<&str>) -> Result<TokensView, Denied> {
        let scope = narrowed(Scopes::parse(&client.scope), scope)?;
        let expires_in = self.access_token_lifetime_seconds;
        let now = self.clock.now();
        let access_token = self.mint.client_token(client.id, scope, now, expires_in);
        Ok(TokensView::new(access_token, expires_in, None, scope))
    }
}

/// The scope that was asked for, when it is within what may be granted.
fn narrowed(granted: Scopes, asked: Option<&str>) -> Result<Scopes, Denied> {
    let Some(asked) = asked else { return Ok(granted) };
    let within = parse_scope(asked).ok().filter(|asked| granted.and(*asked) == granted);
    within.ok_or_else(|| {
        Denied::new(Denial::InvalidScope, format!("At most {granted} can be granted."))
    })
}

/// Public keys that check access tokens.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeySet, examples(json!({"keys": [
    {"kty": "EC", "kid": "k1", "use": "sig", "alg": "ES256", "crv": "P-256",
     "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
     "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
]})))]
pub struct KeySetView {
    /// JSON Web Keys.
    keys: Vec<Jwk>,
}

/// The public keys that check access tokens, those included that will sign soon.
///
/// None where tokens are signed with a secret (HS256).
#[utoipa::path(
    get, path = "/.well-known/jwks.json", operation_id = "read_keys", tag = "identity",
    responses((status = 200, description = "The keys.", body = KeySetView,
        headers(("Cache-Control" = String))))
)]
pub async fn jwks(State(identity): State<Identity>) -> impl IntoResponse {
    let keys = identity.keys.published(identity.clock.now());
    let max_age = format!("public, max-age={}", identity.jwks_max_age_seconds);
    ([(CACHE_CONTROL, max_age)], Json(KeySetView { keys }))
}
