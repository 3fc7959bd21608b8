//! One index where there were two: it keeps a user to one issued coupon of an event, and finds a
//! user's issued coupons. On database servers the reference to the event goes as well: the claim
//! transaction holds that row's lock, and events are never deleted.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

/// See the module.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const TABLE: &str = "issued_coupons";
/// The new index, and the two that it replaces.
const ONE: &str = "issued_coupons_user_event";
const HOLDER: &str = "issued_coupons_holder";
const USER: &str = "issued_coupons_user";

#[expect(elided_lifetimes_in_paths, reason = "as async-trait has expanded the trait")]
#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_index(index(ONE, &["user_id", "event_no"]).unique().take()).await?;
        drop_index(manager, HOLDER).await?;
        drop_index(manager, USER).await?;
        match reference(manager.get_database_backend()) {
            Some(drop) => manager.get_connection().execute_unprepared(drop).await.map(|_| ()),
            None => Ok(()),
        }
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if reference(manager.get_database_backend()).is_some() {
            let reference = ForeignKey::create().from(TABLE, "event_no").to("events", "no").take();
            manager.create_foreign_key(reference).await?;
        }
        manager.create_index(index(USER, &["user_id", "issued_at"]).take()).await?;
        manager.create_index(index(HOLDER, &["event_no", "user_id"]).unique().take()).await?;
        drop_index(manager, ONE).await
    }
}

fn index(name: &'static str, columns: &[&'static str]) -> IndexCreateStatement {
    let mut index = Index::create();
    index.name(name).table(TABLE);
    for column in columns {
        index.col(*column);
    }
    index.take()
}

async fn drop_index(manager: &SchemaManager<'_>, name: &'static str) -> Result<(), DbErr> {
    manager.drop_index(Index::drop().name(name).table(TABLE).to_owned()).await
}

/// What drops the reference to the event, by the name that the database gave it.
const fn reference(backend: DbBackend) -> Option<&'static str> {
    match backend {
        DbBackend::Postgres => {
            Some("ALTER TABLE issued_coupons DROP CONSTRAINT issued_coupons_event_no_fkey")
        }
        DbBackend::MySql => {
            Some("ALTER TABLE issued_coupons DROP FOREIGN KEY issued_coupons_ibfk_1")
        }
        _ => None,
    }
}
