//! What the OpenAPI document says of every call.
//!
//! The annotations of a call say what is its own: what it takes and gives, and as [`Refused`] the
//! refusals that its own rules make. [`complete()`] adds what follows from that: the refusals of a
//! token, a body, a list or a precondition, those that any call can have, and the headers of every
//! answer. So no call can forget them, and a client finds each `code` of each status of each call
//! with an example.
//!
//! Modules in reading order: `refused`, `complete`, `problem` (a refusal as schema and example),
//! `members` (what a code adds to it), `headers`, `words` (schemas of single values).

mod complete;
mod headers;
mod members;
mod problem;
mod refused;
mod words;

pub use complete::complete;
pub use problem::ProblemView;
pub use refused::{Refused, codes};
pub use words::{
    EmptyBody, EventStateWord, IssuedStateWord, LabelText, NameText, StrategyWord, one_of,
};
