//! What wins of a journal outside the ledger need to be written: how far each partition is applied,
//! which records were skipped by hand, and of an event which journal holds its wins (`commit_to`),
//! in which partition, and from which epoch on they count (`fence`).

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use super::m0001_first_tables::{exact, number};

/// See the module.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// The columns of `events`, in the order of their making.
const OF_EVENTS: [&str; 3] = ["commit_to", "journal_partition", "fence"];

#[expect(elided_lifetimes_in_paths, reason = "as async-trait has expanded the trait")]
#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        for column in of_events(backend) {
            manager.alter_table(Table::alter().table("events").add_column(column).take()).await?;
        }
        for table in tables(backend) {
            manager.create_table(table).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["journal_positions", "journal_skips"] {
            manager.drop_table(Table::drop().table(table).take()).await?;
        }
        for column in OF_EVENTS {
            manager.alter_table(Table::alter().table("events").drop_column(column).take()).await?;
        }
        Ok(())
    }
}

/// A process of the previous version makes events that the ledger itself commits.
fn of_events(backend: DbBackend) -> [ColumnDef; 3] {
    let [commit_to, partition, fence] = OF_EVENTS;
    [
        exact(commit_to, 16, backend).default("ledger").take(),
        ColumnDef::new(partition).integer().take(),
        number(fence).default(0).take(),
    ]
}

fn tables(backend: DbBackend) -> [TableCreateStatement; 2] {
    let mut tables = [positions(backend), skips(backend)];
    if backend == DbBackend::MySql {
        for table in &mut tables {
            table.engine("InnoDB").character_set("utf8mb4").collate("utf8mb4_bin");
        }
    }
    tables
}

/// The name of a journal: as long as Kafka's topics may be, and more.
fn journal(backend: DbBackend) -> ColumnDef {
    exact("journal", 255, backend)
}

fn partition() -> ColumnDef {
    ColumnDef::new("journal_partition").integer().not_null().take()
}

fn positions(backend: DbBackend) -> TableCreateStatement {
    Table::create()
        .table("journal_positions")
        .col(journal(backend))
        .col(partition())
        .col(number("next_offset"))
        .primary_key(Index::create().col("journal").col("journal_partition"))
        .check(Expr::col("next_offset").gte(0))
        .take()
}

fn skips(backend: DbBackend) -> TableCreateStatement {
    Table::create()
        .table("journal_skips")
        .col(journal(backend))
        .col(partition())
        .col(number("record_offset"))
        .col(ColumnDef::new("reason").text().not_null())
        .col(bytes("record", backend))
        .col(number("skipped_at"))
        .primary_key(Index::create().col("journal").col("journal_partition").col("record_offset"))
        .take()
}

/// As many bytes as a journal's record may have; MySQL's `blob` would be too short.
fn bytes(name: &'static str, backend: DbBackend) -> ColumnDef {
    let mut column = ColumnDef::new(name);
    match backend {
        DbBackend::MySql => column.custom("mediumblob"),
        _ => column.blob(),
    };
    column.not_null().take()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The schema as each database gets it, to be read by people when it changes.
    #[test]
    fn the_schema_in_three_dialects() {
        for backend in [DbBackend::Sqlite, DbBackend::Postgres, DbBackend::MySql] {
            let mut sql = String::new();
            for column in of_events(backend) {
                let alter = Table::alter().table("events").add_column(column).take();
                sql += &(backend.build(&alter).sql + ";\n");
            }
            for table in tables(backend) {
                sql += &(backend.build(&table).sql + ";\n");
            }
            insta::assert_snapshot!(format!("schema_{backend:?}").to_lowercase(), sql);
        }
    }
}
