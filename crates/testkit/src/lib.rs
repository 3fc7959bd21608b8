//! What tests need to speak with Firstcome from the outside; a dev-dependency only.
//!
//! Everything here panics with a sentence when it does not get what it expects: a test has nothing
//! better to do with an error.
//!
//! Modules in reading order: [`clock`] (a clock that stands until it is moved), [`draft`] and
//! [`body`] (values and bodies with safe defaults), [`history`] (random histories of an event, held
//! against the rule), [`token`] (access tokens, signed independently of the code under test),
//! [`answer`], [`document`] (what every answer is held against), [`api`] (a thin HTTP client),
//! [`wire`] (one connection, byte by byte), [`launch`] (how the binary is started), [`server`] (the
//! binary, running), [`database`] (a fresh database on a server of the tests), [`database_server`],
//! [`redis_server`] and [`kafka_server`] (servers that may be killed), [`program`] (another program
//! beside it), [`proxy`] (a network that breaks).

pub mod answer;
pub mod api;
pub mod body;
pub mod certificates;
pub mod clock;
pub mod database;
pub mod database_server;
pub mod document;
pub mod draft;
pub mod history;
pub mod kafka_server;
pub mod launch;
mod port;
pub mod program;
pub mod proxy;
pub mod redis_server;
pub mod server;
mod sql;
pub mod token;
pub mod wire;

pub use answer::Answer;
pub use api::Api;
pub use body::{Body, coupon_body, event_body};
pub use certificates::Certificates;
pub use clock::ManualClock;
pub use database::{Engine, TestDatabase};
pub use database_server::DatabaseServer;
pub use document::Document;
pub use kafka_server::{
    KafkaServer, kafka_brokers, kafka_configs, make_kafka_topic, remove_kafka_topic,
};
pub use launch::{Ended, Launch};
pub use port::free_port;
pub use program::Program;
pub use proxy::{CommitFault, Direction, Fuse, Proxy};
pub use redis_server::{RedisCluster, RedisServer, RedisTrio};
pub use server::Server;
pub use token::TokenMint;
pub use wire::Wire;
