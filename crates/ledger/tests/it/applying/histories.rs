//! Random journals, applied in random stretches with redeliveries, against a model that takes one
//! record after the other.

use std::collections::BTreeMap;

use firstcome_core::EventId;
use firstcome_ledger::{
    Applied, EventRecord, JournalRecord, JournalWin, SkippedRecord, Unappliable,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{
    Commit, JOURNAL, PARTITION, apply, begin_epoch, done, fence, journalled, position, read, rows,
    user, win,
};
use crate::support::{OPENS_AT, Store, TestLedger, on_every_server};

on_every_server! { random_journals_come_to_what_the_model_says }

const HISTORIES: u64 = 12;
const RECORDS: usize = 120;
const QUANTITY: u32 = 12;

/// An event as the journal leaves it.
#[derive(Default)]
struct Model {
    quantity: usize,
    epoch: u64,
    fence: u64,
    places: BTreeMap<String, u32>,
}

/// What a record comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Written,
    Known,
    Void,
    Fence,
    Stops(Unappliable),
}

impl Model {
    /// Takes the record in, unless it stops the partition.
    fn take(&mut self, record: &JournalRecord) -> Fate {
        let (user_id, sequence, epoch) = match record {
            JournalRecord::Win(JournalWin { user_id, sequence, epoch, .. }) => {
                (user_id, sequence, *epoch)
            }
            JournalRecord::Fence { epoch, .. } => {
                self.fence = self.fence.max(*epoch);
                self.epoch = self.epoch.max(*epoch);
                return Fate::Fence;
            }
        };
        if epoch > self.epoch {
            return Fate::Stops(Unappliable::Epoch { current: self.epoch });
        }
        let (name, sequence) = (user_id.as_str(), sequence.get());
        match self.places.get(name) {
            Some(place) if *place == sequence => Fate::Known,
            _ if epoch < self.fence => Fate::Void,
            Some(_) => Fate::Stops(Unappliable::User),
            None if self.places.values().any(|place| *place == sequence) => {
                Fate::Stops(Unappliable::Sequence)
            }
            None if self.places.len() == self.quantity => Fate::Stops(Unappliable::Quantity),
            None => {
                self.places.insert(name.to_owned(), sequence);
                Fate::Written
            }
        }
    }
}

/// A history: the journal, and what is expected of it.
struct History {
    test: TestLedger,
    seed: u64,
    random: StdRng,
    events: Vec<EventRecord>,
    models: BTreeMap<EventId, Model>,
    journal: Vec<JournalRecord>,
    /// The next record, by the model.
    at: usize,
    skipped: Vec<(i64, String)>,
    stops: usize,
}

async fn random_journals_come_to_what_the_model_says(store: Store) {
    let (mut stops, mut skipped) = (0, 0);
    let mut test = TestLedger::new(store).await;
    for seed in 0..HISTORIES {
        let mut history = History::new(test, seed).await;
        while history.at < history.journal.len() {
            history.turn().await;
        }
        history.check().await;
        stops += history.stops;
        skipped += history.skipped.len();
        test = history.test;
        // A new journal for the next.
        test.place().execute("DELETE FROM journal_positions").await;
        test.place().execute("DELETE FROM journal_skips").await;
    }
    assert!(stops > 50 && skipped > 50, "the histories stop often: {stops}, {skipped}");
}

impl History {
    async fn new(test: TestLedger, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut events, mut models) = (Vec::new(), BTreeMap::new());
        for _ in 0..3 {
            let event = journalled(&test, QUANTITY).await;
            let model =
                Model { quantity: QUANTITY as usize, epoch: event.epoch, ..Model::default() };
            models.insert(event.id, model);
            events.push(event);
        }
        let mut journal: Vec<JournalRecord> = Vec::new();
        let mut last = vec![0; events.len()];
        for nth in 0..RECORDS {
            let which = random.random_range(0..events.len());
            // Epochs as the history will begin them, most of them in time.
            let epoch = (2 + nth as u64 / 30).saturating_sub(random.random_range(0..2)).max(1);
            journal.push(match random.random_range(0..20) {
                0..=1 => fence(&events[which], epoch),
                2..=4 if nth > 0 => journal[random.random_range(0..nth)].clone(),
                5 => win(&events[which], epoch, &format!("{seed}-1"), random.random_range(1..30)),
                6 => {
                    let place = random.random_range(1..=last[which].max(1));
                    win(&events[which], epoch, &format!("{seed}-{nth}"), place)
                }
                _ => {
                    last[which] += 1;
                    let name = format!("{seed}-{}", random.random_range(0..40));
                    win(&events[which], epoch, &name, last[which])
                }
            });
        }
        position(&test).await;
        Self { test, seed, random, events, models, journal, at: 0, skipped: Vec::new(), stops: 0 }
    }

    /// Something that happens, most often a stretch.
    async fn turn(&mut self) {
        match self.random.random_range(0..12) {
            0 => {
                let which = self.random.random_range(0..self.events.len());
                let begun = begin_epoch(&self.test, &self.events[which]).await;
                self.models.get_mut(&begun.id).expect("a model").epoch = begun.epoch;
            }
            1 => self.erase().await,
            2 => self.redeliver().await,
            _ => {
                let length = self.random.random_range(1..=25);
                self.stretch(length).await;
            }
        }
    }

    async fn erase(&mut self) {
        let name = format!("{}-{}", self.seed, self.random.random_range(0..40));
        let holds = self.models.values().any(|model| model.places.contains_key(&name));
        let skipped = self.skipped.iter().any(|(_, of)| *of == name);
        let erased = self.test.ledger.erase_user(user(&name)).await.expect("an answer");
        // Whoever was erased before is found no more.
        assert!(!erased || holds || skipped);
    }

    /// A stretch that begins elsewhere than where the partition stands.
    async fn redeliver(&mut self) {
        let from = self.random.random_range(0..self.journal.len());
        if from == self.at {
            return;
        }
        let to = (from + 10).min(self.journal.len());
        let next = Some(i64::try_from(self.at).expect("few"));
        let from_offset = i64::try_from(from).expect("few");
        let applied = apply(&self.test, from_offset, &self.journal[from..to]).await;
        assert_eq!(applied, Applied::Elsewhere { next }, "seed {}", self.seed);
    }

    /// Applies the next records: what precedes one that stops by itself, and then skips that.
    async fn stretch(&mut self, length: usize) {
        let (from, to) = (self.at, (self.at + length).min(self.journal.len()));
        let from_offset = i64::try_from(from).expect("few");
        let (mut written, mut known, mut void) = (0, 0, 0);
        let mut stopped = None;
        for record in &self.journal[from..to] {
            let model = self.models.get_mut(&record.event_id()).expect("a model");
            match model.take(record) {
                Fate::Written => written += 1,
                Fate::Known => known += 1,
                Fate::Void => void += 1,
                Fate::Fence => {}
                Fate::Stops(why) => {
                    stopped = Some(why);
                    break;
                }
            }
            self.at += 1;
        }
        let offset = i64::try_from(self.at).expect("few");
        if let Some(why) = stopped {
            self.stops += 1;
            let applied = apply(&self.test, from_offset, &self.journal[from..to]).await;
            assert_eq!(applied, Applied::Stopped { offset, why }, "seed {}", self.seed);
        }
        if from < self.at {
            let applied = apply(&self.test, from_offset, &self.journal[from..self.at]).await;
            assert_eq!(applied, done(written, known, void), "seed {}", self.seed);
        }
        if stopped.is_some() {
            self.skip(offset).await;
        }
        assert_eq!(position(&self.test).await, i64::try_from(self.at).expect("few"));
    }

    async fn skip(&mut self, offset: i64) {
        let name = match &self.journal[self.at] {
            JournalRecord::Win(win) => win.user_id.as_str().to_owned(),
            JournalRecord::Fence { .. } => String::new(),
        };
        let length = u8::try_from(name.len()).expect("short");
        let skip = SkippedRecord {
            journal: JOURNAL.to_owned(),
            partition: PARTITION,
            offset,
            reason: "a test".to_owned(),
            record: [&[length][..], name.as_bytes()].concat(),
            skipped_at: firstcome_core::Timestamp::from_micros(OPENS_AT),
        };
        assert!(self.test.ledger.skip_record(skip).await.expect("an answer"));
        self.skipped.push((offset, name));
        self.at += 1;
    }

    async fn check(&self) {
        for event in &self.events {
            let (model, now) = (&self.models[&event.id], read(&self.test, event).await);
            let issued = model.places.len();
            let (found, expected) = ((now.rule.issued as usize, now.fence), (issued, model.fence));
            assert_eq!(found, expected, "seed {}", self.seed);
            assert_eq!(now.commit, Commit::Kafka);
            let rows: BTreeMap<_, _> = rows(&self.test, event)
                .await
                .iter()
                .map(|row| (row.id, row.sequence.get()))
                .collect();
            let expected = model.places.iter().map(|(name, sequence)| {
                (firstcome_core::IssuedCouponId::derive(event.id, &user(name)), *sequence)
            });
            assert_eq!(rows, expected.collect(), "seed {}", self.seed);
        }
        let skipped = self.test.ledger.skipped_records(JOURNAL).await.expect("an answer");
        let offsets: Vec<_> = skipped.iter().map(|skipped| skipped.offset).collect();
        let expected: Vec<_> = self.skipped.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(offsets, expected);
    }
}
