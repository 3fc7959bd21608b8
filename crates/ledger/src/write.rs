//! Writing beside the claims: one transaction at a time.

use firstcome_core::EventId;
use sea_orm::DatabaseTransaction;
use tokio::sync::OwnedMutexGuard;

use crate::claim::sqlite::ClaimWriter;
use crate::in_time::InTime;
use crate::{Engine, Ledger, LedgerError};

/// Where the statements of a transaction run.
pub(crate) type Transaction = InTime<DatabaseTransaction>;

/// A transaction that writes. Dropped without [`Write::commit`], it changes nothing.
///
/// In the embedded ledger it holds the writer's turn. On a server it stands beside others, at the
/// isolation level READ COMMITTED: what it reads and then depends on it must lock first.
pub(crate) struct Write {
    transaction: Transaction,
    turn: Option<OwnedMutexGuard<ClaimWriter>>,
}

impl Write {
    /// A transaction within a turn.
    pub(crate) fn in_turn(
        transaction: DatabaseTransaction,
        turn: OwnedMutexGuard<ClaimWriter>,
    ) -> Self {
        Self { transaction: InTime::unbounded(transaction), turn: Some(turn) }
    }

    /// A transaction beside others.
    pub(crate) const fn beside(transaction: Transaction) -> Self {
        Self { transaction, turn: None }
    }

    /// Where to run the statements.
    pub(crate) const fn connection(&self) -> &Transaction {
        &self.transaction
    }

    /// Commits.
    pub(crate) async fn commit(self) -> Result<(), LedgerError> {
        Ok(self.transaction.commit().await?)
    }

    /// Commits a change of an event, which the claims after it must see.
    pub(crate) async fn commit_event(mut self, id: EventId) -> Result<(), LedgerError> {
        let committed = self.transaction.commit().await;
        if let Some(turn) = &mut self.turn {
            turn.forget_event(id);
        }
        Ok(committed?)
    }

    /// Commits a change that any event may depend on.
    pub(crate) async fn commit_all_events(mut self) -> Result<(), LedgerError> {
        let committed = self.transaction.commit().await;
        if let Some(turn) = &mut self.turn {
            turn.forget_events();
        }
        Ok(committed?)
    }
}

impl Ledger {
    /// Begins a transaction, in the embedded ledger when its turn comes. Run it in a task of its
    /// own where the caller may go away in the middle.
    pub(crate) async fn write(&self) -> Result<Write, LedgerError> {
        match &self.inner.engine {
            Engine::Embedded(embedded) => embedded.write().await,
            Engine::Server(server) => server.write().await,
        }
    }
}
