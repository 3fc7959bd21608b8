//! Clients, and refresh tokens that are used once.
//!
//! `sessions.refresh_hash` stays what it was, the SHA-256 of a session's first refresh token: every
//! later one names the first, so that the row is found by it however many there were.
//! `rotated_hash` is that of the one in force; null while that is the first. It has no index:
//! a refresh changes nothing but the row.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use super::m0001_first_tables::{id, number};

/// See the module.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[expect(elided_lifetimes_in_paths, reason = "as async-trait has expanded the trait")]
#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(clients(manager.get_database_backend())).await?;
        manager.alter_table(rotation()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let rotation = Table::alter().table("sessions").drop_column("rotated_hash").take();
        manager.alter_table(rotation).await?;
        manager.drop_table(Table::drop().table("clients").take()).await
    }
}

fn clients(backend: DbBackend) -> TableCreateStatement {
    let mut table = Table::create()
        .table("clients")
        .col(id("id").primary_key())
        .col(ColumnDef::new("name").string_len(100).not_null())
        .col(ColumnDef::new("scope").string_len(255).not_null())
        .col(ColumnDef::new("secret_hash").var_binary(32).not_null())
        .col(number("created_at"))
        .col(ColumnDef::new("deleted_at").big_integer())
        .take();
    if backend == DbBackend::MySql {
        table.engine("InnoDB").character_set("utf8mb4").collate("utf8mb4_bin");
    }
    table
}

fn rotation() -> TableAlterStatement {
    let rotated = ColumnDef::new("rotated_hash").var_binary(32).take();
    Table::alter().table("sessions").add_column(rotated).take()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The schema as each database gets it, to be read by people when it changes.
    #[test]
    fn the_schema_in_three_dialects() {
        for backend in [DbBackend::Sqlite, DbBackend::Postgres, DbBackend::MySql] {
            let (clients, rotation) =
                (backend.build(&clients(backend)), backend.build(&rotation()));
            let sql = format!("{};\n{};\n", clients.sql, rotation.sql);
            insta::assert_snapshot!(format!("schema_{backend:?}").to_lowercase(), sql);
        }
    }
}
