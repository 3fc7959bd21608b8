//! The schema's history. Migrations only grow: a released one is never edited.

mod m0001_first_tables;
mod m0002_holders;
mod m0003_clients;
mod m0004_trail;
mod m0005_journal;
mod m0006_syncs;

use sea_orm_migration::prelude::*;

pub(crate) use m0002_holders::LIST_ALL;

/// Every migration, oldest first.
pub(crate) struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_first_tables::Migration),
            Box::new(m0002_holders::Migration),
            Box::new(m0003_clients::Migration),
            Box::new(m0004_trail::Migration),
            Box::new(m0005_journal::Migration),
            Box::new(m0006_syncs::Migration),
        ]
    }
}
