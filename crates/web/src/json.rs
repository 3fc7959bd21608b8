//! Reading JSON bodies, strictly.
//!
//! A body goes through three gates, each a module: `body` reads bytes within a limit, `strict`
//! makes a tree of them and refuses what JSON leaves open (repeated members, depth), `decode` makes
//! a value of the tree and names by JSON pointer what does not fit. The rules of single values are
//! `parse` functions of `firstcome_core`; [`Checks`] collects their refusals.

mod body;
mod checks;
mod decode;
mod strict;

pub use body::{BODY_BYTES_MAX, Body, CLAIM_BODY_BYTES_MAX, ClaimBody, OptionalBody, RawBody};
pub use checks::{Checks, FieldError};
pub use decode::{Integer, present};
