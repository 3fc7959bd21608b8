//! Identity over HTTP, in process, on a real ledger.

mod admins;
mod client_tokens;
mod clients;
mod document;
mod input;
mod log_in;
mod log_out;
mod me;
mod measures;
mod sign_up;
mod support;
mod token;
