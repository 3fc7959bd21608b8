//! How far the rebuilding of what another decider knows of an event is, for people to see.

use sea_orm_migration::prelude::*;

/// See the module.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Winners that were copied, and when that was written; null while nothing is rebuilt. A process of
/// the previous version leaves them alone.
const OF_EVENTS: [&str; 2] = ["sync_copied", "sync_told_at"];

#[expect(elided_lifetimes_in_paths, reason = "as async-trait has expanded the trait")]
#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in OF_EVENTS {
            let column = ColumnDef::new(column).big_integer().take();
            manager.alter_table(Table::alter().table("events").add_column(column).take()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in OF_EVENTS {
            manager.alter_table(Table::alter().table("events").drop_column(column).take()).await?;
        }
        Ok(())
    }
}
