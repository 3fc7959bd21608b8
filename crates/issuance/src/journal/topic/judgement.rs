//! What a topic must be like for an acknowledged record to last, and the commands that make it so.

use super::super::client::REQUEST_BYTES_MAX;
use super::super::config::KafkaConfig;
use super::TopicFault;

/// A topic as the brokers describe it.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// The brokers that have a copy, of each partition.
    pub(super) replicas: Vec<Vec<i32>>,
    /// The partitions that have a leader.
    pub(super) led: Vec<i32>,
    /// All brokers.
    pub(super) brokers: Vec<i32>,
    pub(super) cleanup_policy: String,
    pub(super) min_insync_replicas: u64,
    pub(super) retention_ms: i64,
    pub(super) retention_bytes: i64,
    pub(super) max_message_bytes: u64,
    pub(super) timestamp_type: String,
    pub(super) unclean_election: bool,
}

/// What the topic has beside partitions and copies.
pub(super) fn wanted_settings(config: &KafkaConfig) -> [(&'static str, String); 6] {
    [
        ("min.insync.replicas", config.min_insync_replicas_min.to_string()),
        ("cleanup.policy", "delete".to_owned()),
        ("retention.ms", config.retention_min_ms().to_string()),
        ("retention.bytes", "-1".to_owned()),
        ("message.timestamp.type", "LogAppendTime".to_owned()),
        ("unclean.leader.election.enable", "false".to_owned()),
    ]
}

/// Everything that is wrong.
pub(super) fn judge(config: &KafkaConfig, found: &Found) -> Vec<TopicFault> {
    let commands = Commands(config);
    let is_fewer = |count: usize, wanted: u32| usize::try_from(wanted).is_ok_and(|it| count < it);
    let mut faults = Vec::new();
    let topic = &config.topic;
    let (partitions, wanted) = (found.replicas.len(), config.partitions_min);
    if is_fewer(partitions, wanted) {
        let what = format!("kafka.partitions_min is {wanted}, and {topic} has {partitions}");
        let alter = format!("--alter --topic {topic} --partitions {wanted}");
        faults.push(TopicFault { what, repair: commands.topics(&alter) });
    }
    let (copies, wanted) = (found.copies(), config.replication_factor_min);
    if is_fewer(copies, wanted) {
        let what = format!("kafka.replication_factor_min is {wanted}, and {topic} has {copies}");
        faults.push(TopicFault { what, repair: commands.reassign(found) });
    }
    for Wrong { key, found, good, why } in settings(config, found).into_iter().flatten() {
        let what = format!("{key} of {topic} is {found}, {why}");
        faults.push(TopicFault { what, repair: commands.set(key, &good) });
    }
    faults
}

/// A setting of the topic that is not as it must be.
struct Wrong {
    key: &'static str,
    found: String,
    good: String,
    why: String,
}

/// The settings, each if it is wrong.
fn settings(config: &KafkaConfig, found: &Found) -> [Option<Wrong>; 7] {
    let wrong = |is_wrong: bool, key, found: String, good: String, why: String| {
        is_wrong.then_some(Wrong { key, found, good, why })
    };
    let insync = config.min_insync_replicas_min;
    let kept = config.retention_min_ms();
    let hours = config.retention_hours_min;
    [
        wrong(
            found.min_insync_replicas < insync.into(),
            "min.insync.replicas",
            found.min_insync_replicas.to_string(),
            insync.to_string(),
            format!("less than kafka.min_insync_replicas_min, which is {insync}"),
        ),
        wrong(
            found.cleanup_policy != "delete",
            "cleanup.policy",
            found.cleanup_policy.clone(),
            "delete".to_owned(),
            "which loses records that no worker has read".to_owned(),
        ),
        wrong(
            u64::try_from(found.retention_ms).is_ok_and(|found| found < kept),
            "retention.ms",
            found.retention_ms.to_string(),
            kept.to_string(),
            format!("less than kafka.retention_hours_min, which is {hours} ({kept} ms)"),
        ),
        wrong(
            found.retention_bytes >= 0,
            "retention.bytes",
            found.retention_bytes.to_string(),
            "-1".to_owned(),
            "which loses records when there are many".to_owned(),
        ),
        wrong(
            found.timestamp_type != "LogAppendTime",
            "message.timestamp.type",
            found.timestamp_type.clone(),
            "LogAppendTime".to_owned(),
            "so that a wrong clock of ours makes records expire early, or be refused".to_owned(),
        ),
        wrong(
            found.max_message_bytes < REQUEST_BYTES_MAX.into(),
            "max.message.bytes",
            found.max_message_bytes.to_string(),
            "1048588".to_owned(),
            format!("less than the {REQUEST_BYTES_MAX} bytes that we may send at once"),
        ),
        wrong(
            found.unclean_election,
            "unclean.leader.election.enable",
            found.unclean_election.to_string(),
            "false".to_owned(),
            "so that a broker may lead that lacks acknowledged records".to_owned(),
        ),
    ]
}

impl Found {
    /// Copies of the partition that has fewest.
    pub(super) fn copies(&self) -> usize {
        self.replicas.iter().map(Vec::len).min().unwrap_or_default()
    }
}

/// The commands of Kafka's own programs.
pub(super) struct Commands<'a>(pub(super) &'a KafkaConfig);

impl Commands<'_> {
    /// Makes the topic.
    pub(super) fn create(&self) -> String {
        let KafkaConfig { topic, partitions_min, replication_factor_min, .. } = self.0;
        let settings = wanted_settings(self.0);
        let settings = settings.map(|(key, value)| format!(" --config {key}={value}")).concat();
        self.topics(&format!(
            "--create --topic {topic} --partitions {partitions_min} --replication-factor \
             {replication_factor_min}{settings}"
        ))
    }

    pub(in super::super) fn topics(&self, arguments: &str) -> String {
        format!("kafka-topics.sh {} {arguments}", self.connection())
    }

    fn set(&self, key: &str, value: &str) -> String {
        format!(
            "kafka-configs.sh {} --alter --entity-type topics --entity-name {} --add-config \
             {key}={value}",
            self.connection(),
            self.0.topic
        )
    }

    /// More copies, each on a broker that has none; where there are too few brokers, what to do.
    fn reassign(&self, found: &Found) -> String {
        let wanted = usize::try_from(self.0.replication_factor_min).unwrap_or(usize::MAX);
        let brokers = found.brokers.len();
        if brokers < wanted {
            return format!(
                "the cluster has {brokers} of the {wanted} brokers that this takes: add brokers, \
                 or set kafka.replication_factor_min and kafka.min_insync_replicas_min to 1 where \
                 losing a broker may lose claims"
            );
        }
        let partitions = found.replicas.iter().enumerate().map(|(partition, replicas)| {
            let mut replicas = replicas.clone();
            // Each partition begins with another broker, so that the copies are spread.
            for broker in found.brokers.iter().cycle().skip(partition).take(brokers) {
                if replicas.len() < wanted && !replicas.contains(broker) {
                    replicas.push(*broker);
                }
            }
            let replicas: Vec<String> = replicas.iter().map(ToString::to_string).collect();
            let (topic, replicas) = (&self.0.topic, replicas.join(","));
            format!(r#"{{"topic":"{topic}","partition":{partition},"replicas":[{replicas}]}}"#)
        });
        let partitions: Vec<String> = partitions.collect();
        format!(
            "echo '{{\"version\":1,\"partitions\":[{}]}}' > replicas.json && \
             kafka-reassign-partitions.sh {} --reassignment-json-file replicas.json --execute",
            partitions.join(","),
            self.connection()
        )
    }

    /// Where the programs connect to; a secured cluster wants a file that says how.
    fn connection(&self) -> String {
        let is_secured = self.0.tls || self.0.sasl_mechanism.name().is_some();
        let file = if is_secured { " --command-config admin.properties" } else { "" };
        format!("--bootstrap-server {}{file}", self.0.bootstrap())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(replicas: &[&[i32]]) -> Found {
        Found {
            replicas: replicas.iter().map(|replicas| replicas.to_vec()).collect(),
            led: Vec::new(),
            brokers: vec![1, 2, 3],
            cleanup_policy: "delete".to_owned(),
            min_insync_replicas: 2,
            retention_ms: -1,
            retention_bytes: -1,
            max_message_bytes: 1_048_588,
            timestamp_type: "LogAppendTime".to_owned(),
            unclean_election: false,
        }
    }

    #[test]
    fn a_topic_without_a_fault_is_taken() {
        let config = KafkaConfig { partitions_min: 1, ..KafkaConfig::default() };
        assert_eq!(judge(&config, &found(&[&[1, 2, 3]])), []);
        let mut kept = found(&[&[1, 2, 3]]);
        kept.retention_ms = i64::try_from(config.retention_min_ms()).unwrap();
        assert_eq!(judge(&config, &kept), []);
        kept.retention_ms -= 1;
        assert_eq!(judge(&config, &kept).len(), 1);
    }

    #[test]
    fn more_copies_go_to_brokers_that_have_none() {
        let config = KafkaConfig {
            brokers: vec!["a:1".to_owned(), "b:2".to_owned()],
            tls: true,
            partitions_min: 1,
            replication_factor_min: 2,
            ..KafkaConfig::default()
        };
        let faults = judge(&config, &found(&[&[1], &[2], &[3, 1]]));
        let moves = [(0, "1,2"), (1, "2,3"), (2, "3,1")].map(|(partition, replicas)| {
            let topic = r#""topic":"firstcome-wins""#;
            format!(r#"{{{topic},"partition":{partition},"replicas":[{replicas}]}}"#)
        });
        let expected = format!(
            "echo '{{\"version\":1,\"partitions\":[{}]}}' > replicas.json && ",
            moves.join(",")
        ) + "kafka-reassign-partitions.sh --bootstrap-server a:1,b:2 --command-config \
               admin.properties --reassignment-json-file replicas.json --execute";
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].repair, expected);
        assert_eq!(faults[0].what, "kafka.replication_factor_min is 2, and firstcome-wins has 1");
    }
}
