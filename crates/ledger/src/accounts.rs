//! Accounts of people who signed up here.

use std::fmt;

use firstcome_core::{AccountId, Email, Timestamp};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter};

use crate::changes::Changed;
use crate::entity::account;
use crate::records::sound;
use crate::{Ledger, LedgerError};

/// The scope word that makes an account an admin's.
const ADMIN: &str = "admin";

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRecord {
    /// Its id; its text is the `sub` of the account's tokens.
    pub id: AccountId,
    /// The address that its holder signs in with.
    pub email: Email,
    /// What its tokens may do: scope words separated by blanks (RFC 6749, section 3.3).
    pub scope: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A password's hash as a PHC string. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// The hash with this PHC string.
    #[must_use]
    pub fn new(phc: String) -> Self {
        Self(phc)
    }

    /// The PHC string, for verifying.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(hidden)")
    }
}

/// An account to be made.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// Its id.
    pub id: AccountId,
    /// The address that its holder signs in with.
    pub email: Email,
    /// The hash of its password.
    pub password_hash: PasswordHash,
    /// Its scope words, separated by blanks.
    pub scope: String,
}

/// No account was made: the address has one already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the e-mail address has an account already")]
pub struct EmailTaken;

impl Ledger {
    /// Makes an account, unless its address has one.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn create_account(
        &self,
        new: NewAccount,
    ) -> Result<Result<AccountRecord, EmailTaken>, LedgerError> {
        let ledger = self.clone();
        self.spawn(async move {
            let write = ledger.write().await?;
            let row = account_row(&new, ledger.inner.clock.now());
            let inserted = account::Entity::insert(row).exec_with_returning(write.connection());
            let made = match inserted.await.map_err(LedgerError::from) {
                Ok(made) => AccountRecord::try_from(made)?,
                Err(LedgerError::Duplicate) => return Ok(Err(EmailTaken)),
                Err(error) => return Err(error),
            };
            ledger.tell(write.connection(), Changed::account(None, &made)).await?;
            write.commit().await?;
            Ok(Ok(made))
        })
        .await
    }

    /// The account with this id.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn account(&self, id: AccountId) -> Result<Option<AccountRecord>, LedgerError> {
        let row = account::Entity::find_by_id(id.as_uuid()).one(self.reader()).await?;
        row.map(AccountRecord::try_from).transpose()
    }

    /// The account with this address, beside the hash of its password.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn account_by_email(
        &self,
        email: &Email,
    ) -> Result<Option<(AccountRecord, PasswordHash)>, LedgerError> {
        let row = account::Entity::find().filter(account::Column::Email.eq(email.as_str()));
        let Some(mut row) = row.one(self.reader()).await? else { return Ok(None) };
        let hash = PasswordHash(std::mem::take(&mut row.password_hash));
        Ok(Some((row.try_into()?, hash)))
    }

    /// Whether any account is an admin's.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn any_admin(&self) -> Result<bool, LedgerError> {
        // No scope word contains another, so that a substring finds the word.
        let admin = account::Entity::find().filter(account::Column::Scope.contains(ADMIN));
        Ok(admin.one(self.reader()).await?.is_some())
    }

    /// Gives an account this scope; tokens that it has already keep theirs. None when there is no
    /// such account.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn set_scope(
        &self,
        id: AccountId,
        scope: String,
    ) -> Result<Option<AccountRecord>, LedgerError> {
        let ledger = self.clone();
        self.spawn(async move {
            let write = ledger.write().await?;
            let found = account::Entity::find_by_id(id.as_uuid());
            let Some(row) = found.one(write.connection()).await? else { return Ok(None) };
            let changed =
                account::ActiveModel { id: Set(row.id), scope: Set(scope), ..Default::default() };
            let changed = account::Entity::update(changed).exec(write.connection()).await?;
            let changed = AccountRecord::try_from(changed)?;
            let told = Changed::account(Some(&row.scope), &changed);
            ledger.tell(write.connection(), told).await?;
            write.commit().await?;
            Ok(Some(changed))
        })
        .await
    }
}

fn account_row(new: &NewAccount, now: Timestamp) -> account::ActiveModel {
    account::ActiveModel {
        id: Set(new.id.as_uuid()),
        email: Set(new.email.as_str().to_owned()),
        password_hash: Set(new.password_hash.expose().to_owned()),
        scope: Set(new.scope.clone()),
        created_at: Set(now.as_micros()),
    }
}

impl TryFrom<account::Model> for AccountRecord {
    type Error = LedgerError;

    fn try_from(row: account::Model) -> Result<Self, LedgerError> {
        Ok(Self {
            id: AccountId::from_uuid(row.id),
            email: sound(Email::parse(&row.email), "accounts.email")?,
            scope: row.scope,
            created_at: Timestamp::from_micros(row.created_at),
        })
    }
}
