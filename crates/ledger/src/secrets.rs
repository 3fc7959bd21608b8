//! Keys that live in the ledger, because every process on it must use the same.

use firstcome_core::{CodeKey, PseudonymKey};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait};

use crate::entity::secret;
use crate::{Engine, Ledger, LedgerError};

/// The name of the secret that [`Keys`] are made of.
pub(crate) const CODE: &str = "code";

/// The keys of what a ledger's rows are shown as.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    /// Turns a coupon's place into its code.
    pub(crate) codes: CodeKey,
    /// Turns an erased user into a pseudonym.
    pub(crate) pseudonyms: PseudonymKey,
}

/// The keys of this ledger.
pub(crate) async fn keys(db: &impl ConnectionTrait) -> Result<Keys, LedgerError> {
    let secret = find_or_make(db, CODE).await?;
    let (codes, rest) = secret.split_first_chunk().expect("32 bytes hold 16");
    let pseudonyms = rest.first_chunk().expect("and 16 more");
    Ok(Keys { codes: CodeKey::new(*codes), pseudonyms: PseudonymKey::new(pseudonyms) })
}

pub(crate) async fn find_or_make(
    db: &impl ConnectionTrait,
    name: &str,
) -> Result<[u8; 32], LedgerError> {
    if secret::Entity::find_by_id(name).one(db).await?.is_none() {
        let made = secret::ActiveModel {
            name: Set(name.to_owned()),
            secret: Set(rand::random::<[u8; 32]>().to_vec()),
        };
        let absent = OnConflict::column(secret::Column::Name)
            .do_nothing_on([secret::Column::Name])
            .to_owned();
        secret::Entity::insert(made).on_conflict(absent).exec_without_returning(db).await?;
    }
    let found = secret::Entity::find_by_id(name).one(db).await?;
    found
        .and_then(|row| row.secret.try_into().ok())
        .ok_or_else(|| LedgerError::Corrupt(format!("the secret {name:?} has not 32 bytes")))
}

impl Ledger {
    /// A secret of 32 random bytes with this name, made when it is first asked for. It stays the
    /// same for all processes on this ledger, across restarts.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn secret(&self, name: &str) -> Result<[u8; 32], LedgerError> {
        match &self.inner.engine {
            Engine::Embedded(embedded) => embedded.secret(name).await,
            Engine::Server(server) => find_or_make(server.writer(), name).await,
        }
    }
}
