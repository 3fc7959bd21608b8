//! The partitions are shared among the processes, and taken over from one that goes.

use std::collections::BTreeSet;

use firstcome_issuance::journal::Assignment;
use tokio::time::{sleep, timeout};

use super::{TestTopic, WAIT_MAX};
use crate::redis::POLL;

/// Waits until the shares together are all partitions, each with one of them, and none empty.
async fn settled(shares: &[&Assignment], partitions: i32) {
    let all: BTreeSet<i32> = (0..partitions).collect();
    let wait = async {
        loop {
            let current: Vec<_> = shares.iter().map(|share| share.current()).collect();
            let count: usize = current.iter().map(BTreeSet::len).sum();
            let together: BTreeSet<i32> = current.iter().flatten().copied().collect();
            if together == all && count == all.len() && current.iter().all(|own| !own.is_empty()) {
                return;
            }
            sleep(POLL).await;
        }
    };
    timeout(WAIT_MAX, wait).await.expect("the partitions are shared");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_partition_is_somebodys_whoever_comes_and_goes() {
    let topic = TestTopic::new(6).await;
    let journal = topic.journal();
    let mut first = journal.assignment().unwrap();
    assert_eq!(timeout(WAIT_MAX, first.changed()).await.unwrap().len(), 6);
    let second = journal.assignment().unwrap();
    settled(&[&first, &second], 6).await;
    drop(first);
    settled(&[&second], 6).await;
}
