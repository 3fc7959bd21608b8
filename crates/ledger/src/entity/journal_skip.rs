//! Records of a journal that somebody has decided not to apply.

use sea_orm::entity::prelude::*;

/// A row.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "journal_skips")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub journal: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub journal_partition: i32,
    #[sea_orm(primary_key, auto_increment = false)]
    pub record_offset: i64,
    pub reason: String,
    /// Its bytes; none where a user in it was erased.
    pub record: Vec<u8>,
    pub skipped_at: i64,
}

/// Relations are resolved by the queries.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
