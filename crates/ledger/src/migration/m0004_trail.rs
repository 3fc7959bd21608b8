//! What admins changed, the answers to calls with an idempotency key, and which events have winners
//! who were erased.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use super::m0001_first_tables::{exact, id, number};

/// See the module.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Nobody changes what was changed. MySQL's triggers need rights that an owner of tables may not
/// have; there the run-time role's missing right to delete has to do.
const KEEP_ON_SQLITE: [&str; 2] = [
    "CREATE TRIGGER changes_keep BEFORE UPDATE ON changes
     BEGIN SELECT RAISE(ABORT, 'changes are only added to'); END",
    "CREATE TRIGGER changes_stay BEFORE DELETE ON changes
     BEGIN SELECT RAISE(ABORT, 'changes are only added to'); END",
];
const KEEP_ON_POSTGRES: [&str; 2] = [
    "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
     $$ BEGIN RAISE EXCEPTION 'changes are only added to'; END $$",
    "CREATE TRIGGER changes_keep BEFORE UPDATE OR DELETE OR TRUNCATE ON changes
     EXECUTE FUNCTION refuse_change()",
];

#[expect(elided_lifetimes_in_paths, reason = "as async-trait has expanded the trait")]
#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        for mut table in [changes(backend), idempotency_keys(backend)] {
            if backend == DbBackend::MySql {
                table.engine("InnoDB").character_set("utf8mb4").collate("utf8mb4_bin");
            }
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        let erased = number("erased").default(0).take();
        manager.alter_table(Table::alter().table("events").add_column(erased).take()).await?;
        let keep = match backend {
            DbBackend::Sqlite => &KEEP_ON_SQLITE[..],
            DbBackend::Postgres => &KEEP_ON_POSTGRES,
            _ => &[],
        };
        for statement in keep {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["changes", "idempotency_keys"] {
            manager.drop_table(Table::drop().table(table).take()).await?;
        }
        if manager.get_database_backend() == DbBackend::Postgres {
            manager.get_connection().execute_unprepared("DROP FUNCTION refuse_change").await?;
        }
        manager.alter_table(Table::alter().table("events").drop_column("erased").take()).await
    }
}

/// One row a change, in the order of their ids, which are UUIDs of version 7.
fn changes(backend: DbBackend) -> TableCreateStatement {
    Table::create()
        .table("changes")
        .col(id("id").primary_key())
        .col(number("at"))
        .col(exact("actor", 128, backend))
        .col(exact("action", 32, backend))
        .col(exact("resource", 16, backend))
        .col(exact("resource_id", 128, backend))
        .col(ColumnDef::new("was").text())
        .col(ColumnDef::new("became").text())
        .col(exact("request_id", 64, backend))
        .take()
}

fn idempotency_keys(backend: DbBackend) -> TableCreateStatement {
    Table::create()
        .table("idempotency_keys")
        .col(exact("caller", 128, backend))
        .col(exact("path", 64, backend))
        .col(exact("name", 64, backend))
        .col(ColumnDef::new("request_hash").var_binary(32).not_null())
        .col(ColumnDef::new("location").string_len(255).not_null())
        .col(ColumnDef::new("etag").string_len(64).not_null())
        .col(ColumnDef::new("body").text().not_null())
        .col(number("answered_at"))
        .primary_key(Index::create().col("caller").col("path").col("name"))
        .take()
}

fn indexes() -> Vec<IndexCreateStatement> {
    let index = |name: &'static str, table: &'static str, columns: &[&'static str]| {
        let mut index = Index::create();
        index.name(name).table(table);
        for column in columns {
            index.col(*column);
        }
        index.take()
    };
    vec![
        index("changes_actor", "changes", &["actor", "id"]),
        index("changes_resource", "changes", &["resource", "resource_id", "id"]),
        index("idempotency_keys_age", "idempotency_keys", &["answered_at"]),
    ]
}
