//! Redis at the start: whether it is what its use needs.

use std::time::Duration;

use anyhow::{Context as _, bail};
use firstcome_cache::redis::{Judgement, Redis, RedisError, RedisUse, Refusal};
use firstcome_core::{Commit, Strategy};
use firstcome_ledger::{Ledger, LedgerError};
use firstcome_tasks::anew;
use tokio::time::sleep;

use crate::config::Settings;

/// How often one that is away at the start is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Asks Redis what it is, and logs what may cost something. One that is away is asked as soon as it
/// is there, and not used until it fits.
///
/// # Errors
/// What a retry does not change: settings, user, password or rights that do not fit. That it is
/// away is none: a cache does without it, and what it decides is answered 503 until it is there.
pub(crate) async fn check(redis: &Redis, used_for: RedisUse) -> anyhow::Result<()> {
    let address = redis.shown();
    match redis.judge(used_for).await {
        Ok(found) => heed(redis, found),
        Err(error) if is_lasting(&error) => bail!("{address}: {error}"),
        Err(error) => {
            let meanwhile = match used_for {
                RedisUse::Cache => "reads go to the ledger",
                RedisUse::Decider | RedisUse::Journal | RedisUse::FormerJournal => {
                    "what it decides is answered 503"
                }
            };
            tracing::warn!(
                redis.address = address,
                "Redis is away; {meanwhile} until it is there: {error}"
            );
            if used_for != RedisUse::Cache {
                redis.withhold();
            }
            tokio::spawn(check_later(redis.clone(), used_for));
            Ok(())
        }
    }
}

/// Asks Redis what it is, for who does not wait for it.
///
/// # Errors
/// That it does not fit, or does not answer.
pub(crate) async fn check_now(redis: &Redis, used_for: RedisUse) -> anyhow::Result<()> {
    match redis.judge(used_for).await {
        Ok(found) => heed(redis, found),
        Err(error) => bail!("{}: {error}", redis.shown()),
    }
}

async fn check_later(redis: Redis, used_for: RedisUse) {
    anew(|| check_until_fit(&redis, used_for)).await;
}

async fn check_until_fit(redis: &Redis, used_for: RedisUse) {
    let (address, judging) = (redis.shown(), redis.judging());
    loop {
        sleep(LOOK_EVERY).await;
        // Whoever uses it meanwhile is told why it does not answer.
        let Ok(found) = judging.judge(used_for).await else { continue };
        let Err(unfit) = heed(redis, found) else { break };
        if !redis.is_refused() {
            let sentence = "Redis is there, and not used until it is set right";
            tracing::error!(redis.address = address, "{sentence}: {unfit}");
        }
        redis.refuse(unfit.to_string());
    }
    let was_refused = redis.is_refused();
    redis.accept();
    if was_refused {
        tracing::info!(redis.address = address, "Redis is as it must be, and is used");
    }
}

/// Whether it fits; logs what may cost something where it does.
fn heed(redis: &Redis, found: Judgement) -> anyhow::Result<()> {
    let address = redis.shown();
    let Judgement { refusals, warnings } = found;
    if !refusals.is_empty() {
        bail!("{address} cannot be used: {}", refusals.join("; "));
    }
    for warning in warnings {
        tracing::warn!(redis.address = address, "{warning}");
    }
    Ok(())
}

/// The Redis that claims are decided in, or ordered by, unlooked at; none where none is configured.
///
/// # Errors
/// When the configuration is wrong.
pub(crate) fn connect(settings: &Settings) -> anyhow::Result<Option<Redis>> {
    if !settings.redis.is_set() {
        return Ok(None);
    }
    Redis::new(&settings.redis, "claims").map(Some).map_err(|invalid| anyhow::anyhow!("{invalid}"))
}

/// The Redis that claims are decided in, or ordered by; none where none is configured. One that is
/// not fit is not used until it is, where no event needs it by default.
///
/// # Errors
/// As [`check`]'s, where events are decided so by default; and when the ledger does not answer.
pub(crate) async fn decider(settings: &Settings, ledger: &Ledger) -> anyhow::Result<Option<Redis>> {
    let Some(redis) = connect(settings)? else { return Ok(None) };
    let used_for = use_of(settings, ledger).await.context("cannot read the ledger")?;
    match check(&redis, used_for).await {
        Err(error) if settings.claims.strategy == Strategy::Ledger => {
            tracing::warn!("no event can be decided in Redis until it is set right: {error:#}");
            redis.refuse(error.to_string());
            tokio::spawn(check_later(redis.clone(), used_for));
        }
        checked => checked?,
    }
    Ok(Some(redis))
}

/// What claims need Redis for, also those on events that were made with another commit than new
/// ones are.
///
/// # Errors
/// When the ledger does not answer.
pub(crate) async fn use_of(settings: &Settings, ledger: &Ledger) -> Result<RedisUse, LedgerError> {
    if settings.claims.commit == Commit::RedisStream {
        return Ok(RedisUse::Journal);
    }
    let (now, held) = (ledger.clock().now(), [Commit::RedisStream]);
    let open = ledger.events_decided_by(Strategy::Redis, &held, now, 1).await?;
    Ok(if open.is_empty() { RedisUse::Decider } else { RedisUse::FormerJournal })
}

/// Whether only an operator can set it right.
fn is_lasting(error: &RedisError) -> bool {
    error.refusal().is_some_and(|refusal| match refusal {
        Refusal::ReadOnly
        | Refusal::Moved
        | Refusal::CrossSlot
        | Refusal::NoPassword
        | Refusal::WrongPassword
        | Refusal::SentinelPassword
        | Refusal::NoPermission
        | Refusal::Protected
        | Refusal::TooOld
        | Refusal::NoCluster => true,
        Refusal::OutOfMemory
        | Refusal::Loading
        | Refusal::NodeAway
        | Refusal::Migrating
        | Refusal::ClusterDown
        | Refusal::MasterDown
        | Refusal::NoReplicas
        | Refusal::CannotSave
        | Refusal::Busy => false,
    })
}
