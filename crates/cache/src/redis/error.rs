//! Why a call to Redis gave nothing, by what the caller may conclude.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::redis::{ErrorKind, ServerErrorKind};

/// Why a call gave nothing. Only [`InDoubt`](Self::InDoubt) and [`Rejected`](Self::Rejected) may
/// have changed something.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RedisError {
    /// Certainly not executed: there is no connection, the breaker is open, or the server is not
    /// [fit](super::Redis::refuse).
    #[error("Redis cannot be reached: {0}")]
    Unavailable(Arc<str>),
    /// Sent, and no answer was seen in time: it may have been executed, or may yet be.
    #[error("Redis did not answer: {0}")]
    InDoubt(Arc<str>),
    /// The server does not do such a thing as it is now: not executed, and how to set it right.
    #[error("Redis refuses: {refusal} (it said: {said})")]
    Refused {
        /// What stands in the way.
        refusal: Refusal,
        /// The server's own words.
        said: Arc<str>,
    },
    /// Any other error that the server answered. A script may have written before it failed.
    #[error("Redis answered an error: {0}")]
    Rejected(Arc<str>),
}

/// What keeps a server from executing a command, told with its remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// `maxmemory` is reached and nothing may be evicted.
    OutOfMemory,
    /// It is a replica.
    ReadOnly,
    /// It loads its data.
    Loading,
    /// It is a node of a cluster, and asked as a server by itself.
    Moved,
    /// Another node of the cluster has the key, and it was not to be had there.
    NodeAway,
    /// The key's slot is on its way to another node of the cluster.
    Migrating,
    /// The keys of one call lie on several nodes of the cluster.
    CrossSlot,
    /// The cluster does not have all its slots.
    ClusterDown,
    /// A replica whose master is away.
    MasterDown,
    /// Too few replicas follow.
    NoReplicas,
    /// It wants a password first.
    NoPassword,
    /// The user or the password is wrong.
    WrongPassword,
    /// A sentinel wants a password first, or another one.
    SentinelPassword,
    /// The user may not do this.
    NoPermission,
    /// It cannot save, and takes no writes until it can.
    CannotSave,
    /// A script has been running for too long.
    Busy,
    /// Its protected mode lets nobody in from outside.
    Protected,
    /// It speaks only the old protocol.
    TooOld,
    /// It is no node of a cluster, though the URL says so.
    NoCluster,
}

impl Refusal {
    /// What is wrong, and which setting changes it.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::OutOfMemory => {
                "its memory is full: raise `maxmemory`, or see what else fills it (`INFO memory`)"
            }
            Self::ReadOnly => {
                "it is a replica and takes no writes: redis.url must name the master, or the \
                 sentinels, as redis+sentinel://host:26379/master-name"
            }
            Self::Loading => {
                "it still loads its data: wait until `INFO persistence` says loading:0"
            }
            Self::Moved => {
                "it is a node of a cluster: write redis+cluster://host:port,host:port in redis.url"
            }
            Self::NodeAway => {
                "another node of the cluster has the key and cannot be asked: `redis-cli --cluster \
                 check` tells which nodes are away"
            }
            Self::Migrating => {
                "the key's slot is being moved to another node of the cluster: calls on it succeed \
                 when that has ended; `redis-cli --cluster check` names slots that are left open"
            }
            Self::CrossSlot => {
                "the keys lie in different slots of the cluster: they must share a {hash tag}"
            }
            Self::ClusterDown => {
                "the cluster is down: `redis-cli --cluster check` names the slots without a node"
            }
            Self::MasterDown => {
                "it is a replica that has lost its master: redis.url must name the master, or the \
                 sentinels"
            }
            Self::NoReplicas => {
                "too few replicas follow it: bring them back, or lower `min-replicas-to-write`"
            }
            Self::NoPassword => {
                "it wants a password: write redis://user:password@host in redis.url"
            }
            Self::WrongPassword => {
                "the user or password is wrong or the user is off: compare redis.url with \
                 `requirepass` and `ACL LIST`"
            }
            Self::SentinelPassword => {
                "a sentinel wants another user or password: set redis.sentinel_password, and \
                 redis.sentinel_username where its `ACL LIST` has a user for us"
            }
            Self::NoPermission => {
                "the user may not do this: docs/operations/redis.md has the `ACL SETUSER` that it \
                 needs"
            }
            Self::CannotSave => {
                "it cannot save its data and takes no writes: look at its disk and log, or set \
                 `stop-writes-on-bgsave-error no`"
            }
            Self::Busy => "a script runs longer than `busy-reply-threshold`: `SCRIPT KILL` ends it",
            Self::Protected => {
                "its protected mode lets nobody in from another machine: give it a password \
                 (`requirepass`) and a `bind` address"
            }
            Self::TooOld => "it speaks only RESP2: Redis 6 or later is needed",
            Self::NoCluster => {
                "it is no cluster (`cluster-enabled no`): begin redis.url with redis:// or, for \
                 TLS, rediss://"
            }
        }
    }

    /// What the first word of an error answer means; none for what no setting explains.
    fn of(code: &str) -> Option<Self> {
        Some(match code {
            "OOM" => Self::OutOfMemory,
            "READONLY" => Self::ReadOnly,
            "LOADING" => Self::Loading,
            "MOVED" => Self::Moved,
            "ASK" | "TRYAGAIN" => Self::Migrating,
            "CROSSSLOT" => Self::CrossSlot,
            "CLUSTERDOWN" => Self::ClusterDown,
            "MASTERDOWN" => Self::MasterDown,
            "NOREPLICAS" => Self::NoReplicas,
            "NOAUTH" => Self::NoPassword,
            "WRONGPASS" => Self::WrongPassword,
            "NOPERM" => Self::NoPermission,
            "MISCONF" => Self::CannotSave,
            "BUSY" => Self::Busy,
            "DENIED" => Self::Protected,
            "NOPROTO" => Self::TooOld,
            _ => return None,
        })
    }

    /// What an error answer means.
    fn of_words(said: &str) -> Option<Self> {
        // To a script, Redis says this without a code before version 7.
        if said.starts_with("The user executing the script can't run") {
            return Some(Self::NoPermission);
        }
        Self::of(said.split(' ').next().unwrap_or_default())
    }
}

/// The server's own words to a script: before Redis 7 they stand behind the place in it, as in
/// `@user_script: 1: -OOM command not allowed`.
fn words_in_script(said: &str) -> &str {
    let Some((_, at)) = said.rsplit_once("@user_script: ") else { return said };
    let words = at.split_once(": ").map_or(at, |(_, words)| words);
    words.strip_prefix('-').unwrap_or(words)
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl RedisError {
    pub(super) fn unavailable(reason: impl fmt::Display) -> Self {
        Self::Unavailable(reason.to_string().into())
    }

    /// No answer in this time.
    pub(super) fn late(limit: Duration) -> Self {
        Self::InDoubt(format!("no answer within {} ms", limit.as_millis()).into())
    }

    /// What became of a command that was handed to a connection.
    pub(super) fn of_call(error: &::redis::RedisError) -> Self {
        if let Some(refused) = Self::refused(error) {
            return refused;
        }
        match error.kind() {
            ErrorKind::Io | ErrorKind::Parse => Self::InDoubt(error.to_string().into()),
            ErrorKind::ClusterConnectionNotFound => Self::unavailable(error),
            _ => Self::Rejected(error.to_string().into()),
        }
    }

    /// Why there is no connection: nothing was sent on it.
    pub(super) fn of_connecting(error: &::redis::RedisError) -> Self {
        Self::refused(error).unwrap_or_else(|| match error.kind() {
            ErrorKind::RESP3NotSupported => {
                Self::Refused { refusal: Refusal::TooOld, said: error.to_string().into() }
            }
            // By the older protocol, which sentinels are spoken to in, the client keeps the
            // server's words to itself.
            ErrorKind::AuthenticationFailed => {
                Self::Refused { refusal: Refusal::WrongPassword, said: error.to_string().into() }
            }
            _ => Self::unavailable(error),
        })
    }

    fn refused(error: &::redis::RedisError) -> Option<Self> {
        let of_the_call = Refusal::of(error.code()?);
        let refusal =
            of_the_call.or_else(|| Refusal::of_words(words_in_script(error.detail()?)))?;
        Some(Self::Refused { refusal, said: error.to_string().into() })
    }

    /// What a script was answered, in the server's words.
    pub(super) fn of_words(said: &[u8]) -> Self {
        let said = String::from_utf8_lossy(said);
        match Refusal::of_words(words_in_script(&said)) {
            Some(refusal) => Self::Refused { refusal, said: said.into() },
            None => Self::Rejected(said.into()),
        }
    }

    /// The same of a call to a cluster, which is told who has the key and asks there.
    pub(super) fn of_call_to_cluster(error: &::redis::RedisError) -> Self {
        match Self::of_call(error) {
            Self::Refused { refusal: Refusal::Moved, said } => {
                Self::Refused { refusal: Refusal::NodeAway, said }
            }
            other => other,
        }
    }

    /// What stands in the way, where the server said so.
    #[must_use]
    pub const fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(*refusal),
            _ => None,
        }
    }

    /// The server knows the script's digest no more: it was restarted, or its scripts flushed.
    pub(super) fn is_unknown_script(error: &::redis::RedisError) -> bool {
        error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
    }

    /// Whether the server serves nobody, or lets us not even in: what the breaker counts.
    pub(super) const fn is_silence(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::InDoubt(_) => true,
            Self::Refused { refusal, .. } => matches!(
                refusal,
                Refusal::Loading
                    | Refusal::ClusterDown
                    | Refusal::MasterDown
                    | Refusal::NoPassword
                    | Refusal::WrongPassword
                    | Refusal::SentinelPassword
                    | Refusal::Protected
                    | Refusal::TooOld
                    | Refusal::NoCluster
            ),
            Self::Rejected(_) => false,
        }
    }

    /// Whether another connection may do better: this one is broken, leads to a server that has
    /// become a replica, or was made before the password was set.
    pub(super) const fn is_of_the_connection(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::InDoubt(_) => true,
            Self::Refused { refusal, .. } => matches!(
                refusal,
                Refusal::ReadOnly | Refusal::MasterDown | Refusal::NoPassword | Refusal::Moved
            ),
            Self::Rejected(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_is_refused_is_told_by_every_version() {
        let refusal = |said: &str| RedisError::of_words(said.as_bytes()).refusal();
        for (said, expected) in [
            ("OOM command not allowed when used memory > 'maxmemory'.", Refusal::OutOfMemory),
            ("@user_script: 1: -OOM command not allowed", Refusal::OutOfMemory),
            ("@user_script:1: @user_script: 27: -READONLY You can't write", Refusal::ReadOnly),
            (
                "@user_script: 1: The user executing the script can't run this command",
                Refusal::NoPermission,
            ),
        ] {
            assert_eq!(refusal(said), Some(expected), "{said}");
        }
        for said in
            ["user_script:1: attempt to compare nil with number", "ERR OOM", "", "@user_script: "]
        {
            assert_eq!(refusal(said), None, "{said}");
        }
    }
}
