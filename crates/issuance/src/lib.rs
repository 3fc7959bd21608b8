//! Issuance: claims are decided here, and everything that decides about them: the events'
//! lifecycle, their quantity, and the audit that counts what came of it.
//!
//! Invariants:
//! - an accepted claim is decided, whether or not anyone waits for the answer;
//! - every queue and every wait is bounded; a claim without a verdict is answered 503, and a
//!   retry of it is safe;
//! - an answer from memory is the one that the decider would have given;
//! - a change of an event is in the ledger before anything in memory follows it.
//!
//! Modules in reading order: [`routes`] (every call), [`claims`], `service` (a claim's way),
//! `latch` (answers from memory), `deciders` (whose an event is), `lane` (queue and batch),
//! [`strategy`] (who decides), [`journal`] (won claims in Kafka), [`worker`] (from there to the
//! ledger), `out_of_reach` (wins before the ledger, for who has no Redis), [`events`] with `draft`
//! and `view`, [`issued`] with `accept` and `csv`, [`audit`], `config`, `metrics`, `error`.

mod accept;
pub mod audit;
pub mod claims;
mod config;
mod csv;
mod deciders;
mod draft;
mod error;
pub mod events;
mod front;
pub mod issued;
pub mod journal;
mod lane;
mod latch;
mod metrics;
mod out_of_reach;
pub mod routes;
mod service;
pub mod strategy;
mod view;
pub mod worker;

pub use config::IssuanceConfig;
pub use deciders::Beside;
pub use error::{IssuanceError, NoVerdict, Undecided};
pub use front::{ClaimCall, front};
pub use lane::NotDrained;
pub use routes::{IssuanceState, calls, router};
pub use service::{Issuance, IssuanceHandle};
pub use strategy::{LedgerStrategy, Outcome, RedisLockStrategy, RedisStrategy, Strategy, Synced};
pub use view::AuditView;
pub use worker::{NotStopped, Worker};
