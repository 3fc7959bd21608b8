//! Finding issued coupons by their holder or their id, over all events.
//!
//! The embedded ledger has an index for each. On a server such an index would cost every claim the
//! more, the more coupons there are, since users and ids come in no order: there the table
//! `holders` lists the winners a while after they won, and `events.unlisted_after` says from which
//! sequence on an event's winners are not listed yet. Those are looked up event by event.

use firstcome_core::{IssuedCouponId, UserId};
use sea_orm::sea_query::{
    Condition, Expr, ExprTrait, IntoIden, JoinType, Query, SelectStatement, UnionType,
};
use sea_orm::{
    ColumnTrait, DbBackend, EntityTrait, FromQueryResult, QueryFilter, QuerySelect, QueryTrait,
    Select,
};
use uuid::Uuid;

use crate::entity::event;
use crate::entity::issued_coupon::{Column, Entity, Model};

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// All that a user holds.
    Of(&'a UserId),
    /// One, whoever holds it. Among winners that are not listed yet this reads them all.
    Id(IssuedCouponId),
}

/// An issued coupon beside what its event says of it.
#[derive(Debug, FromQueryResult)]
pub(crate) struct Row {
    #[sea_orm(nested)]
    pub(crate) issued: Model,
    pub(crate) event_id: Uuid,
    pub(crate) coupon_id: Uuid,
}

/// All issued coupons beside their events, as [`Row`]s.
pub(crate) fn with_event() -> Select<Entity> {
    let event = Entity::belongs_to(event::Entity).from(Column::EventNo).to(event::Column::No);
    Entity::find()
        .join(JoinType::InnerJoin, event.into())
        .column_as(event::Column::Id, "event_id")
        .column_as(event::Column::CouponId, "coupon_id")
}

/// The issued coupons that are wanted, as [`Row`]s.
pub(crate) fn wanted(backend: DbBackend, wanted: Wanted<'_>) -> Select<Entity> {
    let mut select = with_event();
    if backend == DbBackend::Sqlite {
        return match wanted {
            Wanted::Of(user) => select.filter(Column::UserId.eq(user.as_str())),
            Wanted::Id(id) => select.filter(Column::Id.eq(id.as_uuid())),
        };
    }
    let same = |column: &'static str| {
        Expr::col(("held", column)).equals(("issued_coupons", column))
    };
    let here = Condition::all().add(same("event_no")).add(same("sequence"));
    QueryTrait::query(&mut select).join_subquery(
        JoinType::InnerJoin,
        places(wanted),
        "held".into_iden(),
        here,
    );
    select
}

/// Event number and sequence of what is wanted, listed or not.
fn places(wanted: Wanted<'_>) -> SelectStatement {
    let is_wanted = |table: &'static str| match wanted {
        Wanted::Of(user) => Expr::col((table, "user_id")).eq(user.as_str()),
        Wanted::Id(id) => Expr::col((table, "id")).eq(id.as_uuid()),
    };
    let place = |table: &'static str| [(table, "event_no"), (table, "sequence")];
    let of_event = Expr::col(("unlisted", "event_no")).equals(("events", "no"));
    let after = Expr::col(("unlisted", "sequence")).gt(Expr::col(("events", "unlisted_after")));
    let unlisted = Query::select()
        .columns(place("unlisted"))
        .from("events")
        .join_as(
            JoinType::InnerJoin,
            "issued_coupons",
            "unlisted",
            Condition::all().add(of_event).add(after),
        )
        .and_where(Expr::col(("events", "unlisted_after")).is_not_null())
        .and_where(is_wanted("unlisted"))
        .take();
    Query::select()
        .columns(place("holders"))
        .from("holders")
        .and_where(is_wanted("holders"))
        .union(UnionType::All, unlisted)
        .take()
}
