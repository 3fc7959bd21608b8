//! Sessions: logging in, what it gives, and logging out.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, PRAGMA};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use firstcome_core::{Email, Password, Timestamp, UserId};
use firstcome_ledger::{AccountRecord, NewSession, SessionRecord, ShownToken};
use firstcome_web::{AnyToken, Body, Code, LogInAttempts, Problem, Refused, Scopes, codes};
use rand::TryRngCore;
use rand::rngs::OsRng;
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::accounts::{Credentials, account_id};
use crate::{Grant, Identity, IdentityError};

/// Random bytes of a refresh token, beside those that name its family.
const REFRESH_BYTES: usize = 32;
/// Characters that they are.
const REFRESH_CHARS: usize = 43;

// Without `Debug`: all of it is secret.
/// Tokens, as RFC 6749, section 5.1, has them.
#[derive(Serialize, ToSchema)]
#[schema(as = Tokens, examples(json!({
    "access_token": "eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJraW0ifQ.c2lnbmF0dXJl",
    "token_type": "Bearer", "expires_in": 3600, "scope": "user",
    "refresh_token": "J8p1Yb3cXq0vZ5nT2mK7sR9wL4dF6hG1aE8uC0iO3xB",
})))]
pub struct TokensView {
    /// For the header `Authorization: Bearer …`; a JWT.
    access_token: String,
    /// `Bearer`.
    #[schema(pattern = "^Bearer$")]
    token_type: &'static str,
    /// How long the access token is good, in seconds.
    #[schema(minimum = 1)]
    expires_in: u32,
    /// Buys the next tokens at `/oauth/token`, once; absent where a client asks for itself.
    #[schema(value_type = Option<String>, nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<RefreshToken>,
    /// What the access token permits, words apart by spaces.
    #[schema(value_type = String)]
    scope: Scopes,
}

impl TokensView {
    /// The answer with these tokens.
    pub(crate) const fn new(
        access_token: String,
        expires_in: u32,
        refresh_token: Option<RefreshToken>,
        scope: Scopes,
    ) -> Self {
        Self { access_token, token_type: "Bearer", expires_in, refresh_token, scope }
    }
}

impl IntoResponse for TokensView {
    /// Both headers are asked for by RFC 6749.
    fn into_response(self) -> Response {
        ([(CACHE_CONTROL, "no-store"), (PRAGMA, "no-cache")], Json(self)).into_response()
    }
}

// Without `Debug`.
/// What a session is continued with, once: `FIRST` at log-in, `FIRST.RANDOM` from then on. The
/// first part names the family, so that the ledger knows again what was used without keeping it.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct RefreshToken(String);

impl RefreshToken {
    fn first() -> Result<Self, IdentityError> {
        Ok(Self(random()?))
    }

    /// Another one of the same family.
    pub(crate) fn next(&self) -> Result<Self, IdentityError> {
        Ok(Self(format!("{}.{}", self.first_part(), random()?)))
    }

    /// The token that was sent; none when it cannot be one of ours.
    pub(crate) fn sent(text: String) -> Option<Self> {
        let is_random = |part: &str| {
            let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            part.len() == REFRESH_CHARS && part.bytes().all(alphabet)
        };
        let (first, last) = text.split_once('.').unwrap_or((&text, &text));
        (is_random(first) && is_random(last)).then_some(Self(text))
    }

    /// What the ledger finds its session by. A part has 256 random bits, so that a plain digest
    /// cannot be undone.
    pub(crate) fn shown(&self) -> ShownToken {
        let hash = |text: &str| Sha256::digest(text).into();
        ShownToken { first_hash: hash(self.first_part()), hash: hash(&self.0) }
    }

    fn first_part(&self) -> &str {
        self.0.split_once('.').map_or(&self.0, |(first, _)| first)
    }
}

/// A new secret in base64url.
fn random() -> Result<String, IdentityError> {
    let mut secret = [0; REFRESH_BYTES];
    OsRng.try_fill_bytes(&mut secret)?;
    Ok(URL_SAFE_NO_PAD.encode(secret))
}

/// Logs in.
#[utoipa::path(
    post, path = "/v1/sessions", operation_id = "log_in", tag = "identity",
    request_body = Credentials,
    responses(
        (status = 200, description = "Tokens of a new session.", body = TokensView,
            headers(("Cache-Control" = String), ("Pragma" = String), ("RateLimit" = String),
                ("RateLimit-Policy" = String))),
        Refused<{ codes(&[Code::InvalidCredentials]) }>,
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

/// Logs out: the session's refresh token buys nothing any more.
///
/// The access token is good until its time. One of no session has none to end, and is answered
/// the same.
#[utoipa::path(
    delete, path = "/v1/sessions/current", operation_id = "log_out", tag = "identity",
    security(("bearer" = [])),
    responses((status = 204, description = "The token's session refreshes no more."))
)]
pub async fn log_out(
    State(identity): State<Identity>,
    token: AnyToken,
) -> Result<StatusCode, IdentityError> {
    let session = token.session.as_deref().and_then(|id| Uuid::parse_str(id).ok());
    if let Some((session, account)) = session.zip(account_id(&token.subject)) {
        identity.ledger.revoke_session(session, account).await?;
    }
    Ok(StatusCode::NO_CONTENT)
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
        let (id, refresh_token) = (Uuid::now_v7(), RefreshToken::first()?);
        let now = self.clock.now();
        let lifetime_micros = i64::from(self.refresh_token_lifetime_seconds) * 1_000_000;
        let new = NewSession {
            id,
            account_id: account.id,
            refresh_hash: refresh_token.shown().hash,
            expires_at: Timestamp::from_micros(now.as_micros() + lifetime_micros),
        };
        let session = self.ledger.create_session(new).await?;
        Ok(self.tokens(&session, Scopes::parse(&account.scope), refresh_token))
    }

    /// A new access token of a session, beside its refresh token.
    pub(crate) fn tokens(
        &self,
        session: &SessionRecord,
        scope: Scopes,
        refresh_token: RefreshToken,
    ) -> TokensView {
        let expires_in = self.access_token_lifetime_seconds;
        let subject = UserId::from(session.account_id);
        let grant = Grant { subject, scope, session: Some(session.id) };
        let access_token = self.mint.access_token(grant, self.clock.now(), expires_in);
        TokensView::new(access_token, expires_in, Some(refresh_token), scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_the_first_of_its_family_and_nothing_else_is_one() {
        let first = RefreshToken::first().expect("random");
        let (second, third) = (first.next().expect("random"), first.next().expect("random"));
        assert_ne!(second.0, third.0);
        let after = second.next().expect("random");
        for token in [&first, &second, &third, &after] {
            assert_eq!(token.shown().first_hash, first.shown().hash);
            let sent = RefreshToken::sent(token.0.clone()).expect("one of ours");
            assert_eq!(sent.shown().hash, token.shown().hash);
        }
        let (one, two) = (first.0.as_str(), second.0.as_str());
        for other in [
            "",
            ".",
            "토큰",
            &one[1..],
            &format!("{one}."),
            &format!("{one}x"),
            &format!(".{one}"),
            &format!("{one}.{one}.{one}"),
            &format!("{two} "),
            &format!(" {two}"),
            &two[..two.len() - 1],
            &format!("{one}.{}", "+".repeat(43)),
        ] {
            assert!(RefreshToken::sent(other.to_owned()).is_none(), "{other}");
        }
    }
}
