//! Brokers that speak TLS only and want to know who we are.

use firstcome_issuance::journal::{Journal, KafkaConfig, SaslMechanism};
use firstcome_testkit::{Certificates, KafkaServer};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::{WAIT_MAX, read, sequences, wins};
use crate::redis::POLL;

/// The password of each mechanism.
const PASSWORDS: [(&str, &str); 3] =
    [("SCRAM-SHA-512", "canary-512"), ("SCRAM-SHA-256", "canary-256"), ("PLAIN", "canary-0")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secured_broker_lets_in_who_has_a_password_or_a_certificate_and_knows_its_authority() {
    let certificates = Certificates::make();
    let broker = KafkaServer::start_secured(&certificates, "shop", &PASSWORDS).await;
    let (ca, certificate, key) = certificates.paths();
    let config = KafkaConfig {
        tls: true,
        ca_file: ca.to_owned(),
        partitions_min: 1,
        replication_factor_min: 1,
        min_insync_replicas_min: 1,
        create_topic: true,
        ..KafkaConfig::default()
    };
    let by = |sasl_mechanism, password: &str| KafkaConfig {
        brokers: vec![broker.authority()],
        sasl_mechanism,
        username: "shop".to_owned(),
        password: password.to_owned(),
        ..config.clone()
    };
    let showing = |certificate_file: &str, key_file: &str| KafkaConfig {
        brokers: vec![broker.mutual_authority()],
        certificate_file: certificate_file.to_owned(),
        key_file: key_file.to_owned(),
        ..config.clone()
    };
    let by_scram = by(SaslMechanism::ScramSha512, "canary-512");
    let journal = Journal::new(&by_scram).unwrap();
    assert!(journal.check_topic().await.unwrap().is_new);
    let ways = [
        by_scram.clone(),
        by(SaslMechanism::ScramSha256, "canary-256"),
        by(SaslMechanism::Plain, "canary-0"),
        showing(certificate, key),
    ];
    for (way, sequence) in ways.iter().zip(1..) {
        let journal = Journal::new(way).unwrap();
        journal.append(0, &wins([sequence])).await.unwrap();
        let mut reader = journal.reader(0, 0).unwrap();
        let all: Vec<u32> = (1..=sequence).collect();
        assert_eq!(sequences(&read(&mut reader, all.len()).await, 0), all);
    }

    let other = Certificates::make();
    let (other_ca, other_certificate, other_key) = other.paths();
    let login = "Authentication failed";
    let strangers = [
        (by(SaslMechanism::ScramSha512, "canary-256"), login),
        (by(SaslMechanism::ScramSha256, "canary-512"), login),
        (by(SaslMechanism::Plain, "canary-256"), login),
        (showing("", ""), "certificate"),
        (showing(other_certificate, other_key), "certificate"),
        (KafkaConfig { ca_file: other_ca.to_owned(), ..by_scram.clone() }, "certificate"),
        (KafkaConfig { tls: false, ca_file: String::new(), ..by_scram }, ""),
    ];
    join_all(strangers.iter().map(|(stranger, why)| refused(stranger, why))).await;
    assert_eq!(journal.end_offset(0).await.unwrap(), 4);
}

/// Nothing is written, and it says why; the first answer may come before the broker's.
async fn refused(stranger: &KafkaConfig, why: &str) {
    let journal = Journal::new(stranger).expect("a configuration");
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        let error = journal.append(0, &wins([9])).await.expect_err("it is refused");
        let said = format!("{error} {journal:?}");
        assert!(said.contains("not written") && !said.contains("canary"), "{said}");
        if said.contains(why) {
            return;
        }
        assert!(Instant::now() < deadline, "{why}: {said}");
        sleep(POLL).await;
    }
}
