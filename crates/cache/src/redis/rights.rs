//! What the user may do, asked at the start: a server tells that only of what it is asked to do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use ::redis::{Cmd, from_redis_value};

use super::script::Message;
use super::{Redis, RedisError, Refusal, Script};

/// Does all that deciding takes to a key that nobody has, and tells what was denied.
static PROBE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("rights.lua")));
/// That key.
const PROBED: &str = "firstcome:probe";

/// What a server with this address has told.
type Told = (String, Result<Vec<String>, RedisError>);

impl Redis {
    /// The commands that the user may not run though deciding claims takes them, of each server
    /// that takes writes and denies some, by its address. Nothing is changed.
    ///
    /// # Errors
    /// As a call's.
    pub(super) async fn denied(&self) -> Result<BTreeMap<String, BTreeSet<String>>, RedisError> {
        // No server of a cluster has all keys: it is no key of the script.
        let probe = PROBE.call(&[""; 0]).arg(PROBED);
        let message = Message::of(&probe);
        let mut denied: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        // By its text first: it is known by its digest then.
        for (name, command) in [("EVAL", message.by_text()), ("EVALSHA", message.by_digest())] {
            for (address, answer) in self.told_by_each(&command).await? {
                let commands = match answer {
                    Ok(commands) => commands,
                    Err(error) if error.refusal() == Some(Refusal::NoPermission) => {
                        vec![name.to_owned()]
                    }
                    // Whatever it is, it is not about the user.
                    Err(RedisError::Rejected(_)) => Vec::new(),
                    Err(error) => return Err(error),
                };
                if !commands.is_empty() {
                    denied.entry(address).or_default().extend(commands);
                }
            }
        }
        Ok(denied)
    }

    /// What each server that takes writes answers, by its address, its errors included.
    async fn told_by_each(&self, command: &Cmd) -> Result<Vec<Told>, RedisError> {
        let answers = match self.ask_each(command).await {
            // Of the one there is.
            Err(error @ (RedisError::Refused { .. } | RedisError::Rejected(_))) => {
                return Ok(vec![(String::new(), Err(error))]);
            }
            answers => answers?,
        };
        let told = answers.into_iter().map(|(address, answer)| {
            let commands = answer
                .extract_error()
                .and_then(|answer| Ok(from_redis_value::<Vec<String>>(answer)?));
            (address, commands.map_err(|error| RedisError::of_call(&error)))
        });
        Ok(told.collect())
    }
}
