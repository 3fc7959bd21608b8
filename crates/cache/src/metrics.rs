//! What is measured of the caches, declared once.

use metrics::{Counter, counter, describe_counter};

const READS: &str = "firstcome_cache_reads_total";
const LOADS: &str = "firstcome_cache_loads_total";
const REFRESHES: &str = "firstcome_cache_refreshes_total";
const NEWS: &str = "firstcome_cache_news_total";

/// Handles of one cache's metrics, made once.
pub(crate) struct ReadMetrics {
    pub(crate) process_hits: Counter,
    pub(crate) process_misses: Counter,
    pub(crate) redis_hits: Counter,
    pub(crate) redis_misses: Counter,
    pub(crate) redis_unavailable: Counter,
    pub(crate) loaded: Counter,
    pub(crate) load_failed: Counter,
    pub(crate) process_loads: Counter,
    pub(crate) process_changes: Counter,
    pub(crate) redis_loads: Counter,
    pub(crate) redis_changes: Counter,
}

impl ReadMetrics {
    /// Declares the metrics of a cache. The recorder must be installed by then.
    pub(crate) fn declare(cache: &'static str) -> Self {
        describe_counter!(
            READS,
            "Reads of a cache by level (process, or redis where the process did not have it) and \
             outcome: hit, miss, unavailable (Redis gave no answer)."
        );
        describe_counter!(LOADS, "Reads of the ledger because no level had the value.");
        describe_counter!(
            REFRESHES,
            "Values that a level of a cache was given, by a load (a read had not found them there) \
             or by a change (by an admin, at this process)."
        );
        let loads = |outcome| counter!(LOADS, "cache" => cache, "outcome" => outcome);
        Self {
            process_hits: reads(cache, "process", "hit"),
            process_misses: reads(cache, "process", "miss"),
            redis_hits: reads(cache, "redis", "hit"),
            redis_misses: reads(cache, "redis", "miss"),
            redis_unavailable: reads(cache, "redis", "unavailable"),
            loaded: loads("ok"),
            load_failed: loads("failed"),
            process_loads: refreshes(cache, "process", "load"),
            process_changes: refreshes(cache, "process", "change"),
            redis_loads: refreshes(cache, "redis", "load"),
            redis_changes: refreshes(cache, "redis", "change"),
        }
    }
}

/// Handles of the metrics of what processes tell each other, made once.
pub(crate) struct NewsMetrics {
    pub(crate) told: Counter,
    pub(crate) unconfirmed: Counter,
    pub(crate) failed: Counter,
    pub(crate) heard: Counter,
    pub(crate) gaps: Counter,
}

impl NewsMetrics {
    /// Declares the metrics. The recorder must be installed by then.
    pub(crate) fn declare() -> Self {
        describe_counter!(
            NEWS,
            "Changes told between processes by outcome: told (and confirmed by all), unconfirmed, \
             failed (Redis gave no answer); heard from any; gap (some may have been missed, the \
             process's caches begin anew)."
        );
        let news = |outcome| counter!(NEWS, "outcome" => outcome);
        Self {
            told: news("told"),
            unconfirmed: news("unconfirmed"),
            failed: news("failed"),
            heard: news("heard"),
            gaps: news("gap"),
        }
    }
}

/// Reads of a cache that ended so at this level.
fn reads(cache: &'static str, level: &'static str, outcome: &'static str) -> Counter {
    counter!(READS, "cache" => cache, "level" => level, "outcome" => outcome)
}

/// Values that this level was given for this reason.
fn refreshes(cache: &'static str, level: &'static str, by: &'static str) -> Counter {
    counter!(REFRESHES, "cache" => cache, "level" => level, "by" => by)
}
