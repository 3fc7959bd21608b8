//! Writing beside the claims: one transaction at a time, in turn.

use sea_orm::{DatabaseTransaction, SqliteTransactionMode, TransactionOptions, TransactionTrait};
use tokio::sync::OwnedMutexGuard;

use crate::claim::sqlite::ClaimWriter;
use crate::{Ledger, LedgerError};
use firstcome_core::EventId;

/// A transaction that holds the writer's turn. Dropped without [`Write::commit`], it changes
/// nothing.
pub(crate) struct Write {
    transaction: DatabaseTransaction,
    turn: OwnedMutexGuard<ClaimWriter>,
}

impl Write {
    /// Where to run the statements.
    pub(crate) fn connection(&self) -> &DatabaseTransaction {
        &self.transaction
    }

    /// Commits.
    pub(crate) async fn commit(self) -> Result<(), LedgerError> {
        Ok(self.transaction.commit().await?)
    }

    /// Commits a change of an event, which the claims after it must see.
    pub(crate) async fn commit_event(mut self, id: EventId) -> Result<(), LedgerError> {
        let committed = self.transaction.commit().await;
        self.turn.forget_event(id);
        Ok(committed?)
    }

    /// Commits a change that any event may depend on.
    pub(crate) async fn commit_all_events(mut self) -> Result<(), LedgerError> {
        let committed = self.transaction.commit().await;
        self.turn.forget_events();
        Ok(committed?)
    }
}

impl Ledger {
    /// Waits for the turn and begins a transaction. Run it in a task of its own where the caller
    /// may go away in the middle.
    pub(crate) async fn write(&self) -> Result<Write, LedgerError> {
        let turn = self.inner.turn.clone().lock_owned().await;
        self.write_in(turn).await
    }

    /// Begins a transaction within a turn that is held already.
    pub(crate) async fn write_in(
        &self,
        turn: OwnedMutexGuard<ClaimWriter>,
    ) -> Result<Write, LedgerError> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let transaction = self.inner.writer.begin_with_options(options).await?;
        Ok(Write { transaction, turn })
    }
}
