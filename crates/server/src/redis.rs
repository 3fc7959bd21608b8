//! Redis at the start: what it is, and whether it is fit to decide.

use firstcome_cache::redis::{Redis, RedisUse};

use crate::config::Settings;

/// The connection that claims go by; none where no Redis is configured. One that is away is no
/// fault of the start: claims that need it are answered 503 until it is there.
///
/// # Errors
/// When what is configured cannot be used, or the server is not fit to decide claims.
pub(crate) async fn connect(settings: &Settings) -> anyhow::Result<Option<Redis>> {
    if !settings.redis.is_set() {
        return Ok(None);
    }
    let redis =
        Redis::new(&settings.redis, "claims").map_err(|invalid| anyhow::anyhow!("{invalid}"))?;
    let servers = match redis.inspect().await {
        Ok(servers) => servers,
        // What a refusal names, such as a wrong password, does not mend itself.
        Err(error) if error.refusal().is_some_and(|refusal| !refusal.may_pass()) => {
            anyhow::bail!("Redis at {} cannot be used: {error}", redis.shown());
        }
        Err(error) => {
            tracing::warn!(
                error.message = %error,
                "Redis at {} does not answer yet; what it decides is answered 503 until it does",
                redis.shown()
            );
            return Ok(Some(redis));
        }
    };
    for server in servers {
        let found = server.judge(redis.kind(), RedisUse::Decider);
        for warning in found.warnings {
            tracing::warn!("Redis at {} {warning}", redis.shown());
        }
        if let Some(refusal) = found.refusals.first() {
            anyhow::bail!("Redis at {} {refusal}", redis.shown());
        }
    }
    Ok(Some(redis))
}
