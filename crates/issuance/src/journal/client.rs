//! How the clients of the library are set.

use rdkafka::ClientConfig;

use super::config::KafkaConfig;

/// Largest request with records, in bytes; a topic must let it in.
pub(super) const REQUEST_BYTES_MAX: u32 = 1_000_000;
/// Longest that the making of a connection may take, in milliseconds.
const CONNECT_MAX_MS: u32 = 1_000;
/// How soon a lost connection is made again, in milliseconds; longer each time, up to the second.
const RECONNECT_MS: [u32; 2] = [50, 500];
/// Most memory for records that were fetched ahead, in KiB for each reader.
const AHEAD_KIB_MAX: u32 = 16 * 1_024;

/// What every client has.
fn common(config: &KafkaConfig) -> ClientConfig {
    let mut client = ClientConfig::new();
    let [reconnect, reconnect_max] = RECONNECT_MS.map(|ms| ms.to_string());
    client
        .set("bootstrap.servers", config.bootstrap())
        .set("client.id", "firstcome")
        .set("socket.connection.setup.timeout.ms", CONNECT_MAX_MS.to_string())
        .set("socket.keepalive.enable", "true")
        .set("socket.nagle.disable", "true")
        .set("reconnect.backoff.ms", reconnect)
        .set("reconnect.backoff.max.ms", reconnect_max)
        // A connection that was idle for long is closed by the broker: that is no news.
        .set("log.connection.close", "false")
        // A topic that a broker makes by itself has one partition and one copy.
        .set("allow.auto.create.topics", "false")
        // Ends and records are those that are acknowledged, whatever transactions others have open.
        .set("isolation.level", "read_uncommitted");
    secure(config, &mut client);
    client
}

fn secure(config: &KafkaConfig, client: &mut ClientConfig) {
    let protocol = match (config.tls, config.sasl_mechanism.name()) {
        (false, None) => "plaintext",
        (true, None) => "ssl",
        (false, Some(_)) => "sasl_plaintext",
        (true, Some(_)) => "sasl_ssl",
    };
    client.set("security.protocol", protocol);
    if let Some(mechanism) = config.sasl_mechanism.name() {
        client.set("sasl.mechanism", mechanism);
        client.set("sasl.username", &config.username);
        client.set("sasl.password", &config.password);
    }
    let files = [
        ("ssl.ca.location", &config.ca_file),
        ("ssl.certificate.location", &config.certificate_file),
        ("ssl.key.location", &config.key_file),
    ];
    for (key, file) in files.into_iter().filter(|(_, file)| config.tls && !file.is_empty()) {
        client.set(key, file);
    }
}

/// A client that asks, and writes nothing.
pub(super) fn asking(config: &KafkaConfig) -> ClientConfig {
    common(config)
}

/// A producer that writes each record once, in order, and waits for nothing before it sends.
pub(super) fn producing(config: &KafkaConfig, records_max: usize) -> ClientConfig {
    let mut client = common(config);
    let timeout = config.delivery_timeout_ms.to_string();
    client
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "0")
        .set("message.timeout.ms", &timeout)
        .set("request.timeout.ms", &timeout)
        // A request that hangs ends with its records.
        .set("socket.timeout.ms", &timeout)
        .set("retry.backoff.ms", "50")
        .set("compression.codec", "none")
        .set("message.max.bytes", REQUEST_BYTES_MAX.to_string())
        .set("batch.size", REQUEST_BYTES_MAX.to_string())
        .set("queue.buffering.max.messages", records_max.to_string());
    client
}

/// A consumer that reads what it is told to, and remembers nothing in Kafka. The library wants it
/// to name a group, which it never joins.
pub(super) fn reading(config: &KafkaConfig) -> ClientConfig {
    let mut client = common(config);
    client
        .set("group.id", group(config))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // An offset that is gone is an error, never a jump.
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        .set("fetch.error.backoff.ms", "100")
        .set("fetch.queue.backoff.ms", "20")
        .set("queued.max.messages.kbytes", AHEAD_KIB_MAX.to_string())
        // The library would leave a group that was never joined.
        .set("max.poll.interval.ms", "86400000");
    client
}

/// A member of the group of workers, which shares the partitions and reads none.
pub(super) fn sharing(config: &KafkaConfig) -> ClientConfig {
    let mut client = common(config);
    client
        .set("group.id", group(config))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", "10000")
        .set("heartbeat.interval.ms", "1000")
        // Asked for all the time by a task of its own: that stands still only with the process.
        .set("max.poll.interval.ms", "30000")
        .set("topic.metadata.refresh.interval.ms", "60000");
    client
}

/// The group of the workers of this topic.
fn group(config: &KafkaConfig) -> String {
    format!("{}-workers", config.topic)
}
