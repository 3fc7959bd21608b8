//! Identity over HTTP, in process, on a real ledger.

mod admins;
mod document;
mod input;
mod log_in;
mod me;
mod measures;
mod sign_up;
mod support;
mod token;
