//! What the tests share.

pub(crate) mod shelf;

use std::time::Duration;

use firstcome_cache::redis::{Cmd, Redis, RedisConfig, RedisError, cmd};
use tokio::time::{Instant, sleep};

/// Longest that a test waits for what must come.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30);
/// A call that takes longer has not kept to its 500 ms, a busy machine granted.
pub(crate) const CALL_MAX: Duration = Duration::from_millis(1_500);

pub(crate) fn config(url: &str) -> RedisConfig {
    RedisConfig { url: url.to_owned(), ..RedisConfig::default() }
}

/// A handle on the Redis at this URL.
pub(crate) fn redis(url: &str) -> Redis {
    redis_as(url, |_| ())
}

pub(crate) fn redis_as(url: &str, change: impl FnOnce(&mut RedisConfig)) -> Redis {
    let mut config = config(url);
    change(&mut config);
    Redis::new(&config, "test").unwrap()
}

/// `SET`, and the error that it met.
pub(crate) async fn set(redis: &Redis, key: &str, value: &str) -> Result<(), RedisError> {
    redis.call(&command(&["SET", key, value])).await
}

pub(crate) async fn get(redis: &Redis, key: &str) -> Result<Option<String>, RedisError> {
    redis.call(&command(&["GET", key])).await
}

pub(crate) fn command(words: &[&str]) -> Cmd {
    let mut command = cmd(words[0]);
    command.arg(&words[1..]);
    command
}

/// Asks again until it is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + WAIT_MAX;
    while !is_so().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}
