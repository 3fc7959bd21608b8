//! Redis: one server, a master that sentinels know, or a cluster, behind the same calls.
//!
//! Invariants:
//! - a call ends within `redis.answer_timeout_ms`, and after several without an answer at once;
//! - an error tells whether the command may have been executed;
//! - nothing that is shown or logged holds a password.
//!
//! Modules in reading order: `config` and `address` (where it is), `handle` (the calls), `error`
//! (why there is no answer), `script`, `subscription`, `inspect` (what the server is), `rights`
//! (what the user may do), `connect`, `cluster`, `link` and [`breaker`](crate::breaker) (below the
//! calls), `metrics`.

mod address;
mod breakers;
mod cluster;
mod config;
mod connect;
mod error;
mod handle;
mod inspect;
mod link;
mod metrics;
mod rights;
mod script;
mod subscription;

pub use ::redis::{Cmd, FromRedisValue, ToRedisArgs, Value, cmd};

pub use address::RedisKind;
pub use config::RedisConfig;
pub use error::{RedisError, Refusal};
pub use handle::Redis;
pub use inspect::{Judgement, RedisUse, ServerFacts};
pub use script::{Script, ScriptCall};
pub use subscription::{Heard, Subscription};
