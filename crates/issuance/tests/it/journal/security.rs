//! Brokers that speak TLS only and want to know who we are.

use firstcome_issuance::journal::{Journal, KafkaConfig, SaslMechanism};
use firstcome_testkit::{Certificates, KafkaServer};

use super::{read, sequences, wins};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secured_broker_lets_in_who_has_the_password_and_knows_its_authority() {
    let certificates = Certificates::make();
    let broker = KafkaServer::start_secured(&certificates, "shop", "canary-7").await;
    let (ca, ..) = certificates.paths();
    let config = KafkaConfig {
        brokers: vec![broker.authority()],
        tls: true,
        ca_file: ca.to_owned(),
        sasl_mechanism: SaslMechanism::ScramSha512,
        username: "shop".to_owned(),
        password: "canary-7".to_owned(),
        partitions_min: 1,
        replication_factor_min: 1,
        min_insync_replicas_min: 1,
        create_topic: true,
        ..KafkaConfig::default()
    };
    let journal = Journal::new(&config).unwrap();
    assert!(journal.check_topic().await.unwrap().is_new);
    journal.append(0, &wins(1..=3)).await.unwrap();
    let mut reader = journal.reader(0, 0).unwrap();
    assert_eq!(sequences(&read(&mut reader, 3).await, 0), [1, 2, 3]);

    let other_ca = Certificates::make();
    let strangers = [
        KafkaConfig { password: "canary-8".to_owned(), ..config.clone() },
        KafkaConfig { ca_file: other_ca.paths().0.to_owned(), ..config.clone() },
        KafkaConfig { tls: false, ca_file: String::new(), ..config },
    ];
    for stranger in strangers {
        let journal = Journal::new(&stranger).unwrap();
        let error = journal.append(0, &wins(4..=4)).await.unwrap_err();
        let said = format!("{error} {journal:?}");
        assert!(said.contains("not written") && !said.contains("canary"), "{said}");
    }
    assert_eq!(journal.end_offset(0).await.unwrap(), 3);
}
