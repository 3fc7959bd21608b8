//! Finding issued coupons by their holder or their id, over all events.
//!
//! The embedded ledger has an index for each. On a server such an index would cost every claim the
//! more, the more coupons there are, since users and ids come in no order: there the table
//! `holders` lists the winners a while after they won, and `events.unlisted_after` says from which
//! sequence on an event's winners are not all listed yet. Those are looked up event by event.

use firstcome_core::{EventId, IssuedCouponId, UserId};
use sea_orm::sea_query::{
    Condition, Expr, ExprTrait, JoinType, Order, Query, SelectStatement, UnionType, Value,
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
    /// What a user has won of an event.
    Claimed(EventId, &'a UserId),
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
            Wanted::Claimed(event, user) => select
                .filter(event::Column::Id.eq(event.as_uuid()))
                .filter(Column::UserId.eq(user.as_str())),
            Wanted::Id(id) => select.filter(Column::Id.eq(id.as_uuid())),
        };
    }
    let places = match wanted {
        Wanted::Of(user) => {
            let unlisted = unlisted(of_each_event(backend, user));
            listed("user_id", user.as_str().into()).union(UnionType::Distinct, unlisted).take()
        }
        Wanted::Claimed(event, user) => of_each_event(backend, user)
            .and_where(Expr::col(("events", "id")).eq(event.as_uuid()))
            .take(),
        Wanted::Id(id) => {
            let unlisted = unlisted(with_id(id));
            listed("id", id.as_uuid().into()).union(UnionType::Distinct, unlisted).take()
        }
    };
    let here = |column| Expr::col(("held", column)).equals(("issued_coupons", column));
    let here = Condition::all().add(here("event_no")).add(here("sequence"));
    QueryTrait::query(&mut select).join_subquery(JoinType::InnerJoin, places, "held", here);
    select
}

/// The places of what is listed with this value in this column.
fn listed(column: &'static str, value: Value) -> SelectStatement {
    Query::select()
        .columns(["event_no", "sequence"])
        .from("holders")
        .and_where(Expr::col(column).eq(value))
        .take()
}

/// Those of these places of `won` that are not listed yet.
fn unlisted(mut places: SelectStatement) -> SelectStatement {
    let after = Expr::col(("events", "unlisted_after"));
    places
        .and_where(after.clone().is_not_null())
        .and_where(Expr::col(("won", "sequence")).gt(after))
        .take()
}

/// The place, as `won`, of what a user has won of each event.
fn of_each_event(backend: DbBackend, user: &UserId) -> SelectStatement {
    let user = || Expr::val(user.as_str());
    let event = Expr::col(("issued_coupons", "event_no")).equals(("events", "no"));
    let holder = Expr::col(("issued_coupons", "user_id"));
    let mut places = Query::select();
    places.columns([("won", "event_no"), ("won", "sequence")]).from("events");
    if backend == DbBackend::Postgres {
        // The order by user makes it a search in the index of `(event_no, user_id)`: no old
        // statistics make the event's other index look as good.
        let search = Query::select()
            .columns(["event_no", "sequence"])
            .from("issued_coupons")
            .and_where(event)
            .and_where(holder.between(user(), user()))
            .order_by("user_id", Order::Asc)
            .limit(1)
            .take();
        places.join_lateral(JoinType::InnerJoin, search, "won", Condition::all())
    } else {
        let event = Expr::col(("won", "event_no")).equals(("events", "no"));
        let theirs = Condition::all().add(event).add(Expr::col(("won", "user_id")).eq(user()));
        places.join_as(JoinType::InnerJoin, "issued_coupons", "won", theirs)
    };
    places.take()
}

/// The place, as `won`, of the issued coupon with this id among those of each event.
fn with_id(id: IssuedCouponId) -> SelectStatement {
    let event = Expr::col(("won", "event_no")).equals(("events", "no"));
    Query::select()
        .columns([("won", "event_no"), ("won", "sequence")])
        .from("events")
        .join_as(JoinType::InnerJoin, "issued_coupons", "won", event)
        .and_where(Expr::col(("won", "id")).eq(id.as_uuid()))
        .take()
}
