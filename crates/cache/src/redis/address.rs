//! Where Redis is, read from `redis.url`.

use ::redis::{ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo, parse_redis_url};
use firstcome_core::Invalid;

/// The port of Redis, and of a node of its cluster.
const PORT: u16 = 6379;
/// The port of a sentinel.
const SENTINEL_PORT: u16 = 26379;
/// Most servers in one URL.
const SERVERS_MAX: usize = 32;

/// How the servers stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisKind {
    /// One server: `redis://` or `rediss://`.
    Standalone,
    /// A master and its replicas, which sentinels know: `redis+sentinel://`.
    Sentinel,
    /// Nodes that share the keys: `redis+cluster://`.
    Cluster,
}

/// A parsed `redis.url`.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) kind: RedisKind,
    pub(super) is_tls: bool,
    /// The servers that are named, or the sentinels.
    pub(super) servers: Vec<(String, u16)>,
    /// What the sentinels call the master; empty without them.
    pub(super) master: String,
    /// User, password and database.
    pub(super) login: RedisConnectionInfo,
}

impl Address {
    /// Reads a URL. What it says of a wrong one does not repeat it: it may hold a password.
    pub(super) fn parse(url: &str) -> Result<Self, Invalid> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let (kind, is_tls) = match scheme {
            "redis" => (RedisKind::Standalone, false),
            "rediss" => (RedisKind::Standalone, true),
            "redis+sentinel" => (RedisKind::Sentinel, false),
            "rediss+sentinel" => (RedisKind::Sentinel, true),
            "redis+cluster" => (RedisKind::Cluster, false),
            "rediss+cluster" => (RedisKind::Cluster, true),
            _ => {
                return Err(wrong(
                    "must begin with redis://, redis+sentinel:// or redis+cluster://, \
                                   or with rediss for TLS",
                ));
            }
        };
        if rest.contains(['?', '#']) {
            return Err(wrong(
                "has a `?` or a `#`: write %3F or %23 in a password; options are keys \
                              of the section redis",
            ));
        }
        let (before, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, servers) = match before.rsplit_once('@') {
            Some((credentials, servers)) => (format!("{credentials}@"), servers),
            None => (String::new(), before),
        };
        let (master, database) = match kind {
            RedisKind::Sentinel => path.split_once('/').unwrap_or((path, "")),
            RedisKind::Standalone | RedisKind::Cluster => ("", path),
        };
        let usual_port = if kind == RedisKind::Sentinel { SENTINEL_PORT } else { PORT };
        let servers: Vec<_> = servers
            .split(',')
            .map(|server| host_and_port(server, usual_port))
            .collect::<Result<_, _>>()?;
        let login = login(&credentials, database)?;
        let address = Self { kind, is_tls, servers, master: master.to_owned(), login };
        address.checked()
    }

    fn checked(self) -> Result<Self, Invalid> {
        let count = self.servers.len();
        match self.kind {
            RedisKind::Standalone if count > 1 => Err(wrong(
                "names several servers: begin with redis+sentinel:// or redis+cluster://",
            )),
            RedisKind::Sentinel if self.master.is_empty() => {
                Err(wrong("needs the master's name: redis+sentinel://host:26379/master-name"))
            }
            RedisKind::Cluster if self.login.db() != 0 => {
                Err(wrong("names a database: a cluster has only 0"))
            }
            _ if count > SERVERS_MAX => Err(wrong("names more than 32 servers")),
            _ if !(0..=i64::from(u16::MAX)).contains(&self.login.db()) => {
                Err(wrong("has a database that is no number from 0 to 65535"))
            }
            _ => Ok(self),
        }
    }

    /// The URL without user and password.
    pub(super) fn shown(&self) -> String {
        let scheme = match self.kind {
            RedisKind::Standalone => "",
            RedisKind::Sentinel => "+sentinel",
            RedisKind::Cluster => "+cluster",
        };
        let tls = if self.is_tls { "s" } else { "" };
        let servers: Vec<_> = self.servers.iter().map(|(host, port)| shown(host, *port)).collect();
        let mut path = String::new();
        if self.kind == RedisKind::Sentinel {
            path = format!("/{}", self.master);
        }
        if self.login.db() != 0 {
            path = format!("{path}/{}", self.login.db());
        }
        format!("redis{tls}{scheme}://{}{path}", servers.join(","))
    }
}

/// A server as `host:port`.
pub(super) fn shown(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn wrong(sentence: &str) -> Invalid {
    Invalid::new(format!("redis.url {sentence}"))
}

fn host_and_port(server: &str, usual_port: u16) -> Result<(String, u16), Invalid> {
    let invalid = || wrong("must name each server as host:port, separated by commas");
    let url = parse_redis_url(&format!("redis://{server}/")).ok_or_else(invalid)?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(invalid)?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok((host, url.port().unwrap_or(usual_port)))
}

/// User, password and database as the client takes them, percent-encoding undone.
fn login(credentials: &str, database: &str) -> Result<RedisConnectionInfo, Invalid> {
    let url = format!("redis://{credentials}localhost/{database}");
    let read: ConnectionInfo = url.as_str().into_connection_info().map_err(|_| {
        wrong(
            "must be redis://[user:password@]host[:port][/database], with what is no letter or \
               digit of a password percent-encoded, as %40 for @",
        )
    })?;
    Ok(read.redis_settings().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Address {
        Address::parse(url).unwrap_or_else(|invalid| panic!("{url}: {invalid}"))
    }

    #[test]
    fn every_kind_of_url_is_read() {
        for (url, shown) in [
            ("redis://localhost", "redis://localhost:6379"),
            ("redis://10.0.0.1:7000/3", "redis://10.0.0.1:7000/3"),
            ("rediss://ann:p%40ss@cache.example:6380/", "rediss://cache.example:6380"),
            ("redis://:secret@[::1]:7000", "redis://[::1]:7000"),
            ("redis+sentinel://a,b:27000/main", "redis+sentinel://a:26379,b:27000/main"),
            ("rediss+sentinel://u:p@a/main/2", "rediss+sentinel://a:26379/main/2"),
            ("redis+cluster://u:p@a:1,b:2,c", "redis+cluster://a:1,b:2,c:6379"),
        ] {
            assert_eq!(parsed(url).shown(), shown, "{url}");
        }
        let login = parsed("redis://ann:p%40ss%3A@host/4").login;
        assert_eq!((login.username(), login.password()), (Some("ann"), Some("p@ss:")));
        assert_eq!(login.db(), 4);
        assert_eq!(parsed("redis://:only@host").login.password(), Some("only"));
    }

    #[test]
    fn a_wrong_url_is_refused_without_repeating_it() {
        for (url, part) in [
            ("", "begin with"),
            ("localhost:6379", "begin with"),
            ("http://canary@host", "begin with"),
            ("redis://canary@/0", "host:port"),
            ("redis://canary@host:port", "host:port"),
            ("redis://canary@host:70000", "host:port"),
            ("redis://canary@host/x", "database"),
            ("redis://canary@host/-1", "65535"),
            ("redis://canary@a,b", "several servers"),
            ("redis://u:canary#1@host", "%23"),
            ("redis://host/?protocol=resp3", "keys of the section"),
            ("redis+sentinel://canary@host", "master's name"),
            ("redis+sentinel://canary@host/", "master's name"),
            ("redis+cluster://canary@host/1", "only 0"),
        ] {
            let sentence = Address::parse(url).err().expect(url).to_string();
            assert!(sentence.starts_with("redis.url ") && sentence.contains(part), "{sentence}");
            assert!(!sentence.contains("canary"), "{sentence}");
        }
    }
}
