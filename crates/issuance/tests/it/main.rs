//! Issuance over a real ledger, in process.

mod audits;
mod claims;
mod document;
mod exports;
mod input;
mod journal;
mod lanes;
mod lifecycle;
mod redis;
mod support;
mod worker;
