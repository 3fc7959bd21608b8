//! Events, and the stock that is left of them.

use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

/// A row.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel, Serialize, Deserialize)]
#[sea_orm(table_name = "events")]
pub struct Model {
    /// The ledger's own small number of the event; codes carry it.
    #[sea_orm(primary_key)]
    pub no: i64,
    #[sea_orm(unique)]
    pub id: Uuid,
    pub coupon_id: Uuid,
    pub name: String,
    pub quantity: i64,
    pub issued: i64,
    pub opens_at: i64,
    pub closes_at: i64,
    pub opened_early: bool,
    pub paused: bool,
    pub closed: bool,
    pub strategy: String,
    /// What must hold a won claim before its answer.
    pub commit_to: String,
    /// Where in the journal its wins are; none while it is in none.
    pub journal_partition: Option<i32>,
    pub epoch: i64,
    /// Wins of an older epoch that follow in the journal are void.
    pub fence: i64,
    /// Winners that its decider was told of, while that is rebuilt.
    pub sync_copied: Option<i64>,
    /// When that was written.
    pub sync_told_at: Option<i64>,
    pub version: i64,
    /// How many of its winners stand there under a pseudonym.
    pub erased: i64,
    pub created_at: i64,
    pub updated_at: i64,
}

/// Relations are resolved by the queries.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
