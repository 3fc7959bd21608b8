//! What Redis's log of slow commands tells of the script that decides claims, once every command
//! counts as slow.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

use crate::bench::beside::Beside;
use crate::bench::report::median;

/// Calls of one round, and some.
const CALLS_MAX: &str = "1000000";
/// The words of a call before the users: `EVALSHA`, a digest, the number of keys, three keys; of
/// the one event, the numbers of keys and of words; how users are named; and for how long coupons
/// are valid.
const WORDS_BEFORE: usize = 10;
/// Which of them says how users are named.
const NAMES: usize = 8;
/// Which of them says how many words follow.
const WORDS: usize = 7;
/// What stands last in place of words that the log leaves out.
const MORE: &str = " more arguments)";

/// Batches of a hundred that are decided with nothing beside them.
const BATCHES_ALONE: u32 = 1_000;

/// What the script and its winners take.
pub(crate) struct Script {
    /// Of Redis's memory, for a winner.
    pub(crate) bytes: f64,
    /// For a hundred winners of one call, while nothing else is done.
    pub(crate) alone_us: f64,
    /// For a hundred winners in the drop, where a call's time goes on while others have its core.
    pub(crate) in_drop_us: f64,
    /// Users of a call in the drop.
    pub(crate) batch_in_drop: f64,
}

/// A call of the script.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    /// What stands before its users.
    head: Vec<String>,
    users: u64,
    micros: u64,
}

/// Redis's own log, with everything in it; it is as usual again when the value goes.
pub(crate) struct Watch<'a> {
    redis: &'a Beside,
    /// In use at the start.
    bytes: u64,
}

impl<'a> Watch<'a> {
    /// Has Redis write down every command, from now on.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) fn start(redis: &'a Beside) -> anyhow::Result<Self> {
        let watch = Self { redis, bytes: used_bytes(redis)? };
        redis.ask(&[
            "CONFIG",
            "SET",
            "slowlog-log-slower-than",
            "0",
            "slowlog-max-len",
            CALLS_MAX,
        ])?;
        redis.ask(&["SLOWLOG", "RESET"])?;
        Ok(watch)
    }

    /// What the winners since have taken; then decides batches by itself, written to a file.
    ///
    /// # Errors
    /// When Redis does not tell, or tells of other users.
    #[expect(clippy::cast_precision_loss, reason = "bytes and winners are far below 2^52")]
    pub(crate) fn finish(self, winners: u64, file: &Path) -> anyhow::Result<Script> {
        let in_drop = self.calls()?;
        let users: u64 = in_drop.iter().map(|call| call.users).sum();
        anyhow::ensure!(users == winners, "calls for {users} users, of {winners} winners");
        // Only without what it has written down.
        self.redis.ask(&["SLOWLOG", "RESET"])?;
        let bytes = used_bytes(self.redis)?.saturating_sub(self.bytes);
        write_batches(&in_drop[0].head, file)?;
        self.redis.ask_all(File::open(file)?)?;
        Ok(Script {
            bytes: bytes as f64 / winners as f64,
            alone_us: median(self.calls()?.iter().map(micros_of_100).collect()),
            in_drop_us: median(in_drop.iter().map(micros_of_100).collect()),
            batch_in_drop: median(in_drop.iter().map(|call| call.users as f64).collect()),
        })
    }

    /// The calls in the log.
    fn calls(&self) -> anyhow::Result<Vec<Call>> {
        let log = self.redis.ask(&["SLOWLOG", "GET", CALLS_MAX])?;
        let calls = calls(&serde_json::from_str(&log)?)?;
        anyhow::ensure!(!calls.is_empty(), "Redis has written down no call of the script");
        Ok(calls)
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        // As Redis has them by default.
        let usual = ["CONFIG", "SET", "slowlog-log-slower-than", "10000", "slowlog-max-len", "128"];
        if let Err(error) = self.redis.ask(&usual) {
            println!("Redis goes on writing down every command: {error:#}");
        }
    }
}

/// All that Redis has in use.
fn used_bytes(redis: &Beside) -> anyhow::Result<u64> {
    let told = redis.ask(&["INFO", "memory"])?;
    let line = told.lines().find_map(|line| line.strip_prefix("used_memory:"));
    Ok(line.context("Redis tells no used_memory")?.trim().parse()?)
}

/// Calls for a hundred users each who have not claimed before.
fn write_batches(head: &[String], file: &Path) -> anyhow::Result<()> {
    let mut head = head.to_vec();
    "102".clone_into(&mut head[WORDS]);
    // It has spaces, or is empty.
    let validity = head.last_mut().expect("it is the last of them");
    *validity = format!("\"{validity}\"");
    let mut batches = BufWriter::new(File::create(file)?);
    for batch in 0..BATCHES_ALONE {
        let users: Vec<_> = (0..100).map(|user| format!("alone-{batch}-{user}")).collect();
        writeln!(batches, "{} {}", head.join(" "), users.join(" "))?;
    }
    Ok(batches.flush()?)
}

#[expect(clippy::cast_precision_loss, reason = "figures of one call are far below 2^52")]
fn micros_of_100(call: &Call) -> f64 {
    call.micros as f64 * 100.0 / call.users as f64
}

/// The calls that decide claims, of all in a log.
fn calls(log: &Value) -> anyhow::Result<Vec<Call>> {
    let mut calls = Vec::new();
    for entry in log.as_array().context("no log")? {
        let words: Vec<String> = serde_json::from_value(entry[3].clone())?;
        if words.first().is_some_and(|word| word == "EVALSHA")
            && let Some((head, users)) = words.split_at_checked(WORDS_BEFORE)
            && head[NAMES] == "raw"
        {
            let micros = entry[2].as_u64().context("a call without a time")?;
            calls.push(Call { head: head.to_vec(), users: count(users)?, micros });
        }
    }
    Ok(calls)
}

/// How many users a call has, those that the log leaves out too.
fn count(users: &[String]) -> anyhow::Result<u64> {
    let shown = u64::try_from(users.len())?;
    let last = users.last().and_then(|last| last.strip_prefix("... ("));
    match last.and_then(|rest| rest.strip_suffix(MORE)) {
        Some(more) => Ok(shown - 1 + more.parse::<u64>()?),
        None => Ok(shown),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_calls_that_decide_claims_count() {
        let head = ["EVALSHA", "d", "3", "m", "w", "p", "3", "4", "raw", "1 days:30"];
        let claims = |last: &'static str| [head.as_slice(), &["u1", last]].concat();
        let log = json!([
            [3, 1, 90, claims("u2"), "c", ""],
            [2, 1, 200, claims("... (29 more arguments)"), "c", ""],
            [1, 1, 5, ["EVALSHA", "e", "3", "m", "w", "p", "3", "2", "17", "5"], "c", ""],
            [0, 1, 5, ["HMGET", "m"], "c", ""],
        ]);
        let call = |users, micros| Call { head: head.map(str::to_owned).to_vec(), users, micros };
        let found = calls(&log).unwrap();
        assert_eq!(found, [call(2, 90), call(1 + 29, 200)]);
        assert!((micros_of_100(&found[0]) - 4500.0).abs() < 1e-9);
        assert!(calls(&json!({})).is_err());
    }

    #[test]
    fn a_batch_has_a_hundred_users_who_have_not_claimed_before() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let head = ["EVALSHA", "d", "3", "m", "w", "p", "3", "8", "raw", "1 d"].map(str::to_owned);
        write_batches(&head, file.path()).unwrap();
        let written = std::fs::read_to_string(file.path()).unwrap();
        let head = r#"EVALSHA d 3 m w p 3 102 raw "1 d" "#;
        let users = |line: &str| {
            let users = line.strip_prefix(head).expect("the same call").split(' ');
            users.map(str::to_owned).collect::<Vec<_>>()
        };
        let all: Vec<_> = written.lines().flat_map(users).collect();
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!((all.len(), different.len()), (100_000, 100_000));
    }
}
