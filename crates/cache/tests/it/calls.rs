//! Calls that are answered.

use std::sync::LazyLock;

use firstcome_cache::redis::{RedisError, Script, cmd};
use firstcome_testkit::RedisServer;
use futures_util::future::join_all;

use crate::support::{get, redis, set};

static ADD: LazyLock<Script> =
    LazyLock::new(|| Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])"));

#[tokio::test]
async fn a_call_is_answered_as_its_type() {
    let server = RedisServer::start().await;
    let redis = redis(&server.url());
    set(&redis, "a", "1").await.unwrap();
    assert_eq!(get(&redis, "a").await.unwrap().as_deref(), Some("1"));
    assert_eq!(get(&redis, "b").await.unwrap(), None);
    assert_eq!(redis.call::<u64>(cmd("INCR").arg("a")).await.unwrap(), 2);
}

#[tokio::test]
async fn many_calls_share_one_connection() {
    let server = RedisServer::start().await;
    let redis = redis(&server.url());
    let calls = (0..500).map(|_| async { redis.call::<u64>(cmd("INCR").arg("n")).await.unwrap() });
    let mut answers = join_all(calls).await;
    answers.sort_unstable();
    assert!(answers.into_iter().eq(1..=500));
    let clients = server.cli(&["CLIENT", "LIST"]).await;
    assert_eq!(clients.lines().filter(|line| !line.contains("cmd=client")).count(), 1, "{clients}");
}

#[tokio::test]
async fn a_script_survives_a_flush_of_the_scripts() {
    let server = RedisServer::start().await;
    let redis = redis(&server.url());
    let add = |number: u64| ADD.call(&["{e}:n"]).arg(number);
    for expected in [3, 6] {
        assert_eq!(redis.run::<u64>(&add(3)).await.unwrap(), expected);
    }
    let known = server.cli(&["SCRIPT", "EXISTS", ADD.digest()]).await;
    assert_eq!(known, "1", "the server knows it by the digest that we call it by");
    server.cli(&["SCRIPT", "FLUSH", "SYNC"]).await;
    for expected in [10, 14] {
        assert_eq!(redis.run::<u64>(&add(4).arg("spare")).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn scripts_that_run_together_are_answered_each() {
    let server = RedisServer::start().await;
    let redis = redis(&server.url());
    set(&redis, "text", "x").await.unwrap();
    let calls = ["a", "text", "b"].map(|key| ADD.call(&[key]).arg(2));
    for expected in [2, 4, 6] {
        let answers = redis.run_all::<u64>(&calls).await;
        let [Ok(first), Err(RedisError::Rejected(failed)), Ok(last)] = &answers[..] else {
            panic!("{answers:?}");
        };
        assert_eq!((*first, *last), (expected, expected));
        assert!(failed.contains("not an integer"), "{failed}");
        server.cli(&["SCRIPT", "FLUSH", "SYNC"]).await;
    }
    assert!(redis.run_all::<u64>(&[]).await.is_empty());
}

#[tokio::test]
async fn an_error_of_the_call_itself_is_rejected_with_the_servers_words() {
    let server = RedisServer::start().await;
    let redis = redis(&server.url());
    set(&redis, "text", "x").await.unwrap();
    let failed = redis.call::<u64>(cmd("INCR").arg("text")).await.unwrap_err();
    assert!(matches!(failed, RedisError::Rejected(_)), "{failed:?}");
    assert!(failed.to_string().contains("not an integer"), "{failed}");
    let script = Script::new("return redis.call('NO-SUCH-COMMAND')");
    let failed = redis.run::<u64>(&script.call(&["a"])).await.unwrap_err();
    assert!(matches!(failed, RedisError::Rejected(_)), "{failed:?}");
}
