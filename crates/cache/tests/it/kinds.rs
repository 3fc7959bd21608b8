//! TLS, sentinels, a cluster.

use std::sync::LazyLock;

use firstcome_cache::redis::{Redis, RedisConfig, RedisError, RedisKind, Refusal, Script, cmd};
use firstcome_testkit::{Certificates, Direction, Proxy, RedisCluster, RedisServer, RedisTrio};
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::support::{config, get, redis, redis_as, set, until};

/// One that the user of the operations page may write.
const KEY: &str = "firstcome:key";

static PUT: LazyLock<Script> =
    LazyLock::new(|| Script::new("return redis.call('SET', KEYS[1], ARGV[1])"));

#[tokio::test]
async fn tls_is_spoken_with_certificates_of_both_sides() {
    let certificates = Certificates::make();
    let server = RedisServer::start_with_tls(&certificates).await;
    let (ca, certificate, key) = certificates.paths();
    let mut config = config(&format!("rediss://{}", server.authority()));
    let unknown = set(&Redis::new(&config, "test").unwrap(), "key", "value").await.unwrap_err();
    assert!(matches!(unknown, RedisError::Unavailable(_)), "{unknown:?}");
    assert!(unknown.to_string().contains("certificate"), "{unknown}");
    config.ca_file = ca.to_owned();
    config.certificate_file = certificate.to_owned();
    config.key_file = key.to_owned();
    let redis = Redis::new(&config, "test").unwrap();
    set(&redis, "key", "value").await.unwrap();
    assert_eq!(server.cli(&["GET", "key"]).await, "value");
}

#[tokio::test]
async fn a_file_that_is_missing_or_wrong_is_told_at_once() {
    let certificates = Certificates::make();
    let mut config = config("rediss://localhost");
    config.ca_file = "/no/such/file".to_owned();
    let invalid = Redis::new(&config, "test").unwrap_err().to_string();
    assert!(invalid.starts_with("redis.ca_file names /no/such/file, which cannot"), "{invalid}");
    let (ca, _, key) = certificates.paths();
    config.ca_file = ca.to_owned();
    config.certificate_file = ca.to_owned();
    config.key_file = ca.to_owned();
    let invalid = Redis::new(&config, "test").unwrap_err().to_string();
    assert!(invalid.starts_with("redis.") && invalid.contains("cannot be used"), "{invalid}");
    config.key_file = key.to_owned();
    assert!(Redis::new(&config, "test").is_ok());
}

#[tokio::test]
async fn sentinels_lead_to_the_master_also_after_a_failover() {
    let mut trio = RedisTrio::start().await;
    let redis = redis(&trio.url());
    assert_eq!(redis.kind(), RedisKind::Sentinel);
    set(&redis, "key", "one").await.unwrap();
    let before = redis.incarnation("key").await.unwrap().unwrap();
    trio.fail_over().await;
    // The old master takes writes until the sentinel has made it a replica: the incarnation tells.
    until("the new master answers", async || {
        let now = redis.incarnation("key").await;
        now.is_ok_and(|now| now.is_some_and(|now| now != before))
    })
    .await;
    until("it takes writes", async || set(&redis, "key", "two").await.is_ok()).await;
    assert_eq!(trio.servers()[1].cli(&["GET", "key"]).await, "two");
}

#[tokio::test]
async fn a_master_that_dies_is_left() {
    let mut trio = RedisTrio::start().await;
    let redis = redis(&trio.url());
    set(&redis, "key", "one").await.unwrap();
    trio.servers()[0].kill9();
    trio.wait_for_failover().await;
    until("writes go to the new master", async || set(&redis, "key", "two").await.is_ok()).await;
    assert_eq!(trio.servers()[1].cli(&["GET", "key"]).await, "two");
}

/// What the operations page tells to type for the user of servers that sentinels lead to, and for
/// the one of the sentinels.
fn users() -> [Vec<String>; 2] {
    let page = include_str!("../../../../docs/operations/redis.md");
    let rules_of = |user: &str| {
        let (_, rules) = page.split_once(&format!("ACL SETUSER {user} ")).expect("the user");
        let (rules, _) = rules.split_once("```").expect("a block");
        let rules = rules.replace('\\', "").replace(">PASSWORD", ">p@ss");
        let command = format!("ACL SETUSER {user} {rules}");
        command.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let (mut of_servers, of_sentinels) = (rules_of("firstcome"), rules_of("firstcome-sentinel"));
    of_servers.push("+role".to_owned());
    [of_servers, of_sentinels]
}

fn words(command: &[String]) -> Vec<&str> {
    command.iter().map(String::as_str).collect()
}

#[tokio::test]
async fn sentinels_with_tls_and_passwords_lead_to_a_master_with_others() {
    let certificates = Certificates::make();
    let mut trio =
        RedisTrio::start_guarded(&certificates, ("all", "one"), ("owner", "another")).await;
    let [of_servers, of_sentinels] = users();
    for server in trio.servers() {
        server.cli(&words(&of_servers)).await;
    }
    trio.sentinel(&words(&of_sentinels)).await;

    let (ca, certificate, key) = certificates.paths();
    let connect = |credentials: &str, user: &str, password: &str| {
        let url = trio.url().replace("redis+sentinel://", "rediss+sentinel://");
        redis_as(&url.replace("://", &format!("://{credentials}")), |config| {
            config.sentinel_username = user.to_owned();
            config.sentinel_password = password.to_owned();
            config.ca_file = ca.to_owned();
            config.certificate_file = certificate.to_owned();
            config.key_file = key.to_owned();
        })
    };
    let (servers, sentinel) = ("firstcome:p%40ss@", "firstcome-sentinel");
    for (credentials, user, password, refusal, part) in [
        (servers, sentinel, "canary", Refusal::SentinelPassword, "redis.sentinel_password"),
        (servers, "canary", "p@ss", Refusal::SentinelPassword, "redis.sentinel_username"),
        // Without a user it is the usual one's, who is off.
        (servers, "", "p@ss", Refusal::SentinelPassword, "redis.sentinel_username"),
        (servers, "", "", Refusal::SentinelPassword, "redis.sentinel_password"),
        ("firstcome:canary@", sentinel, "p@ss", Refusal::WrongPassword, "redis.url"),
        ("", sentinel, "p@ss", Refusal::NoPassword, "redis.url"),
    ] {
        let refused = set(&connect(credentials, user, password), KEY, "x").await.unwrap_err();
        assert_eq!(refused.refusal(), Some(refusal), "{credentials} {user}: {refused}");
        let shown = format!("{refused}{refused:?}");
        assert!(shown.contains(part) && !shown.contains("canary"), "{credentials}: {shown}");
    }

    let redis = connect(servers, sentinel, "p@ss");
    set(&redis, KEY, "one").await.unwrap();
    let before = redis.incarnation(KEY).await.unwrap().unwrap();
    trio.fail_over().await;
    until("the new master answers", async || {
        let now = redis.incarnation(KEY).await;
        now.is_ok_and(|now| now.is_some_and(|now| now != before))
    })
    .await;
    until("it takes writes", async || set(&redis, KEY, "two").await.is_ok()).await;
    assert_eq!(trio.servers()[1].cli(&["GET", KEY]).await, "two");
}

#[tokio::test]
async fn a_name_that_no_sentinel_knows_is_told() {
    let trio = RedisTrio::start().await;
    let error = set(&redis(&trio.url().replace("/main", "/mian")), "a", "b").await.unwrap_err();
    assert!(matches!(error, RedisError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains("no master \"mian\""), "{error}");
}

#[tokio::test]
async fn a_clusters_keys_are_found_wherever_they_are() {
    let cluster = RedisCluster::start().await;
    let redis = redis(&cluster.url());
    for number in 0..50_u32 {
        let key = format!("{{event-{number}}}:meta");
        set(&redis, &key, "value").await.unwrap();
        assert_eq!(get(&redis, &key).await.unwrap().as_deref(), Some("value"));
        let done: String = redis.run(&PUT.call(&[&key]).arg("scripted")).await.unwrap();
        assert_eq!(done, "OK");
    }
    let all = (0..50_u32).map(|number| PUT.call(&[format!("{{event-{number}}}:meta")]).arg("all"));
    let done = redis.run_all::<String>(&all.collect::<Vec<_>>()).await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    assert_eq!(get(&redis, "{event-49}:meta").await.unwrap().as_deref(), Some("all"));
    let size = Script::for_each("return redis.call('STRLEN', KEYS[1])");
    let all = (0..50_u32).map(|number| size.call(&[format!("{{event-{number}}}:meta")]));
    let sizes = redis.run_all::<u64>(&all.collect::<Vec<_>>()).await;
    assert!(sizes.iter().all(|size| matches!(size, Ok(3))), "{sizes:?}");
    let mut sizes = 0;
    for node in cluster.nodes() {
        let size: u32 = node.cli(&["DBSIZE"]).await.parse().unwrap();
        assert!(size > 0, "every node has some");
        sizes += size;
        node.cli(&["SCRIPT", "FLUSH"]).await;
    }
    assert_eq!(sizes, 50);
    let again: String = redis.run(&PUT.call(&["{event-1}:meta"]).arg("again")).await.unwrap();
    assert_eq!(again, "OK");
    let several =
        redis.call::<u64>(cmd("RENAME").arg("{event-1}:meta").arg("{event-2}:meta")).await;
    let error = several.unwrap_err();
    assert_eq!(error.refusal(), Some(Refusal::CrossSlot), "{error}");
}

/// One whose other nodes answer while one does not, and calls that soon give that one up.
async fn cluster_that_outlives_a_node() -> (RedisCluster, Redis) {
    let cluster = RedisCluster::start().await;
    for node in cluster.nodes() {
        node.cli(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]).await;
    }
    let redis = redis_as(&cluster.url(), |config| {
        config.answer_timeout_ms = 200;
        config.breaker_failures = 3;
    });
    (cluster, redis)
}

#[tokio::test]
async fn a_node_of_a_cluster_that_hangs_costs_the_keys_of_others_nothing() {
    let (cluster, redis) = cluster_that_outlives_a_node().await;
    let hung = cluster.node_of("theirs").await;
    let mut others = Vec::new();
    for number in 0..9_u32 {
        let key = format!("{number}");
        if cluster.node_of(&key).await != hung {
            others.push(key);
        }
    }
    for key in others.iter().map(String::as_str).chain(["theirs"]) {
        set(&redis, key, "before").await.unwrap();
    }
    cluster.nodes()[hung].hang();
    until("calls on its keys fail at once", async || {
        for key in &others {
            set(&redis, key, "meanwhile").await.unwrap();
        }
        let error = PUT.call(&["theirs"]).arg("meanwhile");
        let error = redis.run::<String>(&error).await.expect_err("nobody answers");
        error.to_string().contains("did not answer the last calls")
    })
    .await;
    assert!(redis.is_silent());
    cluster.nodes()[hung].go_on();
    until("they are answered again", async || set(&redis, "theirs", "after").await.is_ok()).await;
    assert!(!redis.is_silent());
}

#[tokio::test]
async fn a_node_that_leaves_its_cluster_takes_its_breaker_along() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let shows = |open: u8| {
        let line = format!("firstcome_redis_breaker_open{{use=\"test\"}} {open}");
        handle.render().lines().any(|shown| shown == line)
    };
    let (cluster, redis) = cluster_that_outlives_a_node().await;
    let left = cluster.node_of("theirs").await;
    let numbers: Vec<_> = (0..9_u32).map(|number| number.to_string()).collect();
    let mut other = None;
    for key in &numbers {
        if cluster.node_of(key).await != left {
            other = Some(key);
        }
    }
    let other = other.expect("a key of another node");
    for key in ["theirs", other] {
        set(&redis, key, "before").await.unwrap();
    }
    let id = cluster.nodes()[left].cli(&["CLUSTER", "MYID"]).await;
    cluster.nodes()[left].hang();
    until("its breaker opens", async || {
        set(&redis, other, "meanwhile").await.unwrap();
        set(&redis, "theirs", "meanwhile").await.expect_err("nobody answers");
        redis.is_silent()
    })
    .await;
    assert!(shows(1));
    // Nobody has called since, and so nobody has asked who has its keys now.
    for (place, node) in cluster.nodes().iter().enumerate() {
        if place != left {
            node.cli(&["CLUSTER", "FORGET", &id]).await;
        }
    }
    until("it is seen that it has left", async || {
        set(&redis, other, "after").await.unwrap();
        !redis.is_silent()
    })
    .await;
    assert!(shows(0));
}

/// It is not sent again, nor told as if it had not been executed.
#[tokio::test]
async fn a_connection_to_a_cluster_that_breaks_under_a_call_leaves_it_in_doubt() {
    let proxy = Proxy::start("127.0.0.1:1").await;
    let cluster = RedisCluster::start_behind(proxy.authority()).await;
    let node = &cluster.nodes()[0];
    proxy.set_upstream(&node.authority());
    let redis = redis_as(&cluster.url(), |config| config.answer_timeout_ms = 20_000);
    set(&redis, "key", "before").await.unwrap();
    proxy.cut(Direction::ToClient);
    let call = tokio::spawn({
        let redis = redis.clone();
        async move { redis.call::<u64>(cmd("APPEND").arg("key").arg(", after")).await }
    });
    until("it is executed", async || node.cli(&["GET", "key"]).await == "before, after").await;
    proxy.wait_for_losses(1).await;
    proxy.heal().await;
    let error = call.await.unwrap().expect_err("no answer");
    assert!(matches!(error, RedisError::InDoubt(_)), "{error:?}");
    assert_eq!(get(&redis, "key").await.unwrap().as_deref(), Some("before, after"));
}

#[tokio::test]
async fn a_slot_that_is_moved_to_another_node_is_followed() {
    let cluster = RedisCluster::start().await;
    let to = (cluster.node_of("{slot}").await + 1) % 3;
    is_followed(&cluster, to).await;
}

#[tokio::test]
async fn a_slot_that_is_moved_to_a_node_that_has_none_is_followed() {
    let mut cluster = RedisCluster::start().await;
    cluster.add_node().await;
    is_followed(&cluster, 3).await;
}

/// Moves the slot of `{slot}` to the node at this place, with calls on it and on others meanwhile.
async fn is_followed(cluster: &RedisCluster, to: usize) {
    let [mut user, _] = users();
    let besides = ["+cluster|slots", "+cluster|shards", "+cluster|info", "+mget", "~*"];
    user.extend(besides.map(str::to_owned));
    for node in cluster.nodes() {
        node.cli(&words(&user)).await;
        node.cli(&["ACL", "SETUSER", "default", "-get", "-set"]).await;
    }
    let redis = redis(&cluster.url().replace("://", "://firstcome:p%40ss@"));
    let others = async || {
        for number in 0..9_u32 {
            set(&redis, &number.to_string(), "value").await.unwrap();
        }
    };
    others().await;
    for key in ["{slot}old", "{slot}older"] {
        set(&redis, key, "value").await.unwrap();
    }
    let slot = cluster.start_to_move("{slot}", to).await;

    set(&redis, "{slot}new", "value").await.unwrap();
    assert_eq!(slot.keys_at(slot.to).await, ["{slot}new"]);
    slot.migrate("{slot}older").await;
    for key in ["{slot}old", "{slot}older", "{slot}new"] {
        assert_eq!(get(&redis, key).await.unwrap().as_deref(), Some("value"));
    }
    let there: String = redis.run(&PUT.call(&["{slot}newer"]).arg("scripted")).await.unwrap();
    assert_eq!(there, "OK");
    // One that is there yet, and one that is there already.
    let both = Script::new("return #redis.call('MGET', KEYS[1], KEYS[2])");
    let both = both.call(&["{slot}old", "{slot}new"]);
    for _ in 0..=RedisConfig::default().breaker_failures {
        let refused = redis.run::<u64>(&both).await.unwrap_err();
        assert_eq!(refused.refusal(), Some(Refusal::Migrating), "{refused}");
        assert!(refused.to_string().contains("`redis-cli --cluster check`"), "{refused}");
        assert!(!refused.to_string().contains("redis.url"), "{refused}");
    }
    others().await;
    assert!(!redis.is_silent(), "a server that answers is there");

    slot.migrate("{slot}old").await;
    assert_eq!(redis.run::<u64>(&both).await.unwrap(), 2, "both are there");
    slot.end().await;
    assert_eq!(redis.run::<u64>(&both).await.unwrap(), 2);
}

#[tokio::test]
async fn a_slot_that_is_moved_to_a_node_that_is_dead_costs_only_its_own_keys() {
    let mut cluster = RedisCluster::start().await;
    cluster.add_node().await;
    let redis = redis(&cluster.url());
    set(&redis, "{slot}old", "value").await.unwrap();
    let to = cluster.start_to_move("{slot}", 3).await.to;
    to.cli(&["SHUTDOWN", "NOSAVE"]).await;
    for _ in 0..=RedisConfig::default().breaker_failures {
        let refused = set(&redis, "{slot}new", "value").await.unwrap_err();
        assert_eq!(refused.refusal(), Some(Refusal::Migrating), "{refused}");
        assert!(refused.to_string().contains(&to.authority()), "{refused}");
    }
    assert!(!redis.is_silent(), "the node that has the slot answers");
    assert_eq!(get(&redis, "{slot}old").await.unwrap().as_deref(), Some("value"));
}

#[tokio::test]
async fn a_node_of_a_cluster_that_is_dead_is_told() {
    let cluster = RedisCluster::start().await;
    for node in cluster.nodes() {
        node.cli(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]).await;
    }
    let redis = redis_as(&cluster.url(), |config| config.breaker_failures = 1_000);
    set(&redis, "key", "value").await.unwrap();
    let dead = cluster.node_of("key").await;
    cluster.nodes()[dead].cli(&["SHUTDOWN", "NOSAVE"]).await;
    until("the others say who had it", async || {
        let refused = set(&redis, "key", "value").await.expect_err("it is dead");
        assert_ne!(refused.refusal(), Some(Refusal::Moved), "{refused}");
        refused.refusal() == Some(Refusal::NodeAway)
    })
    .await;
    assert!(!redis.is_silent(), "a server that answers is there");
}
