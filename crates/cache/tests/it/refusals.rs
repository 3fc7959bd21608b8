//! Servers that do not do what they are asked: each says what is wrong and which setting helps.

use std::sync::LazyLock;

use firstcome_cache::redis::{Redis, RedisConfig, RedisError, RedisKind, Refusal, Script, Value};
use firstcome_testkit::{RedisCluster, RedisServer};

use crate::support::{redis, redis_as, set, until};

/// Scripts that set a key, by themselves and together with others.
static SETS: LazyLock<[Script; 2]> = LazyLock::new(|| {
    let set = "return redis.call('SET', KEYS[1], 'x')";
    [Script::new(set), Script::for_each(set)]
});

/// Sets a key, which must be refused for this reason, in a sentence with this part.
async fn assert_refused(redis: &Redis, refusal: Refusal, part: &str) {
    let refused = set(redis, "key", "value").await.unwrap_err();
    assert_eq!(refused.refusal(), Some(refusal), "{refused}");
    assert!(refused.to_string().contains(part), "{refused}");
}

#[tokio::test]
async fn full_memory_is_told() {
    let server = RedisServer::start_with(&["--maxmemory", "100kb"]).await;
    let redis = redis(&server.url());
    assert_refused(&redis, Refusal::OutOfMemory, "`maxmemory`").await;
    for script in SETS.iter() {
        let refused = redis.run::<Value>(&script.call(&["key"])).await.unwrap_err();
        assert_eq!(refused.refusal(), Some(Refusal::OutOfMemory), "{refused}");
    }
    assert!(!redis.is_silent(), "a server that answers is there");
}

#[tokio::test]
async fn a_replica_is_told_and_what_it_becomes_is_seen() {
    let master = RedisServer::start().await;
    let (host, port) = ("127.0.0.1", master.authority().split_off("127.0.0.1:".len()));
    let server = RedisServer::start_with(&["--replicaof", host, &port]).await;
    let redis = redis(&server.url());
    assert_refused(&redis, Refusal::ReadOnly, "must name the master").await;
    for script in SETS.iter() {
        let calls = ["a", "b"].map(|key| script.call(&[key]));
        for refused in redis.run_all::<Value>(&calls).await {
            let refused = refused.unwrap_err();
            assert_eq!(refused.refusal(), Some(Refusal::ReadOnly), "{refused}");
        }
    }
    server.cli(&["REPLICAOF", "NO", "ONE"]).await;
    until("it takes writes", async || set(&redis, "key", "value").await.is_ok()).await;
}

#[tokio::test]
async fn a_server_that_serves_nobody_is_left_alone() {
    let mut master = RedisServer::start().await;
    let (host, port) = ("127.0.0.1", master.authority().split_off("127.0.0.1:".len()));
    master.kill9();
    let away = ["--replicaof", host, &port, "--replica-serve-stale-data", "no"];
    let server = RedisServer::start_with(&away).await;
    let redis = redis(&server.url());
    let script = Script::new("return redis.call('GET', KEYS[1])");
    let calls = ["a", "b"].map(|key| script.call(&[key]));
    // Where the server does not know the script yet, it is called once more, and that counts too.
    for _ in 0..RedisConfig::default().breaker_failures {
        if redis.is_silent() {
            break;
        }
        for refused in redis.run_all::<Option<String>>(&calls).await {
            let refused = refused.unwrap_err();
            assert_eq!(refused.refusal(), Some(Refusal::MasterDown), "{refused}");
        }
    }
    assert!(redis.is_silent(), "calls fail at once");
}

#[tokio::test]
async fn a_server_that_cannot_save_is_told() {
    let server =
        RedisServer::start_with(&["--save", "3600 1", "--enable-protected-configs", "yes"]).await;
    let redis = redis(&server.url());
    set(&redis, "key", "value").await.unwrap();
    server.cli(&["CONFIG", "SET", "dir", "/proc"]).await;
    server.cli(&["BGSAVE"]).await;
    until("the save fails", async || {
        server.cli(&["INFO", "persistence"]).await.contains("rdb_last_bgsave_status:err")
    })
    .await;
    assert_refused(&redis, Refusal::CannotSave, "stop-writes-on-bgsave-error").await;
}

#[tokio::test]
async fn a_password_that_is_missing_or_wrong_is_told_and_never_shown() {
    let server = RedisServer::start_with(&["--requirepass", "right-one"]).await;
    let url = |credentials: &str| format!("redis://{credentials}{}", server.authority());
    assert_refused(&redis(&url("")), Refusal::NoPassword, "redis://user:password@host").await;
    for wrong in [":canary@", "nobody:canary@"] {
        let redis = redis(&url(wrong));
        assert_refused(&redis, Refusal::WrongPassword, "`requirepass`").await;
        let refused = set(&redis, "a", "b").await.unwrap_err();
        assert!(!format!("{refused}{refused:?}{redis:?}").contains("canary"));
    }
    set(&redis(&url(":right-one@")), "key", "value").await.unwrap();
}

#[tokio::test]
async fn a_user_who_may_not_is_told() {
    let server = RedisServer::start().await;
    server.cli(&["ACL", "SETUSER", "ann", "on", ">p@ss", "~mine:*", "+get", "+set"]).await;
    let redis = redis(&format!("redis://ann:p%40ss@{}", server.authority()));
    set(&redis, "mine:a", "1").await.unwrap();
    assert_refused(&redis, Refusal::NoPermission, "docs/operations/redis.md").await;
}

#[tokio::test]
async fn a_server_that_loads_is_told() {
    // Its load takes two milliseconds a key, and it answers between them.
    let debug = ["--enable-debug-command", "yes", "--key-load-delay", "0"];
    let mut server = RedisServer::start_with(&debug).await;
    server.cli(&["DEBUG", "POPULATE", "20000"]).await;
    server.cli(&["SAVE"]).await;
    server.cli(&["CONFIG", "SET", "key-load-delay", "300"]).await;
    server.cli(&["CONFIG", "SET", "loading-process-events-interval-bytes", "1024"]).await;
    let redis = redis_as(&server.url(), |config| config.breaker_failures = 1_000);
    let reload = async {
        server.cli(&["DEBUG", "RELOAD", "NOSAVE"]).await;
    };
    let refused = async {
        let mut seen = None;
        until("the load is seen", async || {
            seen = set(&redis, "key", "value").await.err();
            seen.as_ref().is_some_and(|error| error.refusal().is_some())
        })
        .await;
        server.cli(&["CONFIG", "SET", "key-load-delay", "0"]).await;
        seen.unwrap()
    };
    let ((), refused) = tokio::join!(reload, refused);
    assert_eq!(refused.refusal(), Some(Refusal::Loading), "{refused}");
    assert!(refused.to_string().contains("loading:0"), "{refused}");
    server.kill9();
}

#[tokio::test]
async fn a_script_that_runs_too_long_is_told() {
    let server = RedisServer::start_with(&["--busy-reply-threshold", "10"]).await;
    let (long, redis) = (redis(&server.url()), redis(&server.url()));
    let script = Script::new("while true do end").call(&["a"]);
    let endless = long.run::<()>(&script);
    let told = async {
        let mut seen = None;
        until("the server is busy", async || {
            seen = set(&redis, "key", "value").await.err();
            seen.as_ref().and_then(RedisError::refusal) == Some(Refusal::Busy)
        })
        .await;
        server.cli(&["SCRIPT", "KILL"]).await;
        seen.unwrap()
    };
    let (ended, told) = tokio::join!(endless, told);
    assert!(told.to_string().contains("`SCRIPT KILL`"), "{told}");
    assert!(ended.is_err(), "it was killed, or waited for no longer");
}

#[tokio::test]
async fn a_url_of_one_server_to_a_cluster_is_told_and_the_reverse() {
    let cluster = RedisCluster::start().await;
    // One of the three has the slot.
    let mut refused = 0;
    for node in cluster.nodes() {
        let redis = redis(&node.url());
        assert_eq!(redis.kind(), RedisKind::Standalone);
        if let Err(error) = set(&redis, "key", "value").await {
            assert_eq!(error.refusal(), Some(Refusal::Moved), "{error}");
            assert!(error.to_string().contains("redis+cluster://"), "{error}");
            refused += 1;
        }
    }
    assert_eq!(refused, 2);
    let server = RedisServer::start().await;
    let redis = redis(&format!("redis+cluster://{}", server.authority()));
    assert_refused(&redis, Refusal::NoCluster, "begin redis.url with redis://").await;
}
