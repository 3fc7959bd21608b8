//! The token endpoint (RFC 6749, section 3.2) and the published keys (RFC 7517).
//!
//! There are no clients yet: the one grant is `refresh_token`, for the sessions of
//! [`crate::sessions`]. A refresh token stays the same until its session ends.

use std::borrow::Cow;

use axum::Json;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, PRAGMA, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use firstcome_web::auth::Jwk;
use firstcome_web::{RawBody, Refused, Scopes};
use serde::Serialize;
use utoipa::ToSchema;

use crate::mint::parse_scope;
use crate::sessions::{RefreshToken, TokensView};
use crate::{Identity, IdentityError};

/// Why the token endpoint refuses (RFC 6749, section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Denial {
    /// The form lacks a parameter, repeats one, or is none.
    InvalidRequest,
    /// There is no such client.
    InvalidClient,
    /// The refresh token is none, has expired, or was revoked.
    InvalidGrant,
    /// The grant type is none that is offered.
    UnsupportedGrantType,
    /// The scope is more than was granted.
    InvalidScope,
}

/// A refusal of the token endpoint.
#[derive(Debug, Clone, Serialize, thiserror::Error, ToSchema)]
#[error("{error_description}")]
#[schema(as = OAuthError)]
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
pub struct TokenForm {
    /// `refresh_token`.
    #[schema(example = "refresh_token")]
    grant_type: String,
    /// What `/v1/sessions` gave.
    refresh_token: Option<String>,
    /// Fewer words than were granted; all of them when it is left out.
    scope: Option<String>,
    /// Who the sender says to be, by `client_id` or `client_secret`.
    #[schema(ignore)]
    client: Option<String>,
}

/// Refreshes an access token.
#[utoipa::path(
    post, path = "/oauth/token", operation_id = "refresh_token", tag = "identity",
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "A new access token.", body = TokensView),
        (status = 400, description = "Refused, as RFC 6749 has it.", body = Denied),
        (status = 401, description = "`invalid_client`: there is no such client.", body = Denied),
        Refused<413>, Refused<503>,
    )
)]
pub async fn token(
    State(identity): State<Identity>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<TokensView, IdentityError> {
    let form = TokenForm::parse(&headers, &body)?;
    form.check_client(&headers)?;
    match (form.grant_type.as_str(), form.refresh_token) {
        ("refresh_token", Some(token)) => identity.refresh(token, form.scope.as_deref()).await,
        ("refresh_token", None) => {
            Err(Denied::new(Denial::InvalidRequest, "refresh_token is missing.").into())
        }
        _ => Err(Denied::new(Denial::UnsupportedGrantType, "Use refresh_token.").into()),
    }
}

impl TokenForm {
    /// Reads the form. A parameter without a value counts as absent, an unknown one is ignored, a
    /// repeated one is refused (RFC 6749, section 3.2).
    fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, Denied> {
        let refuse = |description: &'static str| Denied::new(Denial::InvalidRequest, description);
        if !is_form(headers) {
            return Err(refuse("Send application/x-www-form-urlencoded."));
        }
        let mut seen = Vec::new();
        let (mut grant_type, mut refresh_token, mut scope) = (None, None, None);
        let (mut client_id, mut client_secret) = (None, None);
        for (name, value) in form_urlencoded::parse(body) {
            let parameter = match &*name {
                "grant_type" => &mut grant_type,
                "refresh_token" => &mut refresh_token,
                "scope" => &mut scope,
                "client_id" => &mut client_id,
                "client_secret" => &mut client_secret,
                _ => continue,
            };
            if seen.contains(&name) {
                return Err(refuse("A parameter is sent twice."));
            }
            *parameter = Some(value.into_owned()).filter(|value| !value.is_empty());
            seen.push(name);
        }
        let grant_type = grant_type.ok_or_else(|| refuse("grant_type is missing."))?;
        Ok(Self { grant_type, refresh_token, scope, client: client_id.or(client_secret) })
    }

    /// There are no clients: whoever says to be one is none.
    fn check_client(&self, headers: &HeaderMap) -> Result<(), Denied> {
        if self.client.is_none() && !headers.contains_key(AUTHORIZATION) {
            return Ok(());
        }
        let description = "There is no such client; a session needs none to refresh.";
        Err(Denied::new(Denial::InvalidClient, description))
    }
}

impl Identity {
    /// The next access token of a session, with what its account may do now, or as much of it as
    /// is asked for.
    async fn refresh(
        &self,
        token: String,
        scope: Option<&str>,
    ) -> Result<TokensView, IdentityError> {
        let refused = || Denied::new(Denial::InvalidGrant, "The refresh token is not in force.");
        let token = RefreshToken::sent(token);
        let session = self.ledger.session_by_refresh_hash(&token.hash()).await?;
        let live = session.filter(|session| session.is_live(self.clock.now()));
        let session = live.ok_or_else(refused)?;
        let account = self.ledger.account(session.account_id).await?.ok_or_else(refused)?;
        let granted = narrowed(Scopes::parse(&account.scope), scope)?;
        Ok(self.tokens(&account, granted, session.id, token))
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

fn is_form(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    media_type.is_some_and(|media_type| {
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
    })
}

/// Public keys that check access tokens.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeySet)]
pub struct KeySetView {
    /// JSON Web Keys.
    #[schema(value_type = Vec<Object>)]
    keys: Vec<Jwk>,
}

/// The public keys that check access tokens, those included that will sign soon.
///
/// None where tokens are signed with a secret (HS256).
#[utoipa::path(
    get, path = "/.well-known/jwks.json", operation_id = "read_keys", tag = "identity",
    responses((status = 200, description = "The keys.", body = KeySetView))
)]
pub async fn jwks(State(identity): State<Identity>) -> impl IntoResponse {
    let keys = identity.keys.published(identity.clock.now());
    let max_age = format!("public, max-age={}", identity.jwks_max_age_seconds);
    ([(CACHE_CONTROL, max_age)], Json(KeySetView { keys }))
}
