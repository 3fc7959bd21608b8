//! How far the partitions of a journal are applied.

use sea_orm::entity::prelude::*;

/// A row.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "journal_positions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub journal: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub journal_partition: i32,
    /// The offset of the first record that is not applied.
    pub next_offset: i64,
}

/// Relations are resolved by the queries.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
