//! A lock in Redis, which orders and decides nothing: what it orders is safe without it.

use std::sync::LazyLock;
use std::time::Duration;

use firstcome_cache::redis::{Redis, RedisError, Script, cmd};
use firstcome_core::EventId;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep};
use uuid::Uuid;

/// How long a lock outlives a holder that died.
const LEASE: Duration = Duration::from_secs(5);
/// How often a holder that lives renews it.
const RENEW_EVERY: Duration = Duration::from_millis(1_500);
/// How often who waits looks again.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How often it is tried to let go of a lock while Redis does not answer.
const LATE_EVERY: Duration = Duration::from_millis(50);

static LOCK: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lock.lua")));

/// A lock that is held, until it is dropped; [`release`](Self::release) waits until another may
/// have it.
pub(super) struct Lock {
    redis: Redis,
    key: String,
    token: String,
    renewing: JoinHandle<()>,
    /// Whether it is not let go of yet.
    is_held: bool,
}

impl Lock {
    /// Waits until the lock of this event and purpose is had; none when that is not before the
    /// deadline.
    ///
    /// # Errors
    /// When Redis does not answer. Where the lock may be had then, it is let go once Redis answers.
    pub(super) async fn acquire(
        redis: &Redis,
        event: EventId,
        purpose: &str,
        deadline: Instant,
    ) -> Result<Option<Self>, RedisError> {
        let key = format!("firstcome:ev:{{{event}}}:{purpose}");
        let token = Uuid::new_v4().simple().to_string();
        let lease = u64::try_from(LEASE.as_millis()).expect("seconds");
        let mut set = cmd("SET");
        set.arg(&key).arg(&token).arg("NX").arg("PX").arg(lease);
        loop {
            let had: Option<String> = match redis.call(&set).await {
                Err(error @ RedisError::InDoubt(_)) => {
                    tokio::spawn(release_late(redis.clone(), key, token));
                    return Err(error);
                }
                had => had?,
            };
            if had.is_some() {
                let renewing = tokio::spawn(renew(redis.clone(), key.clone(), token.clone()));
                return Ok(Some(Self {
                    redis: redis.clone(),
                    key,
                    token,
                    renewing,
                    is_held: true,
                }));
            }
            if Instant::now() + LOOK_EVERY >= deadline {
                return Ok(None);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Lets it go, unless it has ended and is another's.
    pub(super) async fn release(mut self) {
        self.renewing.abort();
        // Where that fails it is tried again, and after all the lease ends it.
        self.is_held = release(&self.redis, &self.key, &self.token).await.is_err();
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.renewing.abort();
        if self.is_held
            && let Ok(runtime) = Handle::try_current()
        {
            let (redis, key, token) = (self.redis.clone(), self.key.clone(), self.token.clone());
            runtime.spawn(release_late(redis, key, token));
        }
    }
}

async fn release(redis: &Redis, key: &str, token: &str) -> Result<i64, RedisError> {
    redis.run(&LOCK.call(&[key]).arg(token).arg("0")).await
}

/// Lets go of a lock that may be had, as soon as Redis answers; after that its lease has ended.
async fn release_late(redis: Redis, key: String, token: String) {
    let deadline = Instant::now() + LEASE;
    while release(&redis, &key, &token).await.is_err() && Instant::now() < deadline {
        sleep(LATE_EVERY).await;
    }
}

/// Renews until it is stopped, or the lock is another's.
async fn renew(redis: Redis, key: String, token: String) {
    let lease = LEASE.as_millis().to_string();
    let mut next = interval(RENEW_EVERY);
    next.tick().await;
    loop {
        next.tick().await;
        let keep = LOCK.call(&[&key]).arg(&token).arg(&lease);
        if let Ok(0) = redis.run::<i64>(&keep).await {
            return;
        }
    }
}
