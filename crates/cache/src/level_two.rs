//! The second level: values in Redis, each with its version and the moment it was read.
//!
//! Ages are told by the clock of Redis alone: those of the processes may differ. What is written
//! carries a moment of that clock which was asked for before, never an age: a Redis that hangs
//! executes late what it was sent, and makes nothing younger by that.

use std::sync::LazyLock;
use std::time::Duration;

use uuid::Uuid;

use crate::redis::{Redis, RedisError, Script};

/// How long Redis keeps a value, and with it the version below which no other takes its place.
const KEPT: Duration = Duration::from_secs(30 * 60);
/// The form of what is kept: another one is another key.
const FORM: &str = "firstcome:1";

/// `KEYS`: the value's. Answers the time, and of a value its version, when it was read, and itself.
static READ: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local found = redis.call('HMGET', KEYS[1], 'version', 'read_at', 'value')
        local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        return {now, found[3] and #found[3] > 0 and found}",
    )
});

/// `KEYS`: the value's. `ARGV`: its version, when it was read, how long to keep it, itself. What is
/// newer than it stays. Answers whether it is kept.
///
/// What was read in the future was read before the clock was set back, and nobody knows its age: it
/// is not kept, and replaced where it is. Full memory keeps nothing that could be old.
static WRITE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local known = redis.call('HMGET', KEYS[1], 'version', 'read_at')
        local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        local version, read_at = tonumber(ARGV[1]), tonumber(ARGV[2])
        if read_at > now then return 0 end
        local other, other_at = tonumber(known[1] or ''), tonumber(known[2] or '')
        if not other or version > other
            or version == other and (read_at > other_at or other_at > now) then
            local kept = redis.pcall('HSET', KEYS[1], 'version', ARGV[1], 'read_at', ARGV[2],
                'value', ARGV[4])
            if type(kept) == 'table' and kept.err then
                redis.call('DEL', KEYS[1])
            else
                redis.call('PEXPIRE', KEYS[1], ARGV[3])
                return 1
            end
        end
        return 0",
    )
});

/// `KEYS`: the value's. `ARGV`: the version that it has from now on, how long to keep that, the
/// channel, the message. Forgets an older value. Answers how many heard the message, and the time.
///
/// Executed late, it tells a version that is older than the newest: who has heard of that keeps it.
/// Full memory keeps no message back.
static TELL: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local other = tonumber(redis.call('HMGET', KEYS[1], 'version')[1] or '')
        if not other or tonumber(ARGV[1]) > other then
            local kept = redis.pcall('HSET', KEYS[1], 'version', ARGV[1], 'read_at', 0,
                'value', '')
            if type(kept) == 'table' and kept.err then
                redis.call('DEL', KEYS[1])
            else
                redis.call('PEXPIRE', KEYS[1], ARGV[2])
            end
        end
        local heard = redis.call('PUBLISH', ARGV[3], ARGV[4])
        local time = redis.call('TIME')
        return {heard, time[1] * 1000 + math.floor(time[2] / 1000)}",
    )
});

/// A moment by the clock of the server that has the value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    ms: u64,
}

impl Moment {
    /// So long before, or a little longer.
    pub(crate) fn before(self, age: Duration) -> Self {
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        Self { ms: self.ms.saturating_sub(age_ms) }
    }
}

/// What Redis has of a value.
pub(crate) struct Found {
    pub(crate) version: u64,
    pub(crate) age: Duration,
    pub(crate) json: String,
}

/// What it is to keep of one.
pub(crate) struct Kept {
    pub(crate) version: u64,
    pub(crate) json: String,
}

/// The value, if Redis has it; and a moment since the call, by which a later one can be kept.
pub(crate) async fn read(
    redis: &Redis,
    cache: &str,
    id: Uuid,
) -> Result<(Option<Found>, Moment), RedisError> {
    type Answer = (u64, Option<(u64, u64, String)>);
    let (ms, found): Answer = redis.run(&READ.call(&[key(cache, id)])).await?;
    // Younger than nothing: the clock of Redis was set back.
    let found = found.and_then(|(version, read_at_ms, json)| {
        let age = Duration::from_millis(ms.checked_sub(read_at_ms)?);
        Some(Found { version, age, json })
    });
    Ok((found, Moment { ms }))
}

/// Keeps a value that was read at this moment or later, unless a newer one is there; whether it is
/// kept.
pub(crate) async fn write(
    redis: &Redis,
    cache: &str,
    id: Uuid,
    value: &Kept,
    read_at: Moment,
) -> Result<bool, RedisError> {
    let call = WRITE.call(&[key(cache, id)]).arg(value.version).arg(read_at.ms).arg(kept_ms());
    redis.run(&call.arg(&value.json)).await
}

/// Keeps nothing older than this version from now on, and tells the message; how many heard it, and
/// a moment since the call.
pub(crate) async fn tell(
    redis: &Redis,
    cache: &str,
    id: Uuid,
    version: u64,
    (channel, message): (&str, &str),
) -> Result<(usize, Moment), RedisError> {
    let call = TELL.call(&[key(cache, id)]).arg(version).arg(kept_ms()).arg(channel).arg(message);
    let (heard, ms) = redis.run(&call).await?;
    Ok((heard, Moment { ms }))
}

fn kept_ms() -> u64 {
    u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX)
}

/// The key of a value.
fn key(cache: &str, id: Uuid) -> String {
    format!("{FORM}:{cache}:{id}")
}
