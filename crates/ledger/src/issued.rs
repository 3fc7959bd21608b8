//! Issued coupons: the holder's, the event's, and taking one back.
//!
//! Every read settles first what it is about to read, so that it sees each won claim.

use std::convert::Infallible;

use firstcome_core::{
    Code, CouponId, EventId, EventNo, IssuedCouponId, IssuedState, Label, Redemption, Sequence,
    Timestamp, UserId,
};
use futures_util::{Stream, stream};
use sea_orm::sea_query::Condition;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, FromQueryResult, JoinType, QueryFilter, QueryOrder,
    QuerySelect, RelationTrait, Select,
};

use crate::entity::issued_coupon::{ActiveModel, Column, Entity, Model};
use crate::entity::{event, issued_coupon};
use crate::records::{self, sound};
use crate::{IssuedCouponRecord, Ledger, LedgerError};

/// Rows that a stream reads at once; bounds its memory.
const STREAM_ROWS: u64 = 1_000;
