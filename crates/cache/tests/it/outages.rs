//! A Redis that is away, that is late, and that comes back.

use std::time::Duration;

use firstcome_cache::redis::{Redis, RedisConfig, RedisError, Script};
use firstcome_testkit::{Direction, Proxy, RedisServer};
use tokio::time::Instant;

use crate::support::{CALL_MAX, get, redis, redis_as, set, until};

async fn failed(redis: &Redis) -> (RedisError, Duration) {
    let started = Instant::now();
    let error = set(redis, "key", "value").await.expect_err("nobody answers");
    (error, started.elapsed())
}

#[tokio::test]
async fn a_refused_connection_is_unavailable() {
    let mut server = RedisServer::start().await;
    server.kill9();
    let (error, took) = failed(&redis(&server.url())).await;
    assert!(matches!(error, RedisError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(took < CALL_MAX, "{took:?}");
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_unavailable() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(&server.url()).await;
    proxy.cut(Direction::ToServer);
    let (error, took) = failed(&redis(&format!("redis://{}", proxy.authority()))).await;
    assert!(matches!(error, RedisError::Unavailable(_)), "nothing was sent: {error:?}");
    assert!(took < CALL_MAX, "{took:?}");
}

#[tokio::test]
async fn an_answer_that_does_not_come_leaves_it_in_doubt() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(&server.url()).await;
    let redis = redis(&format!("redis://{}", proxy.authority()));
    set(&redis, "key", "before").await.unwrap();
    proxy.cut(Direction::ToClient);
    let (error, took) = failed(&redis).await;
    assert!(matches!(error, RedisError::InDoubt(_)), "{error:?}");
    assert!(took >= Duration::from_millis(450) && took < CALL_MAX, "{took:?}");
    assert_eq!(server.cli(&["GET", "key"]).await, "value", "it was executed all the same");
    proxy.heal().await;
    until("calls are answered", async || get(&redis, "key").await.is_ok()).await;
}

#[tokio::test]
async fn of_scripts_that_run_together_all_are_in_doubt() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(&server.url()).await;
    let redis = redis(&format!("redis://{}", proxy.authority()));
    set(&redis, "key", "before").await.unwrap();
    proxy.cut(Direction::ToClient);
    let script = Script::new("return redis.call('SET', KEYS[1], 'x')");
    let calls = ["a", "b"].map(|key| script.call(&[key]));
    let started = Instant::now();
    let answers = redis.run_all::<String>(&calls).await;
    assert!(started.elapsed() < CALL_MAX, "together they take no longer than one");
    for answer in answers {
        let error = answer.expect_err("nobody answers");
        assert!(matches!(error, RedisError::InDoubt(_)), "{error:?}");
    }
    for _ in 1..RedisConfig::default().breaker_failures {
        assert!(!redis.is_silent(), "too early");
        let answers = redis.run_all::<String>(&calls).await;
        assert!(answers.iter().all(Result::is_err), "{answers:?}");
    }
    for answer in redis.run_all::<String>(&calls).await {
        let error = answer.expect_err("the breaker is open");
        assert!(matches!(error, RedisError::Unavailable(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_under_a_call_leaves_it_in_doubt() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(&server.url()).await;
    let redis = redis_as(&format!("redis://{}", proxy.authority()), |config| {
        config.answer_timeout_ms = 20_000;
    });
    set(&redis, "key", "before").await.unwrap();
    proxy.cut(Direction::ToClient);
    let call = tokio::spawn({
        let redis = redis.clone();
        async move { failed(&redis).await }
    });
    proxy.wait_for_losses(1).await;
    proxy.reset().await;
    let (error, took) = call.await.unwrap();
    assert!(matches!(error, RedisError::InDoubt(_)), "{error:?}");
    assert!(took < Duration::from_secs(20), "not by the time-out: {took:?}");
    assert_eq!(server.cli(&["GET", "key"]).await, "value", "it was executed");
}

#[tokio::test]
async fn a_restart_is_noticed_before_the_next_call() {
    let mut server = RedisServer::start().await;
    let redis = redis(&server.url());
    set(&redis, "key", "value").await.unwrap();
    server.kill9();
    server.restart().await;
    assert_eq!(get(&redis, "key").await.unwrap(), None, "another process answers");
}

#[tokio::test]
async fn a_connection_that_is_silent_is_left() {
    let (hung, server) = (RedisServer::start().await, RedisServer::start().await);
    let proxy = Proxy::start(&hung.url().replace("redis://", "")).await;
    let redis = redis(&format!("redis://{}", proxy.authority()));
    set(&redis, "key", "value").await.unwrap();
    hung.hang();
    proxy.set_upstream(&server.url().replace("redis://", ""));
    let (error, _) = failed(&redis).await;
    assert!(matches!(error, RedisError::InDoubt(_)), "{error:?}");
    set(&redis, "key", "value").await.unwrap();
    assert_eq!(server.cli(&["GET", "key"]).await, "value");
}

#[tokio::test]
async fn the_breaker_opens_and_closes_again() {
    let mut server = RedisServer::start().await;
    let redis = redis_as(&server.url(), |config| {
        config.breaker_failures = 3;
        config.breaker_open_ms = 200;
    });
    set(&redis, "key", "value").await.unwrap();
    server.hang();
    for _ in 0..3 {
        assert!(!redis.is_silent());
        let (error, took) = failed(&redis).await;
        assert!(took >= Duration::from_millis(250), "it was waited for: {error} {took:?}");
    }
    assert!(redis.is_silent());
    let (error, took) = failed(&redis).await;
    assert!(matches!(error, RedisError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains("did not answer the last calls"), "{error}");
    assert!(took < Duration::from_millis(100), "at once: {took:?}");
    server.go_on();
    until("it closes", async || get(&redis, "key").await.is_ok()).await;
    assert!(!redis.is_silent());
    server.kill9();
    until("it opens", async || {
        let _ = get(&redis, "key").await;
        redis.is_silent()
    })
    .await;
    server.restart().await;
    until("it closes", async || set(&redis, "key", "value").await.is_ok()).await;
}
