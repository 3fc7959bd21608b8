//! The second level: values in Redis, each with its version and the moment it was read.
//!
//! Ages are told by the clock of Redis alone: those of the processes may differ.

use std::sync::LazyLock;
use std::time::Duration;

use uuid::Uuid;

use crate::redis::{Redis, RedisError, Script};

/// How long Redis keeps a value, and with it the version below which no other takes its place.
const KEPT: Duration = Duration::from_secs(30 * 60);
/// The form of what is kept: another one is another key.
const FORM: &str = "firstcome:1";

/// `KEYS`: the value's. Answers its version, its age in milliseconds, and itself.
static READ: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local found = redis.call('HMGET', KEYS[1], 'version', 'read_at', 'value')
        if not found[3] then return false end
        local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        return {found[1], now - found[2], found[3]}",
    )
});

/// `KEYS`: the value's. `ARGV`: its version, its age in milliseconds, how long to keep it, itself;
/// then, where it is to be told, the channel and the message. What is newer than it stays. Answers
/// how many heard the message.
///
/// Full memory keeps nothing that could be old, and no message back.
static WRITE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local known = redis.call('HMGET', KEYS[1], 'version', 'read_at')
        local time = redis.call('TIME')
        local read_at = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[2]
        local version = tonumber(ARGV[1])
        local other = tonumber(known[1] or '')
        if not other or version > other or version == other and read_at > tonumber(known[2]) then
            local kept = redis.pcall('HSET', KEYS[1], 'version', ARGV[1],
                'read_at', string.format('%.0f', read_at), 'value', ARGV[4])
            if type(kept) == 'table' and kept.err then
                redis.call('DEL', KEYS[1])
            else
                redis.call('PEXPIRE', KEYS[1], ARGV[3])
            end
        end
        if ARGV[5] then return redis.call('PUBLISH', ARGV[5], ARGV[6]) end
        return 0",
    )
});

/// What Redis has of a value.
pub(crate) struct Kept {
    pub(crate) version: u64,
    pub(crate) age: Duration,
    pub(crate) json: String,
}

/// The value, if Redis has it.
pub(crate) async fn read(redis: &Redis, cache: &str, id: Uuid) -> Result<Option<Kept>, RedisError> {
    let found: Option<(u64, i64, String)> = redis.run(&READ.call(&[key(cache, id)])).await?;
    // Younger than nothing: the clock of Redis was set back.
    Ok(found.and_then(|(version, age_ms, json)| {
        let age = Duration::from_millis(u64::try_from(age_ms).ok()?);
        Some(Kept { version, age, json })
    }))
}

/// Keeps a value unless a newer one is there; then tells the message, if there is one, and how many
/// heard it.
pub(crate) async fn write(
    redis: &Redis,
    cache: &str,
    id: Uuid,
    value: &Kept,
    message: Option<(&str, &str)>,
) -> Result<usize, RedisError> {
    let Kept { version, age, json } = value;
    let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    let kept_ms = u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX);
    let call = WRITE.call(&[key(cache, id)]).arg(*version).arg(age_ms).arg(kept_ms).arg(json);
    match message {
        Some((channel, message)) => redis.run(&call.arg(channel).arg(message)).await,
        None => redis.run(&call).await,
    }
}

/// The key of a value.
fn key(cache: &str, id: Uuid) -> String {
    format!("{FORM}:{cache}:{id}")
}
