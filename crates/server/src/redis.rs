//! Redis at the start: whether it is what its use needs.

use anyhow::bail;
use firstcome_cache::redis::{Redis, RedisError, RedisUse, Refusal};

/// Asks Redis what it is, and logs what may cost something.
///
/// # Errors
/// What a retry does not change: settings, user or password that do not fit. That it is away is
/// none for a cache, which does without it.
pub(crate) async fn check(redis: &Redis, used_for: RedisUse) -> anyhow::Result<()> {
    let address = redis.shown();
    let servers = match redis.inspect().await {
        Ok(servers) => servers,
        Err(error) if is_lasting(&error) => bail!("{address}: {error}"),
        Err(error) if used_for == RedisUse::Cache => {
            tracing::warn!(
                redis.address = address,
                "Redis is away; reads go to the ledger until it is there: {error}"
            );
            return Ok(());
        }
        Err(error) => bail!("{address}: {error}"),
    };
    let mut refusals = Vec::new();
    for server in servers {
        let judgement = server.judge(redis.kind(), used_for);
        refusals.extend(judgement.refusals);
        for warning in judgement.warnings {
            tracing::warn!(redis.address = address, "{warning}");
        }
    }
    match refusals.as_slice() {
        [] => Ok(()),
        _ => bail!("{address} cannot be used: {}", refusals.join("; ")),
    }
}

/// Whether only an operator can set it right.
fn is_lasting(error: &RedisError) -> bool {
    error.refusal().is_some_and(|refusal| match refusal {
        Refusal::ReadOnly
        | Refusal::Moved
        | Refusal::CrossSlot
        | Refusal::NoPassword
        | Refusal::WrongPassword
        | Refusal::NoPermission
        | Refusal::Protected
        | Refusal::TooOld
        | Refusal::NoCluster => true,
        Refusal::OutOfMemory
        | Refusal::Loading
        | Refusal::ClusterDown
        | Refusal::MasterDown
        | Refusal::NoReplicas
        | Refusal::CannotSave
        | Refusal::Busy => false,
    })
}
