//! A deployment whose roles run apart, each in processes of its own, on one ledger, one Redis and
//! one topic of Kafka.

use firstcome_testkit::{KafkaServer, Launch, Server, kafka_brokers};
use tempfile::NamedTempFile;

use crate::shop::{BINARY, Shop};

/// Time-outs that a busy machine does not reach.
pub(crate) const PATIENCE: &str = "ledger.acquire_timeout_ms = 10000\n\
                                   ledger.statement_timeout_ms = 10000\n\
                                   redis.answer_timeout_ms = 10000\n\
                                   issuance.claim_timeout_ms = 30000\n";

/// What the servers behind a deployment are.
pub(crate) struct Behind<'a> {
    strategy: &'a str,
    ledger_url: &'a str,
    redis_url: &'a str,
    brokers: Vec<String>,
    topic: &'a str,
    is_patient: bool,
}

/// Processes of which each has one role.
pub(crate) struct Cluster {
    /// Two with the role issuance. Other calls go through them to who has them.
    pub(crate) shops: [Shop; 2],
    pub(crate) workers: [Server; 2],
    pub(crate) identity: Server,
    pub(crate) catalog: Server,
    pub(crate) wallet: Server,
    /// The configuration of all.
    _file: NamedTempFile,
}

impl<'a> Behind<'a> {
    /// With the brokers that tests share, and time-outs that a busy machine does not reach. Redis
    /// decides; where another does, there may be none, and its URL is empty.
    pub(crate) fn new(ledger_url: &'a str, redis_url: &'a str, topic: &'a str) -> Self {
        let (strategy, brokers) = ("redis", kafka_brokers());
        Self { strategy, ledger_url, redis_url, brokers, topic, is_patient: true }
    }

    /// With another decider.
    pub(crate) fn by(self, strategy: &'a str) -> Self {
        Self { strategy, ..self }
    }

    /// With a broker of the test's own.
    pub(crate) fn at(self, broker: &KafkaServer) -> Self {
        Self { brokers: vec![broker.authority()], ..self }
    }

    /// With no Kafka.
    pub(crate) fn without_kafka(self) -> Self {
        Self { brokers: Vec::new(), ..self }
    }

    /// With the usual time-outs.
    pub(crate) fn hurried(self) -> Self {
        Self { is_patient: false, ..self }
    }

    /// What all processes are configured with.
    fn configuration(&self, algorithm: &str, commit: &str) -> String {
        let Self { strategy, ledger_url, redis_url, brokers, topic, is_patient } = self;
        let patience = if *is_patient { PATIENCE } else { "" };
        format!(
            "claims.strategy = \"{strategy}\"\nclaims.commit = \"{commit}\"\n\
             ledger.url = \"{ledger_url}\"\nredis.url = \"{redis_url}\"\n\
             kafka.brokers = {brokers:?}\nkafka.topic = \"{topic}\"\nkafka.partitions_min = 2\n\
             kafka.replication_factor_min = 1\nkafka.min_insync_replicas_min = 1\n\
             kafka.create_topic = true\nidentity.algorithm = \"{algorithm}\"\n{patience}"
        )
    }
}

impl Cluster {
    /// Starts all of it; new events are committed so. Who has the role
    /// identity signs with this algorithm, and the others get its public keys from there.
    pub(crate) async fn start(behind: &Behind<'_>, algorithm: &str, commit: &str) -> Self {
        let file = NamedTempFile::new().expect("a file");
        let mut text = behind.configuration(algorithm, commit);
        std::fs::write(file.path(), &text).expect("a file");
        let path = file.path().to_str().expect("a path in UTF-8").to_owned();
        let as_role = |launch: Launch, role| {
            launch.arguments(&["--role", role]).environment("FIRSTCOME_CONFIG", &path)
        };
        let identity = Server::start_as(BINARY, |launch| as_role(launch, "identity")).await;
        let authority = identity.authority();
        text += &format!("identity.keys_url = \"http://{authority}/.well-known/jwks.json\"\n");
        std::fs::write(file.path(), text).expect("a file");

        let role = |role| Server::start_as(BINARY, move |launch| as_role(launch, role));
        let (catalog, wallet) = (role("catalog").await, role("wallet").await);
        let workers = [role("worker").await, role("worker").await];
        let apart = vec![identity.api(), catalog.api(), wallet.api()];
        // Tests sign tokens in the data directory of a shop.
        let data = identity.data_dir();
        let first = Server::start_on_as(BINARY, data, |launch| as_role(launch, "issuance")).await;
        let first = Shop::of(first, apart).await;
        let shops = [first.beside().await, first];
        Self { shops, workers, identity, catalog, wallet, _file: file }
    }

    /// The processes that claims go to.
    pub(crate) fn shops(&self) -> [&Shop; 2] {
        self.shops.each_ref()
    }
}
