//! Coupons: benefit, conditions, validity.

use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

/// A row.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel, Serialize, Deserialize)]
#[sea_orm(table_name = "coupons")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name: String,
    /// Of a fixed benefit, the amount; of a percentage, none.
    pub amount: Option<i64>,
    pub percent: Option<i32>,
    pub max_amount: Option<i64>,
    pub currency: String,
    pub min_order_amount: i64,
    /// A JSON array of strings.
    pub product_ids: String,
    /// A JSON array of strings.
    pub category_ids: String,
    /// Of a fixed period, its start; of days after issue, none.
    pub valid_from: Option<i64>,
    pub valid_until: Option<i64>,
    pub valid_days: Option<i32>,
    pub version: i64,
    pub created_at: i64,
    pub updated_at: i64,
}

/// Relations are resolved by the queries.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
