//! What is found at the start.

use firstcome_cache::redis::{Judgement, Redis, RedisUse};
use firstcome_testkit::{RedisCluster, RedisServer};

use crate::support::redis;

async fn judged(redis: &Redis, used_for: RedisUse) -> Judgement {
    redis.judge(used_for).await.unwrap()
}

#[tokio::test]
async fn a_server_is_known_by_its_settings_and_its_incarnation() {
    let mut server = RedisServer::start_with(&["--maxmemory", "64mb"]).await;
    let redis = redis(&server.url());
    let [facts] = redis.inspect().await.unwrap().try_into().expect("one server");
    assert!(facts.version.as_ref().is_some_and(|version| version.contains('.')), "{facts:?}");
    assert_eq!(facts.role.as_deref(), Some("master"));
    assert_eq!(facts.is_cluster, Some(false));
    assert_eq!(facts.maxmemory, Some(64 << 20));
    assert_eq!(facts.maxmemory_policy.as_deref(), Some("noeviction"));
    assert_eq!(facts.appendonly, Some(false));
    assert_eq!(facts.appendfsync.as_deref(), Some("everysec"));
    let incarnation = facts.incarnation.expect("it tells");
    assert_eq!(redis.incarnation("any").await.unwrap().as_ref(), Some(&incarnation));
    server.kill9();
    server.restart().await;
    crate::support::until("it is known again", async || redis.inspect().await.is_ok()).await;
    assert_ne!(redis.incarnation("any").await.unwrap(), Some(incarnation), "a restart is told");
}

#[tokio::test]
async fn a_decider_must_not_evict() {
    for policy in ["allkeys-lru", "volatile-ttl"] {
        let server = RedisServer::start_with(&["--maxmemory-policy", policy]).await;
        let redis = redis(&server.url());
        assert_eq!(judged(&redis, RedisUse::Cache).await, Judgement::default());
        let Judgement { refusals, warnings } = judged(&redis, RedisUse::Decider).await;
        assert_eq!(warnings, [""; 0]);
        let [refusal] = refusals.as_slice() else { panic!("one: {refusals:?}") };
        assert!(refusal.contains(&format!("`maxmemory-policy {policy}`")), "{refusal}");
        assert!(refusal.contains("CONFIG SET maxmemory-policy noeviction"), "{refusal}");
    }
    let server = RedisServer::start().await;
    assert_eq!(judged(&redis(&server.url()), RedisUse::Decider).await, Judgement::default());
}

#[tokio::test]
async fn a_journal_must_be_kept() {
    let server = RedisServer::start().await;
    let Judgement { refusals, .. } = judged(&redis(&server.url()), RedisUse::Journal).await;
    assert!(refusals.len() == 1 && refusals[0].contains("`appendonly no`"), "{refusals:?}");
    let server = RedisServer::start_with(&["--appendonly", "yes"]).await;
    let Judgement { refusals, warnings } = judged(&redis(&server.url()), RedisUse::Journal).await;
    assert_eq!(refusals, [""; 0]);
    assert!(warnings.len() == 1 && warnings[0].contains("`appendfsync everysec`"), "{warnings:?}");
    server.cli(&["CONFIG", "SET", "appendfsync", "always"]).await;
    assert_eq!(judged(&redis(&server.url()), RedisUse::Journal).await, Judgement::default());
}

#[tokio::test]
async fn what_was_a_journal_goes_on_with_a_warning() {
    let server = RedisServer::start().await;
    let redis = redis(&server.url());
    let Judgement { refusals, warnings } = judged(&redis, RedisUse::FormerJournal).await;
    assert_eq!(refusals, [""; 0]);
    for part in ["`appendonly no`", "`appendfsync everysec`"] {
        let is_told = |it: &String| it.contains(part) && it.contains("commit redis_stream");
        assert!(warnings.iter().any(is_told), "{part}: {warnings:?}");
    }
    server.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    let Judgement { refusals, .. } = judged(&redis, RedisUse::FormerJournal).await;
    assert_eq!(refusals.len(), 1, "{refusals:?}");
}

#[tokio::test]
async fn a_replica_is_no_place_to_write() {
    let master = RedisServer::start().await;
    let port = master.authority().split_off("127.0.0.1:".len());
    let server = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port]).await;
    let Judgement { refusals, .. } = judged(&redis(&server.url()), RedisUse::Cache).await;
    assert!(refusals.len() == 1 && refusals[0].contains("is a replica"), "{refusals:?}");
}

#[tokio::test]
async fn what_may_not_be_asked_is_a_warning() {
    let server = RedisServer::start().await;
    for (user, denied, unchecked) in [
        ("ann", "-config", ["`appendfsync` is always"].as_slice()),
        ("bob", "-info", &["a cluster", "`maxmemory-policy` is noeviction", "`appendonly` is yes"]),
    ] {
        server.cli(&["ACL", "SETUSER", user, "on", ">p", "~*", "&*", "+@all", denied]).await;
        let redis = redis(&format!("redis://{user}:p@{}", server.authority()));
        let Judgement { warnings, .. } = judged(&redis, RedisUse::Journal).await;
        for part in unchecked {
            assert!(warnings.iter().any(|warning| warning.contains(part)), "{part}: {warnings:?}");
        }
    }
}

/// Who starts with less would answer every claim 503.
#[tokio::test]
async fn a_user_who_may_not_decide_is_refused() {
    let server = RedisServer::start().await;
    let on_other_keys = "DEL, EXPIRE, GET, HDEL, HEXISTS, HGET, HINCRBY, HLEN, HMGET, HSCAN, \
                         HSET, PEXPIRE, SET, TTL, UNLINK";
    for (user, rights, denied) in [
        ("ann", ["-hset", "-ttl"], "HSET, TTL"),
        ("bob", ["+get", "-eval"], "EVAL"),
        ("cho", ["-evalsha", "-set"], "EVALSHA, SET"),
        ("dan", ["resetkeys", "~other:*"], on_other_keys),
    ] {
        let all = ["ACL", "SETUSER", user, "on", ">p", "~*", "&*", "+@all"];
        server.cli(&[&all[..], &rights].concat()).await;
        let redis = redis(&format!("redis://{user}:p@{}", server.authority()));
        let Judgement { refusals, .. } = judged(&redis, RedisUse::Decider).await;
        let [refusal] = refusals.as_slice() else { panic!("one: {refusals:?}") };
        assert!(refusal.starts_with(&format!("Redis denies {denied}: ")), "{refusal}");
        assert!(refusal.contains("docs/operations/redis.md"), "{refusal}");
        assert_eq!(judged(&redis, RedisUse::Cache).await, Judgement::default());
    }
    assert_eq!(server.cli(&["DBSIZE"]).await, "0", "nothing was written");
}

/// What an operator is told to type.
#[tokio::test]
async fn the_user_of_the_operations_page_may_decide() {
    let server = RedisServer::start().await;
    let redis = redis(&server.make_operations_user().await);
    assert_eq!(judged(&redis, RedisUse::Decider).await, Judgement::default());
}

#[tokio::test]
async fn the_user_of_every_primary_is_looked_at() {
    let cluster = RedisCluster::start().await;
    let all = ["ACL", "SETUSER", "ann", "on", ">p", "~*", "&*", "+@all"];
    for node in cluster.nodes() {
        node.cli(&all).await;
    }
    let redis = redis(&cluster.url().replace("://", "://ann:p@"));
    assert_eq!(judged(&redis, RedisUse::Decider).await, Judgement::default());
    cluster.nodes()[1].cli(&["ACL", "SETUSER", "ann", "-hget"]).await;
    let Judgement { refusals, .. } = judged(&redis, RedisUse::Decider).await;
    let [refusal] = refusals.as_slice() else { panic!("one: {refusals:?}") };
    let denied = format!("Redis at {} denies HGET: ", cluster.nodes()[1].authority());
    assert!(refusal.starts_with(&denied), "{refusal}");
}

#[tokio::test]
async fn every_primary_of_a_cluster_is_looked_at() {
    let cluster = RedisCluster::start().await;
    cluster.nodes()[2].cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lfu"]).await;
    let redis_of_all = redis(&cluster.url());
    assert_eq!(redis_of_all.inspect().await.unwrap().len(), 3);
    let Judgement { refusals, warnings } = judged(&redis_of_all, RedisUse::Decider).await;
    assert_eq!(warnings, [""; 0]);
    let [refusal] = refusals.as_slice() else { panic!("one: {refusals:?}") };
    assert!(refusal.contains(&cluster.nodes()[2].authority()), "{refusal}");
    let one = judged(&redis(&cluster.nodes()[0].url()), RedisUse::Cache).await;
    assert!(one.refusals[0].contains("begin redis.url with redis+cluster://"), "{one:?}");
    let own = redis_of_all.incarnation("{a}").await.unwrap();
    assert!(own.is_some(), "the node of the key tells its own");
}
