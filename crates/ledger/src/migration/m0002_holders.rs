//! How an issued coupon is found by its holder and by its id.
//!
//! The embedded ledger gets one index where there were two: it keeps a user to one issued coupon
//! of an event, and finds a user's issued coupons.
//!
//! On database servers the indexes over all events go, because each claim would pay for them the
//! more, the more coupons there are. The table `holders` is in their place: it is filled a while
//! after the claims. Of an event's winners it lists those up to `events.unlisted_after`, or all
//! where that is null. The reference to the event goes as well: the claim transaction holds that
//! row's lock, and events are never deleted.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use super::m0001_first_tables::{exact, id, number};

/// See the module.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const ISSUED: &str = "issued_coupons";
/// The indexes that there were: one for each user of an event, a user's by their age, and ids.
const HOLDER: &str = "issued_coupons_holder";
const USER: &str = "issued_coupons_user";
const ID: &str = "issued_coupons_id";
/// The one that replaces the first two in the embedded ledger.
const USER_EVENT: &str = "issued_coupons_user_event";

#[expect(elided_lifetimes_in_paths, reason = "as async-trait has expanded the trait")]
#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        if backend == DbBackend::Sqlite {
            let one = index(USER_EVENT, ISSUED, &["user_id", "event_no"]).unique().take();
            manager.create_index(one).await?;
            drop_index(manager, HOLDER).await?;
            return drop_index(manager, USER).await;
        }
        let unlisted = ColumnDef::new("unlisted_after").big_integer().take();
        manager.alter_table(Table::alter().table("events").add_column(unlisted).take()).await?;
        manager.create_index(index("events_unlisted", "events", &["unlisted_after"])).await?;
        manager.create_table(holders(backend)).await?;
        manager.get_connection().execute_unprepared(LIST_ALL).await?;
        manager.get_connection().execute_unprepared(index_of_ids(backend)).await?;
        manager.get_connection().execute_unprepared(drop_reference(backend)).await?;
        drop_index(manager, ID).await?;
        drop_index(manager, USER).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_index(index(USER, ISSUED, &["user_id", "issued_at"])).await?;
        if manager.get_database_backend() == DbBackend::Sqlite {
            let holder = index(HOLDER, ISSUED, &["event_no", "user_id"]).unique().take();
            manager.create_index(holder).await?;
            return drop_index(manager, USER_EVENT).await;
        }
        manager.create_index(index(ID, ISSUED, &["id"]).unique().take()).await?;
        let reference = ForeignKey::create().from(ISSUED, "event_no").to("events", "no").take();
        manager.create_foreign_key(reference).await?;
        manager.drop_table(Table::drop().table("holders").take()).await?;
        manager
            .drop_index(Index::drop().name("events_unlisted").table("events").to_owned())
            .await?;
        let unlisted = Table::alter().table("events").drop_column("unlisted_after").take();
        manager.alter_table(unlisted).await
    }
}

/// Lists every winner that there is.
pub(crate) const LIST_ALL: &str = "
    INSERT INTO holders (user_id, event_no, sequence, id)
    SELECT user_id, event_no, sequence, id FROM issued_coupons ORDER BY user_id, event_no";

/// Who holds what, over all events.
fn holders(backend: DbBackend) -> TableCreateStatement {
    let mut table = Table::create()
        .table("holders")
        .col(exact("user_id", 128, backend))
        .col(number("event_no"))
        .col(number("sequence"))
        .col(id("id"))
        .primary_key(Index::create().col("user_id").col("event_no"))
        .take();
    if backend == DbBackend::MySql {
        table.engine("InnoDB").character_set("utf8mb4").collate("utf8mb4_bin");
    }
    table
}

/// The index that finds a coupon by its id alone, which few ever ask for. PostgreSQL has one that
/// costs nothing to add to: [a Bloom filter for every 32 pages][1] of some 3,000 rows, 3 KB of
/// reading for each 1,000 of them. It is brought up to date by `VACUUM`; what came since is read.
///
/// [1]: https://www.postgresql.org/docs/15/brin-builtin-opclasses.html
const fn index_of_ids(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::MySql => "CREATE UNIQUE INDEX holders_id ON holders (id)",
        _ => {
            "CREATE INDEX holders_id ON holders USING brin \
             (id uuid_bloom_ops(n_distinct_per_range = 4096, false_positive_rate = 0.001)) \
             WITH (pages_per_range = 32)"
        }
    }
}

fn index(
    name: &'static str,
    table: &'static str,
    columns: &[&'static str],
) -> IndexCreateStatement {
    let mut index = Index::create();
    index.name(name).table(table);
    for column in columns {
        index.col(*column);
    }
    index.take()
}

async fn drop_index(manager: &SchemaManager<'_>, name: &'static str) -> Result<(), DbErr> {
    manager.drop_index(Index::drop().name(name).table(ISSUED).to_owned()).await
}

/// What drops the reference to the event, by the name that the database gave it.
const fn drop_reference(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::MySql => "ALTER TABLE issued_coupons DROP FOREIGN KEY issued_coupons_ibfk_1",
        _ => "ALTER TABLE issued_coupons DROP CONSTRAINT issued_coupons_event_no_fkey",
    }
}
