//! Calls that are answered.

use std::sync::LazyLock;

use firstcome_cache::redis::{RedisError, Script, Value, cmd};
use firstcome_testkit::RedisServer;
use futures_util::future::join_all;

use crate::support::{get, redis, set};

/// Adds to a number; what it is then, and how many calls were executed with this one until now.
static ADD_TOGETHER: LazyLock<Script> = LazyLock::new(|| {
    Script::for_each(
        "shared.calls = (shared.calls or 0) + 1
         return { redis.call('INCRBY', KEYS[1], ARGV[1]), shared.calls }",
    )
});

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
async fn scripts_that_are_executed_together_see_each_other_and_fail_alone() {
    let server = RedisServer::start().await;
    let redis = redis(&server.url());
    set(&redis, "text", "x").await.unwrap();
    redis.run::<(u64, u64)>(&ADD_TOGETHER.call(&["n"]).arg(0)).await.unwrap();
    server.cli(&["CONFIG", "RESETSTAT"]).await;
    let key = |call| if call == 3 { "text" } else { "n" };
    let calls: Vec<_> = (0..40).map(|call| ADD_TOGETHER.call(&[key(call)]).arg(2)).collect();
    let answers = redis.run_all::<(u64, u64)>(&calls).await;
    assert_eq!(answers.len(), calls.len());
    let mut sum = 0;
    for (call, answer) in answers.into_iter().enumerate() {
        if key(call) == "n" {
            sum += 2;
            assert_eq!(answer.unwrap(), (sum, call as u64 % 32 + 1));
        } else {
            let failed = answer.unwrap_err();
            assert!(matches!(failed, RedisError::Rejected(_)), "{failed:?}");
            assert!(failed.to_string().contains("not an integer"), "{failed}");
        }
    }
    assert_eq!(server.calls_of("evalsha").await, 2);
    server.cli(&["SCRIPT", "FLUSH", "SYNC"]).await;
    let one = calls.first().expect("there are some");
    assert_eq!(redis.run::<(u64, u64)>(one).await.unwrap(), (sum + 2, 1));
    server.cli(&["SCRIPT", "FLUSH", "SYNC"]).await;
    assert!(redis.run_all::<(u64, u64)>(&calls[..2]).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn each_call_is_answered_by_its_own_script() {
    let server = RedisServer::start().await;
    let redis = redis(&server.url());
    let keys = Script::for_each("return { #KEYS, #ARGV, KEYS[#KEYS], ARGV[#ARGV] or 'none' }");
    let broken = Script::for_each("return missing.member");
    let calls = [
        keys.call(&["a"]),
        keys.call(&["b", "c"]).arg("x").arg("y"),
        broken.call(&["a"]),
        ADD.call(&["n"]).arg(1),
        keys.call(&[] as &[&str]).arg("쿠폰"),
    ];
    type Words = (u64, u64, Option<String>, String);
    let words = |(keys, arguments, key, argument): Words| {
        format!("{keys} {arguments} {} {argument}", key.unwrap_or_default())
    };
    let (first, rest) = calls.split_at(2);
    let first = redis.run_all::<Words>(first).await.into_iter().map(|it| words(it.unwrap()));
    assert_eq!(first.collect::<Vec<_>>(), ["1 0 a none", "2 2 c y"]);
    let answers = redis.run_all::<Value>(rest).await;
    let [Err(failed), Ok(Value::Int(1)), Ok(Value::Array(last))] = &answers[..] else {
        panic!("{answers:?}");
    };
    assert!(failed.to_string().contains("missing"), "{failed}");
    assert_eq!(last[..2], [Value::Int(0), Value::Int(1)]);
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
