//! The schema's history. Migrations only grow: a released one is never edited.

mod m0001_first_tables;
mod m0002_one_index_for_holders;

use sea_orm_migration::prelude::*;

/// Every migration, oldest first.
pub(crate) struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_first_tables::Migration),
            Box::new(m0002_one_index_for_holders::Migration),
        ]
    }
}
