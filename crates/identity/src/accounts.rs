//! Accounts: signing up, and reading who one is.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use firstcome_core::{AccountId, Email, Password, Timestamp, UserId};
use firstcome_ledger::{AccountRecord, NewAccount};
use firstcome_web::{AnyToken, Body, Checks, Code, Problem, Refused, Scopes, codes};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{Identity, IdentityError};

/// E-mail address and password, as they are sent.
#[derive(Deserialize, ToSchema)]
#[schema(examples(json!({"email": "kim@example.com", "password": "correct horse battery"})))]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// At most 254 characters, as `name@example.com`; upper and lower case are the same.
    #[schema(format = "email", max_length = 254)]
    email: String,
    /// 8 to 128 characters, taken as they are.
    #[schema(format = Password, min_length = 8, max_length = 128)]
    password: String,
}

impl Credentials {
    /// What was sent, when both are well formed.
    pub(crate) fn parse(&self) -> Result<(Email, Password), Problem> {
        let mut checks = Checks::new();
        let email = checks.field("/email", Email::parse(&self.email));
        let password = checks.field("/password", Password::parse(&self.password));
        email.zip(password).ok_or_else(|| checks.into_problem())
    }
}

/// An account.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Account, examples(json!({
    "id": "0199a8e3-11aa-7bb0-8c00-0123456789ab", "email": "kim@example.com",
    "created_at": "2026-11-20T02:00:00Z",
})))]
pub struct AccountView {
    /// Its id, the `sub` of its tokens.
    #[schema(value_type = String, format = Uuid)]
    id: AccountId,
    /// The address, in lower case.
    #[schema(value_type = String, format = "email", max_length = 254)]
    email: Email,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// Whose token it is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Me, examples(json!({
    "id": "0199a8e3-11aa-7bb0-8c00-0123456789ab", "email": "kim@example.com", "scope": "user",
})))]
pub struct MeView {
    /// The token's `sub`.
    #[schema(value_type = String, pattern = "^[!-~]{1,128}$")]
    id: UserId,
    /// The account's address; null for a token of no account here.
    #[schema(value_type = Option<String>, format = "email", required = true)]
    email: Option<Email>,
    /// What the token permits, words apart by spaces.
    #[schema(value_type = String)]
    scope: Scopes,
}

/// Makes an account.
#[utoipa::path(
    post, path = "/v1/users", operation_id = "sign_up", tag = "identity",
    request_body = Credentials,
    responses(
        (status = 201, description = "The account.", body = AccountView,
            headers(("RateLimit" = String), ("RateLimit-Policy" = String))),
        Refused<{ codes(&[Code::EmailTaken]) }>,
    )
)]
pub async fn sign_up(
    State(identity): State<Identity>,
    Body(credentials): Body<Credentials>,
) -> Result<(StatusCode, Json<AccountView>), IdentityError> {
    let (email, password) = credentials.parse()?;
    let account = identity.create_account(email, password, Scopes::USER).await?;
    let AccountRecord { id, email, created_at, .. } = account.ok_or_else(|| {
        let detail = "This e-mail address has an account already; log in with its password.";
        Problem::new(Code::EmailTaken, detail)
    })?;
    Ok((StatusCode::CREATED, Json(AccountView { id, email, created_at })))
}

/// Says whose token it is, and what it permits.
#[utoipa::path(
    get, path = "/v1/me", operation_id = "read_me", tag = "identity", security(("bearer" = [])),
    responses((status = 200, description = "The bearer.", body = MeView))
)]
pub async fn me(
    State(identity): State<Identity>,
    token: AnyToken,
) -> Result<Json<MeView>, IdentityError> {
    let AnyToken { subject: id, scope, .. } = token;
    let email = identity.account_of(&id).await?.map(|account| account.email);
    Ok(Json(MeView { id, email, scope }))
}

impl Identity {
    /// Makes an account; none when the address has one.
    pub(crate) async fn create_account(
        &self,
        email: Email,
        password: Password,
        scope: Scopes,
    ) -> Result<Option<AccountRecord>, IdentityError> {
        // Spares the hash in the common case; the ledger decides.
        if self.ledger.account_by_email(&email).await?.is_some() {
            return Ok(None);
        }
        let new = NewAccount {
            id: AccountId::from_uuid(Uuid::now_v7()),
            email,
            password_hash: self.passwords.hash(password).await?,
            scope: scope.to_string(),
        };
        Ok(self.ledger.create_account(new).await?.ok())
    }

    /// The account that a token was issued for, where it was issued for one.
    async fn account_of(&self, subject: &UserId) -> Result<Option<AccountRecord>, IdentityError> {
        let Some(id) = account_id(subject) else { return Ok(None) };
        Ok(self.ledger.account(id).await?)
    }
}

/// The id of the account that a token may have been issued for.
pub(crate) fn account_id(subject: &UserId) -> Option<AccountId> {
    // A user id in upper case is another user, although it reads as the same UUID.
    AccountId::parse(subject.as_str()).filter(|id| UserId::from(*id) == *subject)
}
