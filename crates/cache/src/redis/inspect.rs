//! What the servers are, asked at the start, and whether that, with what the user may do, is good
//! enough for a use.

use std::collections::HashMap;

use ::redis::{InfoDict, cmd, from_redis_value};

use super::{Redis, RedisError, RedisKind, Refusal};

/// What Redis is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisUse {
    /// What it forgets is read again from the ledger.
    Cache,
    /// It decides claims: it must not forget what nobody took away.
    Decider,
    /// It holds won claims before the ledger does: it must not lose what it was given.
    Journal,
    /// It decides claims, and is a journal for what was begun so: that goes on where it may lose
    /// something, and who runs it is told.
    FormerJournal,
}

/// What a server says of itself. What it does not tell, as some managed ones, is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerFacts {
    /// Its address as `host:port`; empty for the one that a URL names.
    pub address: String,
    /// Its version, as `7.0.15`.
    pub version: Option<String>,
    /// `run_id` and `master_replid`, with a `:` between them: it changes whenever the data may
    /// have, by a restart or a failover.
    pub incarnation: Option<String>,
    /// `master` or `slave`.
    pub role: Option<String>,
    /// Whether it is a node of a cluster.
    pub is_cluster: Option<bool>,
    /// What it forgets when its memory is full.
    pub maxmemory_policy: Option<String>,
    /// How much memory it may use, in bytes; 0: all there is.
    pub maxmemory: Option<u64>,
    /// Whether it keeps its append-only file.
    pub appendonly: Option<bool>,
    /// When it syncs that file: `always`, `everysec` or `no`.
    pub appendfsync: Option<String>,
}

/// What was found: sentences for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Judgement {
    /// What makes it unfit.
    pub refusals: Vec<String>,
    /// What may cost something, and what could not be checked.
    pub warnings: Vec<String>,
}

impl Redis {
    /// Asks every server that takes writes what it is, and judges whether that, and what the user
    /// may do there, is good enough for this use.
    ///
    /// # Errors
    /// As a call's. That a server does not tell everything is no error.
    pub async fn judge(&self, used_for: RedisUse) -> Result<Judgement, RedisError> {
        let mut found = Judgement::default();
        for server in self.inspect().await? {
            server.judge(self.kind(), used_for, &mut found);
        }
        // One that is unfit anyway may not even run a script.
        if used_for != RedisUse::Cache && found.refusals.is_empty() {
            for (address, commands) in self.denied().await? {
                let server = ServerFacts { address, ..ServerFacts::default() };
                let commands = commands.into_iter().collect::<Vec<_>>().join(", ");
                found.refuse(&server, &format!("denies {commands}: {}", Refusal::NoPermission));
            }
        }
        Ok(found)
    }

    /// Asks every server that takes writes what it is: the one there is, the master, or each
    /// primary of the cluster.
    ///
    /// # Errors
    /// As a call's. That a server does not tell everything is no error.
    pub async fn inspect(&self) -> Result<Vec<ServerFacts>, RedisError> {
        let infos = match self.infos().await {
            // A user without the command INFO.
            Err(RedisError::Refused { .. } | RedisError::Rejected(_)) => {
                self.call::<String>(&cmd("PING")).await?;
                vec![(String::new(), None)]
            }
            infos => infos?,
        };
        let fsync = self.appendfsync().await?;
        let facts = infos.into_iter().map(|(address, info)| {
            let mut facts = info.map_or_else(ServerFacts::default, |info| ServerFacts::of(&info));
            facts.appendfsync = fsync.get(&address).cloned();
            ServerFacts { address, ..facts }
        });
        Ok(facts.collect())
    }

    /// The incarnation of the server that has this key; none where it may not be asked.
    ///
    /// # Errors
    /// As a call's.
    pub async fn incarnation(&self, key: &str) -> Result<Option<String>, RedisError> {
        let info = self.ask_owner(&cmd("INFO"), key).await?;
        Ok(from_redis_value(info).ok().and_then(|info| ServerFacts::of(&info).incarnation))
    }

    async fn infos(&self) -> Result<Vec<(String, Option<InfoDict>)>, RedisError> {
        let answers = self.ask_each(&cmd("INFO")).await?;
        Ok(answers.into_iter().map(|(node, info)| (node, from_redis_value(info).ok())).collect())
    }

    /// The setting of each server by its name. Empty where nobody may ask.
    async fn appendfsync(&self) -> Result<HashMap<String, String>, RedisError> {
        let mut command = cmd("CONFIG");
        let answers = match self.ask_each(command.arg("GET").arg("appendfsync")).await {
            Err(RedisError::Refused { .. } | RedisError::Rejected(_)) => return Ok(HashMap::new()),
            answers => answers?,
        };
        let setting = |value| {
            let mut settings: HashMap<String, String> = from_redis_value(value).ok()?;
            settings.remove("appendfsync")
        };
        let settings = answers.into_iter();
        Ok(settings.filter_map(|(node, answer)| Some((node, setting(answer)?))).collect())
    }
}

impl ServerFacts {
    fn of(info: &InfoDict) -> Self {
        let incarnation = || {
            let (run, replica) =
                (info.get::<String>("run_id")?, info.get::<String>("master_replid")?);
            Some(format!("{run}:{replica}"))
        };
        Self {
            address: String::new(),
            version: info.get("redis_version"),
            incarnation: incarnation(),
            role: info.get("role"),
            is_cluster: info.get::<u8>("cluster_enabled").map(|enabled| enabled == 1),
            maxmemory_policy: info.get("maxmemory_policy"),
            maxmemory: info.get("maxmemory"),
            appendonly: info.get::<u8>("aof_enabled").map(|enabled| enabled == 1),
            appendfsync: None,
        }
    }

    /// Whether it is fit for this use, behind a URL of this kind.
    fn judge(&self, kind: RedisKind, used_for: RedisUse, found: &mut Judgement) {
        self.judge_kind(kind, found);
        self.judge_version(found);
        if self.role.as_deref() == Some("slave") {
            found.refuse(
                self,
                "is a replica and takes no writes: redis.url must name the master, \
                                or the sentinels",
            );
        }
        if used_for != RedisUse::Cache {
            self.judge_memory(found);
        }
        match used_for {
            RedisUse::Cache | RedisUse::Decider => {}
            RedisUse::Journal => self.judge_file(found),
            RedisUse::FormerJournal => {
                let mut of_file = Judgement::default();
                self.judge_file(&mut of_file);
                let sentences = of_file.refusals.into_iter().chain(of_file.warnings);
                found.warnings.extend(sentences.map(|sentence| {
                    format!("events with the commit redis_stream are not over, and {sentence}")
                }));
            }
        }
    }

    fn judge_kind(&self, kind: RedisKind, found: &mut Judgement) {
        match (self.is_cluster, kind == RedisKind::Cluster) {
            (Some(true), false) => found.refuse(
                self,
                "is a node of a cluster: begin redis.url with redis+cluster:// and name its nodes",
            ),
            (Some(false), true) => found.refuse(
                self,
                "is no node of a cluster (`cluster-enabled no`): begin redis.url with redis://",
            ),
            (None, _) => found.unchecked(self, "whether it is a node of a cluster", "INFO"),
            _ => {}
        }
    }

    fn judge_version(&self, found: &mut Judgement) {
        let Some(version) = &self.version else { return };
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_some_and(|major| major < 6) {
            found.refuse(self, &format!("is version {version}: 6 or later is needed"));
        }
    }

    fn judge_memory(&self, found: &mut Judgement) {
        match self.maxmemory_policy.as_deref() {
            Some("noeviction") => {}
            Some(policy) => found.refuse(
                self,
                &format!(
                    "has `maxmemory-policy {policy}` and would forget winners when its memory is \
                     full: set it to noeviction (`CONFIG SET maxmemory-policy noeviction`, and in \
                     its configuration)"
                ),
            ),
            None => found.unchecked(self, "that `maxmemory-policy` is noeviction", "INFO"),
        }
    }

    fn judge_file(&self, found: &mut Judgement) {
        match self.appendonly {
            Some(true) => {}
            Some(false) => found.refuse(
                self,
                "has `appendonly no` and would lose claims when it ends: set `appendonly yes` \
                 (`CONFIG SET appendonly yes`, and in its configuration)",
            ),
            None => found.unchecked(self, "that `appendonly` is yes", "INFO"),
        }
        match self.appendfsync.as_deref() {
            Some("always") => {}
            Some(other) => found.warn(
                self,
                &format!(
                    "has `appendfsync {other}`: a power cut, or a kill while one of its fsyncs \
                     runs, loses the claims of its last moments; `appendfsync always` keeps them"
                ),
            ),
            None => found.unchecked(self, "that `appendfsync` is always", "CONFIG GET"),
        }
    }

    fn name(&self) -> String {
        if self.address.is_empty() {
            "Redis".to_owned()
        } else {
            format!("Redis at {}", self.address)
        }
    }
}

impl Judgement {
    fn refuse(&mut self, server: &ServerFacts, sentence: &str) {
        self.refusals.push(format!("{} {sentence}", server.name()));
    }

    fn warn(&mut self, server: &ServerFacts, sentence: &str) {
        self.warnings.push(format!("{} {sentence}", server.name()));
    }

    fn unchecked(&mut self, server: &ServerFacts, what: &str, command: &str) {
        let name = server.name();
        let sentence = format!("{name} lets nobody ask ({command}), so it is unchecked {what}");
        self.warnings.push(sentence);
    }
}
