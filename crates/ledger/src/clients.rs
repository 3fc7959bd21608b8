//! Clients: programs that admins let in, as a checkout service.

use firstcome_core::{ClientId, Name, Timestamp};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::Expr,
};

use crate::changes::Changed;
use crate::entity::client::{ActiveModel, Column, Entity, Model};
use crate::records::sound;
use crate::{Ledger, LedgerError};

/// A client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRecord {
    /// Its id; its text is the `sub` of the client's tokens.
    pub id: ClientId,
    /// What people call it.
    pub name: Name,
    /// The most that its tokens may do: scope words separated by blanks.
    pub scope: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A client to be made.
#[derive(Debug, Clone)]
pub struct NewClient {
    /// Its id.
    pub id: ClientId,
    /// What people call it.
    pub name: Name,
    /// Its scope words, separated by blanks.
    pub scope: String,
    /// The SHA-256 of its secret, which is stored nowhere.
    pub secret_hash: [u8; 32],
}

impl Ledger {
    /// Makes a client.
    ///
    /// # Errors
    /// When the ledger does not answer; [`LedgerError::Duplicate`] when the id is taken.
    pub async fn create_client(&self, new: NewClient) -> Result<ClientRecord, LedgerError> {
        let ledger = self.clone();
        self.spawn(async move {
            let write = ledger.write().await?;
            let NewClient { id, name, scope, secret_hash } = new;
            let made = ClientRecord { id, name, scope, created_at: ledger.inner.clock.now() };
            let row = ActiveModel {
                id: Set(made.id.as_uuid()),
                name: Set(made.name.as_str().to_owned()),
                scope: Set(made.scope.clone()),
                secret_hash: Set(secret_hash.to_vec()),
                created_at: Set(made.created_at.as_micros()),
                deleted_at: Set(None),
            };
            Entity::insert(row).exec_without_returning(write.connection()).await?;
            ledger.tell(write.connection(), Changed::client(None, Some(&made), made.id)).await?;
            write.commit().await?;
            Ok(made)
        })
        .await
    }

    /// The client with this id, beside the SHA-256 of its secret; none when it was deleted.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn client(
        &self,
        id: ClientId,
    ) -> Result<Option<(ClientRecord, [u8; 32])>, LedgerError> {
        let found = Entity::find_by_id(id.as_uuid()).filter(Column::DeletedAt.is_null());
        let Some(mut row) = found.one(self.reader()).await? else { return Ok(None) };
        let hash = std::mem::take(&mut row.secret_hash);
        let hash = sound(<[u8; 32]>::try_from(hash), "clients.secret_hash")?;
        Ok(Some((row.try_into()?, hash)))
    }

    /// A page of at most `limit` clients, newest first, from below `after`.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn clients(
        &self,
        after: Option<ClientId>,
        limit: u64,
    ) -> Result<Vec<ClientRecord>, LedgerError> {
        let mut select = Entity::find().filter(Column::DeletedAt.is_null());
        if let Some(after) = after {
            select = select.filter(Column::Id.lt(after.as_uuid()));
        }
        let rows = select.order_by_desc(Column::Id).limit(limit).all(self.reader()).await?;
        rows.into_iter().map(ClientRecord::try_from).collect()
    }

    /// Deletes a client: its secret proves nothing from now on. Answers whether there was one.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn delete_client(&self, id: ClientId) -> Result<bool, LedgerError> {
        let ledger = self.clone();
        self.spawn(async move {
            let write = ledger.write().await?;
            let db = write.connection();
            let found = Entity::find_by_id(id.as_uuid()).filter(Column::DeletedAt.is_null());
            let Some(row) = found.lock_exclusive().one(db).await? else { return Ok(false) };
            let now = ledger.inner.clock.now().as_micros();
            Entity::update_many()
                .col_expr(Column::DeletedAt, Expr::value(now))
                .filter(Column::Id.eq(id.as_uuid()))
                .exec(db)
                .await?;
            let before = ClientRecord::try_from(row)?;
            ledger.tell(db, Changed::client(Some(&before), None, id)).await?;
            write.commit().await?;
            Ok(true)
        })
        .await
    }
}

impl TryFrom<Model> for ClientRecord {
    type Error = LedgerError;

    fn try_from(row: Model) -> Result<Self, LedgerError> {
        Ok(Self {
            id: ClientId::from_uuid(row.id),
            name: sound(Name::parse(&row.name), "clients.name")?,
            scope: row.scope,
            created_at: Timestamp::from_micros(row.created_at),
        })
    }
}
