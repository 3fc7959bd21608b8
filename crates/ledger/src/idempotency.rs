//! Calls that are made once however often they are sent (draft-ietf-httpapi-idempotency-key-header,
//! version 07): the first answer is kept in the transaction of what was made, and given again.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use firstcome_core::{Timestamp, UserId};
use futures_util::future::BoxFuture;
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};

use crate::entity::idempotency_key::{ActiveModel, Column, Entity, Model};
use crate::write::Transaction;
use crate::{Ledger, LedgerError};

/// How long an answer is kept: 24 hours.
const KEPT_MICROS: i64 = 24 * 3_600 * 1_000_000;

/// The key of a call: it belongs to its caller and the path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OnceKey {
    /// Whose token it is.
    pub caller: UserId,
    /// The path that is called.
    pub path: &'static str,
    /// What the caller chose.
    pub name: String,
    /// The SHA-256 of the body.
    pub request_hash: [u8; 32],
}

/// The answer to a call that made something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Where it is.
    pub location: String,
    /// Its `ETag`.
    pub etag: String,
    /// Itself, as JSON.
    pub body: String,
}

/// What became of a call with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Once {
    /// It was made, or had been made before: the first answer.
    Made(Made),
    /// What it needs is not there; nothing was made, and the key is as if it had not been used.
    Missing,
    /// The key came with another body before.
    Mismatch,
    /// The first call with the key is under way in this process.
    InProgress,
}

/// Caller, path and name.
type KeyOf = (UserId, &'static str, String);

/// The keys of calls that are under way in this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeysAtWork(Arc<Mutex<HashSet<KeyOf>>>);

/// A key at work, until it is dropped.
pub(crate) struct KeyAtWork {
    keys: KeysAtWork,
    key: KeyOf,
}

impl KeysAtWork {
    /// Takes the key; none while somebody has it.
    pub(crate) fn take(&self, key: &OnceKey) -> Option<KeyAtWork> {
        let key = (key.caller.clone(), key.path, key.name.clone());
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(key.clone()).then(|| KeyAtWork { keys: self.clone(), key })
    }
}

impl Drop for KeyAtWork {
    fn drop(&mut self) {
        self.keys.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl Ledger {
    /// Makes something, once for a key.
    pub(crate) async fn once<F>(&self, key: Option<OnceKey>, make: F) -> Result<Once, LedgerError>
    where
        F: Send + 'static,
        F: for<'a> FnOnce(
            &'a Self,
            &'a Transaction,
        ) -> BoxFuture<'a, Result<Option<Made>, LedgerError>>,
    {
        let ledger = self.clone();
        self.spawn(async move {
            let _at_work = match key.as_ref().map(|key| ledger.inner.keys_at_work.take(key)) {
                Some(None) => return Ok(Once::InProgress),
                taken => taken,
            };
            let write = ledger.write().await?;
            let Some(key) = key else {
                let Some(made) = make(&ledger, write.connection()).await? else {
                    return Ok(Once::Missing);
                };
                write.commit().await?;
                return Ok(Once::Made(made));
            };
            if let Some(before) = ledger.answered(write.connection(), &key).await? {
                return Ok(before);
            }
            let Some(made) = make(&ledger, write.connection()).await? else {
                return Ok(Once::Missing);
            };
            match ledger.keep_answer(write.connection(), &key, &made).await {
                // Another process was first, and has committed.
                Err(LedgerError::Duplicate) => {
                    drop(write);
                    let before = ledger.answered(ledger.reader(), &key).await?;
                    before.ok_or(LedgerError::Duplicate)
                }
                kept => {
                    kept?;
                    write.commit().await?;
                    Ok(Once::Made(made))
                }
            }
        })
        .await
    }

    /// What was answered to the key before, if anything was in the last 24 hours.
    async fn answered(
        &self,
        db: &impl ConnectionTrait,
        key: &OnceKey,
    ) -> Result<Option<Once>, LedgerError> {
        let OnceKey { caller, path, name, request_hash } = key;
        let id = (caller.as_str().to_owned(), (*path).to_owned(), name.clone());
        let Some(found) = Entity::find_by_id(id).one(db).await? else { return Ok(None) };
        if found.answered_at <= forgotten(self.inner.clock.now()) {
            return Ok(None);
        }
        let Model { request_hash: first, location, etag, body, .. } = found;
        let same = first == request_hash;
        Ok(Some(if same { Once::Made(Made { location, etag, body }) } else { Once::Mismatch }))
    }

    /// Keeps the answer, within the transaction of what was made, and forgets old ones.
    ///
    /// # Errors
    /// [`LedgerError::Duplicate`] when another process was first.
    async fn keep_answer(
        &self,
        db: &impl ConnectionTrait,
        key: &OnceKey,
        made: &Made,
    ) -> Result<(), LedgerError> {
        let now = self.inner.clock.now();
        let old = Column::AnsweredAt.lte(forgotten(now));
        Entity::delete_many().filter(old).exec(db).await?;
        let row = ActiveModel {
            caller: Set(key.caller.as_str().to_owned()),
            path: Set(key.path.to_owned()),
            name: Set(key.name.clone()),
            request_hash: Set(key.request_hash.to_vec()),
            location: Set(made.location.clone()),
            etag: Set(made.etag.clone()),
            body: Set(made.body.clone()),
            answered_at: Set(now.as_micros()),
        };
        Entity::insert(row).exec_without_returning(db).await?;
        Ok(())
    }
}

/// The last moment of answers that are kept no longer.
fn forgotten(now: Timestamp) -> i64 {
    now.as_micros() - KEPT_MICROS
}
