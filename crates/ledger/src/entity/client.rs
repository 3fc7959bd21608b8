//! Clients that admins made.

use sea_orm::entity::prelude::*;

/// A row.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "clients")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name: String,
    /// Scopes, separated by blanks.
    pub scope: String,
    /// SHA-256 of the secret.
    pub secret_hash: Vec<u8>,
    pub created_at: i64,
    /// Who was deleted stays known by name to whoever reads what it did.
    pub deleted_at: Option<i64>,
}

/// Relations are resolved by the queries.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
