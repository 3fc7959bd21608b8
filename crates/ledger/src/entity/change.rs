//! What admins changed.

use sea_orm::entity::prelude::*;

/// A row; it never changes.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "changes")]
pub struct Model {
    /// A UUID of version 7: the later, the greater.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub at: i64,
    pub actor: String,
    pub action: String,
    pub resource: String,
    pub resource_id: String,
    /// JSON; none where there was nothing before.
    pub was: Option<String>,
    /// JSON; none where nothing is left.
    pub became: Option<String>,
    pub request_id: String,
}

/// Relations are resolved by the queries.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
