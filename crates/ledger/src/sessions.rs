//! Sessions: what a log-in begins, and what refresh tokens continue, each of them once.
//!
//! A session's refresh tokens are a family: all of them name the first. One is in force, and the
//! ledger knows the hashes of these two only, however often a session was refreshed. Whatever else
//! names the first was in force before, or was made up by somebody who has seen one that was.

use firstcome_core::{AccountId, Timestamp};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter,
    QuerySelect, sea_query::Expr,
};
use uuid::Uuid;

use crate::entity::account;
use crate::entity::session::{ActiveModel, Column, Entity, Model};
use crate::{AccountRecord, Ledger, LedgerError};

/// A session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// Its id.
    pub id: Uuid,
    /// Who signed in.
    pub account_id: AccountId,
    /// When.
    pub created_at: Timestamp,
    /// The first moment at which it refreshes no more.
    pub expires_at: Timestamp,
    /// When it was revoked, if it is.
    pub revoked_at: Option<Timestamp>,
}

impl SessionRecord {
    /// Whether its refresh token still refreshes.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && now < self.expires_at
    }
}

/// A session to be made.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Its id.
    pub id: Uuid,
    /// Who signed in; the account must exist.
    pub account_id: AccountId,
    /// The SHA-256 of the first refresh token, which is stored nowhere.
    pub refresh_hash: [u8; 32],
    /// The first moment at which it refreshes no more.
    pub expires_at: Timestamp,
}

/// A refresh token that somebody shows.
#[derive(Debug, Clone, Copy)]
pub struct ShownToken {
    /// The SHA-256 of the first token of its family.
    pub first_hash: [u8; 32],
    /// The SHA-256 of the token itself; the same for the first.
    pub hash: [u8; 32],
}

/// What became of a refresh token that was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation<T, E> {
    /// The next one is in force in its place, for what was permitted.
    Rotated(SessionRecord, T),
    /// It was not permitted; nothing was changed.
    Refused(E),
    /// It was in force before and is no more: two have it. Its session is revoked.
    Reused(SessionRecord),
    /// It has no session, or one that has ended.
    Ended,
}

impl Ledger {
    /// Begins a session, and forgets the account's sessions that have ended.
    ///
    /// # Errors
    /// When the ledger does not answer, or has no such account.
    pub async fn create_session(&self, new: NewSession) -> Result<SessionRecord, LedgerError> {
        let ledger = self.clone();
        self.spawn(async move {
            let write = ledger.write().await?;
            let now = ledger.inner.clock.now();
            let ended = Condition::any()
                .add(Column::ExpiresAt.lte(now.as_micros()))
                .add(Column::RevokedAt.is_not_null());
            Entity::delete_many()
                .filter(Column::AccountId.eq(new.account_id.as_uuid()))
                .filter(ended)
                .exec(write.connection())
                .await?;
            let inserted = Entity::insert(row(&new, now)).exec_with_returning(write.connection());
            let made = inserted.await?;
            write.commit().await?;
            Ok(made.into())
        })
        .await
    }

    /// The session whose first refresh token has this SHA-256, ended or not.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn session_by_refresh_hash(
        &self,
        refresh_hash: &[u8; 32],
    ) -> Result<Option<SessionRecord>, LedgerError> {
        let row = Entity::find().filter(Column::RefreshHash.eq(refresh_hash.to_vec()));
        Ok(row.one(self.reader()).await?.map(SessionRecord::from))
    }

    /// Puts the token with the SHA-256 `next` in the place of the one that is shown, if that is in
    /// force and `permit` grants something to the account as it is now. Of any number that show the
    /// same token at once, in any number of processes, one has the next; the others are
    /// [`Rotation::Reused`] or, after that, [`Rotation::Ended`].
    ///
    /// # Errors
    /// When the ledger does not answer. Unless the commit itself failed, nothing was changed then.
    pub async fn rotate_session<T, E>(
        &self,
        shown: ShownToken,
        next: [u8; 32],
        permit: impl FnOnce(&AccountRecord) -> Result<T, E> + Send + 'static,
    ) -> Result<Rotation<T, E>, LedgerError>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let ledger = self.clone();
        self.spawn(async move {
            let write = ledger.write().await?;
            let db = write.connection();
            // Whoever shows a token of this family waits here for its turn.
            let of_family = Column::RefreshHash.eq(shown.first_hash.to_vec());
            let found = Entity::find().filter(of_family).lock_exclusive().one(db).await?;
            let now = ledger.inner.clock.now();
            let Some(row) = found else { return Ok(Rotation::Ended) };
            let is_in_force = row.in_force() == shown.hash;
            let session = SessionRecord::from(row);
            if !session.is_live(now) {
                return Ok(Rotation::Ended);
            }
            if !is_in_force {
                revoke(db, session.id, session.account_id, now).await?;
                write.commit().await?;
                return Ok(Rotation::Reused(session));
            }
            let account = account::Entity::find_by_id(session.account_id.as_uuid()).one(db).await?;
            let Some(account) = account else { return Ok(Rotation::Ended) };
            let permitted = match permit(&account.try_into()?) {
                Ok(permitted) => permitted,
                Err(refusal) => return Ok(Rotation::Refused(refusal)),
            };
            Entity::update_many()
                .col_expr(Column::RotatedHash, Expr::value(next.to_vec()))
                .filter(Column::Id.eq(session.id))
                .exec(db)
                .await?;
            if let Err(error) = write.commit().await {
                // Whether it took effect is looked up: the token would be lost otherwise.
                if !ledger.is_in_force(session.id, next).await? {
                    return Err(error);
                }
            }
            Ok(Rotation::Rotated(session, permitted))
        })
        .await
    }

    /// Whether this is the hash of the token in force.
    async fn is_in_force(&self, id: Uuid, hash: [u8; 32]) -> Result<bool, LedgerError> {
        let row = Entity::find_by_id(id).one(self.reader()).await?;
        Ok(row.is_some_and(|row| row.in_force() == hash))
    }

    /// Ends a session of this account; an ended or unknown one, or another's, stays as it is.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn revoke_session(&self, id: Uuid, account_id: AccountId) -> Result<(), LedgerError> {
        let ledger = self.clone();
        self.spawn(async move {
            let write = ledger.write().await?;
            revoke(write.connection(), id, account_id, ledger.inner.clock.now()).await?;
            write.commit().await
        })
        .await
    }
}

/// Ends a session, unless it has been revoked before.
async fn revoke(
    db: &impl ConnectionTrait,
    id: Uuid,
    account_id: AccountId,
    now: Timestamp,
) -> Result<(), LedgerError> {
    Entity::update_many()
        .col_expr(Column::RevokedAt, Expr::value(now.as_micros()))
        .filter(Column::Id.eq(id))
        .filter(Column::AccountId.eq(account_id.as_uuid()))
        .filter(Column::RevokedAt.is_null())
        .exec(db)
        .await?;
    Ok(())
}

fn row(new: &NewSession, now: Timestamp) -> ActiveModel {
    ActiveModel {
        id: Set(new.id),
        account_id: Set(new.account_id.as_uuid()),
        refresh_hash: Set(new.refresh_hash.to_vec()),
        rotated_hash: Set(None),
        created_at: Set(now.as_micros()),
        expires_at: Set(new.expires_at.as_micros()),
        revoked_at: Set(None),
    }
}

impl Model {
    /// The hash of the refresh token in force.
    fn in_force(&self) -> &[u8] {
        self.rotated_hash.as_ref().unwrap_or(&self.refresh_hash)
    }
}

impl From<Model> for SessionRecord {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            account_id: AccountId::from_uuid(row.account_id),
            created_at: Timestamp::from_micros(row.created_at),
            expires_at: Timestamp::from_micros(row.expires_at),
            revoked_at: row.revoked_at.map(Timestamp::from_micros),
        }
    }
}
