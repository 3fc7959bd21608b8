//! What every HTTP service of Firstcome shares: how a request is read and how an answer is said.
//!
//! Invariants:
//! - every refusal is a [`Problem`], and every [`Problem`] carries one stable word of [`Code`];
//! - the body of a 5xx answer says nothing of the inside, whatever its cause said;
//! - a handler is given parsed values: a token that was checked, an id that has its form, JSON
//!   without an unknown or a repeated member;
//! - who asks is known from the token alone; no header names a user.
//!
//! Modules in reading order: [`problem`], [`json`], [`path`], [`listing`], [`mod@etag`],
//! [`idempotency`], [`auth`], [`clock`], [`trace`], [`limits`], [`middleware`], [`thread`],
//! [`mod@serve`], [`views`], [`mod@openapi`].

pub mod auth;
pub mod clock;
pub mod etag;
pub mod idempotency;
pub mod json;
pub mod limits;
pub mod listing;
pub mod middleware;
pub mod openapi;
pub mod path;
pub mod problem;
pub mod serve;
pub mod thread;
pub mod trace;
pub mod views;

pub use auth::{
    AccessClaims, AdminToken, AnyToken, HasVerifier, RedeemToken, Scopes, SigningAlgorithm,
    StaffToken, TokenKey, UserToken, Verifier,
};
pub use clock::SystemClock;
pub use etag::{IfMatch, etag};
pub use idempotency::{KeyedBody, RequestKey, created};
pub use json::{Body, Checks, ClaimBody, FieldError, Integer, OptionalBody, RawBody, present};
pub use limits::{Limits, LimitsConfig, LogInAttempts};
pub use listing::{CursorKey, Listing, Page};
pub use middleware::{
    EdgeOptions, Front, Fronted, RequestId, current_request_id, edge, limited_edge,
};
pub use openapi::{
    EmptyBody, EventStateWord, IssuedStateWord, LabelText, NameText, ProblemView, Refused,
};
pub use openapi::{StrategyWord, codes, complete};
pub use path::PathId;
pub use problem::{Code, Problem, with_causes};
pub use serve::{ConnectionThreads, Drained, ServeOptions, serve};
pub use thread::RuntimeThread;
pub use trace::Trace;
pub use views::{EventView, IssuedView, SyncView};
