//! Sessions: logging in, and what it gives.

use axum::Json;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, PRAGMA};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use firstcome_core::{Email, Password, Timestamp, UserId};
use firstcome_ledger::{AccountRecord, NewSession};
use firstcome_web::{Body, Code, LogInAttempts, Problem, ProblemView, Refused, Scopes};
use rand::TryRngCore;
use rand::rngs::OsRng;
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::accounts::Credentials;
use crate::{Grant, Identity, IdentityError};

/// Random bytes of a refresh token.
const REFRESH_BYTES: usize = 32;

// Without `Debug`: all of it is secret.
/// Tokens, as RFC 6749, section 5.1, has them.
#[derive(Serialize, ToSchema)]
#[schema(as = Tokens)]
pub struct TokensView {
    /// For the header `Authorization: Bearer …`; a JWT.
    access_token: String,
    /// `Bearer`.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// How long the access token is good, in seconds.
    #[schema(example = 3600)]
    expires_in: u32,
    /// Buys the next access token at `/oauth/token`.
    #[schema(value_type = String)]
    refresh_token: RefreshToken,
    /// What the access token permits, words apart by spaces.
    #[schema(value_type = String, example = "user")]
    scope: Scopes,
}

impl IntoResponse for TokensView {
    /// Both headers are asked for by RFC 6749.
    fn into_response(self) -> Response {
        ([(CACHE_CONTROL, "no-store"), (PRAGMA, "no-cache")], Json(self)).into_response()
    }
}

/// What a session is continued with. The ledger knows its SHA-256 only.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct RefreshToken(String);

impl RefreshToken {
    fn new() -> Result<Self, IdentityError> {
        let mut secret = [0; REFRESH_BYTES];
        OsRng.try_fill_bytes(&mut secret)?;
        Ok(Self(URL_SAFE_NO_PAD.encode(secret)))
    }

    /// The token as it was sent, whatever it is.
    pub(crate) const fn sent(text: String) -> Self {
        Self(text)
    }

    /// What the ledger finds its session by. The token has 256 random bits, so that a plain digest
    /// cannot be undone.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }
}

/// Logs in.
#[utoipa::path(
    post, path = "/v1/sessions", operation_id = "log_in", tag = "identity",
    request_body = Credentials,
    responses(
        (status = 200, description = "Tokens of a new session.", body = TokensView),
        (status = 401, description = "`invalid_credentials`", body = ProblemView,
            content_type = "application/problem+json"),
        Refused<400>, Refused<413>, Refused<415>, Refused<422>, Refused<429>, Refused<503>,
    )
)]
pub async fn log_in(
    State(identity): State<Identity>,
    attempts: LogInAttempts,
    Body(credentials): Body<Credentials>,
) -> Result<TokensView, IdentityError> {
    let (email, password) = credentials.parse()?;
    let attempt = attempts.begin(&email)?;
    let account = identity.authenticate(&email, password).await?;
    attempt.end(account.is_some());
    let account = account.ok_or_else(|| {
        Problem::new(Code::InvalidCredentials, "No account has this e-mail and password.")
    })?;
    identity.begin_session(&account).await
}

impl Identity {
    /// The account with this address and password. Whether the address or the password was wrong
    /// shows neither in the answer nor in the work.
    async fn authenticate(
        &self,
        email: &Email,
        password: Password,
    ) -> Result<Option<AccountRecord>, IdentityError> {
        let (account, hash) = self.ledger.account_by_email(email).await?.unzip();
        let proven = self.passwords.verify(password, hash).await?;
        Ok(account.filter(|_| proven))
    }

    async fn begin_session(&self, account: &AccountRecord) -> Result<TokensView, IdentityError> {
        let (id, refresh_token) = (Uuid::now_v7(), RefreshToken::new()?);
        let now = self.clock.now();
        let lifetime_micros = i64::from(self.refresh_token_lifetime_seconds) * 1_000_000;
        let new = NewSession {
            id,
            account_id: account.id,
            refresh_hash: refresh_token.hash(),
            expires_at: Timestamp::from_micros(now.as_micros() + lifetime_micros),
        };
        self.ledger.create_session(new).await?;
        let scope = Scopes::parse(&account.scope);
        Ok(self.tokens(account, scope, id, refresh_token))
    }

    /// A new access token of a session, beside its refresh token.
    pub(crate) fn tokens(
        &self,
        account: &AccountRecord,
        scope: Scopes,
        session: Uuid,
        refresh_token: RefreshToken,
    ) -> TokensView {
        let expires_in = self.access_token_lifetime_seconds;
        let grant = Grant { subject: UserId::from(account.id), scope, session: Some(session) };
        let access_token = self.mint.access_token(grant, self.clock.now(), expires_in);
        TokensView { access_token, token_type: "Bearer", expires_in, refresh_token, scope }
    }
}
