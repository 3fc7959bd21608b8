//! Uses of issued coupons, cancelled ones included.

use sea_orm::entity::prelude::*;

/// A row.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "redemptions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub issued_coupon_id: Uuid,
    pub order_id: String,
    pub order_amount: i64,
    pub discount_amount: i64,
    pub currency: String,
    pub redeemed_at: i64,
    pub cancelled_at: Option<i64>,
}

/// Relations are resolved by the queries.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
