//! What an operator is told of a record is what the worker does with it.

use firstcome_issuance::journal::JournalRecord;
use firstcome_issuance::worker::judge::{Judge, Judgement};
use firstcome_ledger::{EventRecord, Unappliable};
use firstcome_testkit::Engine;

use super::{Stage, pinned, win, wins};

fn fence(event: &EventRecord, epoch: u64) -> JournalRecord {
    JournalRecord::Fence { event_id: event.id, epoch }
}

fn win_of(event: &EventRecord, epoch: u64, sequence: u32) -> JournalRecord {
    let mut win = win(event, sequence);
    win.epoch = epoch;
    JournalRecord::Win(win)
}

/// After the restore of a backup the ledger has an earlier epoch than the journal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_with_a_later_epoch_than_the_ledger_has_begins_it() {
    let (stage, _database) = Stage::new(Engine::Postgres, 1).await;
    let event = stage.event(10).await;
    let now = event.epoch;
    stage.append(&event, &wins(&event, 1..=1)).await;
    let worker = stage.worker().await;
    stage.applied_to(pinned(&event), 1).await;
    drop(worker);

    let records = [
        (win_of(&event, now, 1), Judgement::Known),
        (fence(&event, now + 4), Judgement::Fits),
        (fence(&event, now + 4), Judgement::Known),
        (win_of(&event, now, 2), Judgement::Void),
        (win_of(&event, now + 4, 2), Judgement::Fits),
    ];
    let mut judge = Judge::new(&stage.ledger, pinned(&event));
    for (record, expected) in &records {
        assert_eq!(judge.judge(record).await.expect("an answer"), *expected, "{record:?}");
    }
    let later = win_of(&event, now + 5, 3);
    let stops = Judgement::Stops(Unappliable::Epoch { current: now + 4 });
    assert_eq!(judge.judge(&later).await.expect("an answer"), stops);

    // So the worker takes them.
    let [records @ .., last] = records.map(|(record, _)| record);
    stage.append(&event, &records).await;
    stage.append(&event, &[last, later]).await;
    let _worker = stage.worker().await;
    stage.applied_to(pinned(&event), 6).await;
    let issued = stage.ledger.event(event.id).await.expect("an answer").expect("the event");
    assert_eq!((issued.rule.issued, issued.epoch, issued.fence), (2, now + 4, now + 4));
}
