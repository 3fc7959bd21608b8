//! The journal: winners that are durable but not yet in the tables.

use std::collections::{HashMap, VecDeque};

use firstcome_core::{CodeKey, EventId, EventNo, IssuedCouponId, Sequence, Timestamp, UserId};
use rusqlite::{Connection, Transaction, params};

use super::live::{self, json};
use super::settle::UNSETTLED_MAX;
use crate::claim::batch::{LiveEvent, Win};
use crate::records::sound;
use crate::{IssuedCouponRecord, LedgerError};

/// What memory keeps of a winner; its key is the issued coupon's id, so 40 bytes serve for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unsettled {
    pub(super) sequence: Sequence,
    pub(super) issued_at: Timestamp,
    pub(super) valid_from: Timestamp,
    pub(super) expires_at: Timestamp,
}

impl Unsettled {
    fn of(win: &Win) -> Self {
        let Win { sequence, issued_at, valid_from, expires_at, .. } = *win;
        Self { sequence, issued_at, valid_from, expires_at }
    }

    pub(super) fn to_win(self, id: IssuedCouponId, event_no: EventNo, user: &UserId) -> Win {
        let Self { sequence, issued_at, valid_from, expires_at } = self;
        Win { id, event_no, user_id: user.clone(), sequence, issued_at, valid_from, expires_at }
    }

    pub(super) fn issued_coupon(
        &self,
        event: &LiveEvent,
        user: &UserId,
        id: IssuedCouponId,
        key: &CodeKey,
    ) -> IssuedCouponRecord {
        self.to_win(id, event.no, user).into_issued_coupon(event, key)
    }
}

/// A row of the journal that is still to be settled.
#[derive(Debug, Clone, Copy)]
pub(super) struct JournalRow {
    pub(super) no: i64,
    pub(super) wins: usize,
}

/// Winners after which the memory that they took is given back.
const MANY: usize = 100_000;

/// Everything that the journal holds, by holder.
pub(super) struct Tail {
    /// With room for all that it may ever hold: to make it grow would hold claims up.
    by_id: HashMap<IssuedCouponId, Unsettled>,
    /// Winners taken in since it was last empty.
    taken_in: usize,
    /// Winners of each event in `by_id`, and the highest of their sequences.
    by_event: HashMap<EventNo, EventTail>,
    rows: VecDeque<JournalRow>,
    row_no_next: i64,
}

#[derive(Debug, Clone, Copy, Default)]
struct EventTail {
    pending: u32,
    sequence_max: u32,
}

impl Tail {
    /// Of an empty journal.
    pub(super) fn new() -> Self {
        Self {
            by_id: HashMap::with_capacity(UNSETTLED_MAX),
            taken_in: 0,
            by_event: HashMap::new(),
            rows: VecDeque::new(),
            row_no_next: 1,
        }
    }

    /// Reads the journal.
    pub(super) fn load(db: &Connection) -> Result<Self, LedgerError> {
        let mut tail = Self::new();
        let mut ids = EventIds::default();
        let mut select = db.prepare("SELECT no, entries FROM claim_journal ORDER BY no")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let no = row.get(0)?;
            let runs = decode(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?;
            let wins = ids.wins(db, &runs)?;
            tail.row_no_next = no + 1;
            tail.rows.push_back(JournalRow { no, wins: wins.len() });
            tail.insert(&wins);
        }
        Ok(tail)
    }

    pub(super) fn get(&self, id: IssuedCouponId) -> Option<&Unsettled> {
        self.by_id.get(&id)
    }

    /// Winners that are not in the tables yet.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Winners of this event that are not in the tables yet.
    pub(super) fn pending(&self, event: EventNo) -> u32 {
        self.by_event.get(&event).map_or(0, |tail| tail.pending)
    }

    /// The last sequence of this event in the journal; 0 for none.
    pub(super) fn sequence_max(&self, event: EventNo) -> u32 {
        self.by_event.get(&event).map_or(0, |tail| tail.sequence_max)
    }

    /// The events that have unsettled winners.
    pub(super) fn events(&self) -> impl Iterator<Item = EventNo> {
        self.by_event.iter().filter(|(_, tail)| tail.pending > 0).map(|(event, _)| *event)
    }

    /// The oldest rows of the journal, as many as hold `wins_max` winners, at least one.
    pub(super) fn oldest_rows(&self, wins_max: usize) -> Vec<JournalRow> {
        let mut wins = 0;
        let fits = |row: &&JournalRow| {
            let first = wins == 0;
            wins += row.wins;
            first || wins <= wins_max
        };
        self.rows.iter().take_while(fits).copied().collect()
    }

    /// Writes the winners of a batch, by event, as one row; memory follows by [`Tail::committed`]
    /// and [`Tail::insert`] once the transaction has committed.
    pub(super) fn append<'a>(
        &self,
        transaction: &Transaction<'_>,
        wins: impl Iterator<Item = &'a [Win]>,
    ) -> rusqlite::Result<()> {
        let Some(entries) = encode(wins) else { return Ok(()) };
        let mut insert = transaction
            .prepare_cached("INSERT INTO claim_journal (no, entries) VALUES (?1, ?2)")?;
        insert.execute(params![self.row_no_next, entries]).map(|_| ())
    }

    /// Takes in what a committed transaction has appended.
    pub(super) fn committed(&mut self, wins: usize) {
        self.rows.push_back(JournalRow { no: self.row_no_next, wins });
        self.row_no_next += 1;
    }

    /// Remembers winners.
    pub(super) fn insert(&mut self, wins: &[Win]) {
        self.taken_in += wins.len();
        for win in wins {
            let event = self.by_event.entry(win.event_no).or_default();
            event.sequence_max = event.sequence_max.max(win.sequence.get());
            if self.by_id.insert(win.id, Unsettled::of(win)).is_none() {
                event.pending += 1;
            }
        }
    }

    /// Forgets a winner whose row is in the table.
    pub(super) fn remove(&mut self, id: IssuedCouponId, event: EventNo) {
        if self.by_id.remove(&id).is_some()
            && let Some(tail) = self.by_event.get_mut(&event)
        {
            tail.pending -= 1;
            if tail.pending == 0 {
                self.by_event.remove(&event);
            }
        }
    }

    /// Forgets rows of the journal that are settled.
    pub(super) fn remove_rows(&mut self, rows: &[JournalRow]) {
        for row in rows {
            let oldest = self.rows.pop_front();
            assert!(oldest.is_some_and(|oldest| oldest.no == row.no), "rows settle in order");
        }
        if self.by_id.is_empty() {
            // After a large drop the memory goes back; a map that nobody has written to takes none.
            if self.taken_in > MANY {
                self.by_id = HashMap::with_capacity(UNSETTLED_MAX);
            }
            self.taken_in = 0;
        }
    }
}

/// The winners of one event in a row of the journal: their sequences follow each other, and the
/// rest but the user ids is the same for all. The ids of their issued coupons are not kept: they
/// follow from event and user.
pub(super) struct Run {
    pub(super) event_no: EventNo,
    sequence_first: Sequence,
    issued_at: Timestamp,
    valid_from: Timestamp,
    expires_at: Timestamp,
    users: Vec<UserId>,
}

/// A run as JSON: event number, first sequence, the three times in microseconds, user ids.
type Entry<U> = (u64, u32, i64, i64, i64, Vec<U>);

impl Run {
    /// The users and their sequences.
    pub(super) fn holders(&self) -> impl Iterator<Item = (Sequence, &UserId)> {
        let sequences = (i128::from(self.sequence_first.get())..).map(|sequence| {
            Sequence::parse(sequence).expect("the last of a run was checked when it was read")
        });
        sequences.zip(&self.users)
    }

    /// The winners, once the event's id is known.
    pub(super) fn wins(&self, event: EventId) -> impl Iterator<Item = Win> {
        self.holders().map(move |(sequence, user)| Win {
            id: IssuedCouponId::derive(event, user),
            event_no: self.event_no,
            user_id: user.clone(),
            sequence,
            issued_at: self.issued_at,
            valid_from: self.valid_from,
            expires_at: self.expires_at,
        })
    }
}

/// The entries of a row. Each of the slices has the winners of one event, in sequence.
fn encode<'a>(wins: impl Iterator<Item = &'a [Win]>) -> Option<String> {
    let entry = |wins: &'a [Win]| -> Option<Entry<&'a str>> {
        let Win { event_no, sequence, issued_at, valid_from, expires_at, .. } = wins.first()?;
        let [issued_at, valid_from, expires_at] =
            [issued_at, valid_from, expires_at].map(|time| time.as_micros());
        let users = wins.iter().map(|win| win.user_id.as_str()).collect();
        Some((event_no.get(), sequence.get(), issued_at, valid_from, expires_at, users))
    };
    let entries: Vec<_> = wins.filter_map(entry).collect();
    (!entries.is_empty()).then(|| json(&entries))
}

/// The winners of a row.
pub(super) fn decode(entries: &str) -> Result<Vec<Run>, LedgerError> {
    let entries: Vec<Entry<String>> =
        sound(serde_json::from_str(entries), "a row of claim_journal")?;
    entries.into_iter().map(run).collect()
}

fn run(
    (no, sequence, issued_at, valid_from, expires_at, users): Entry<String>,
) -> Result<Run, LedgerError> {
    let user = |user: String| sound(UserId::parse(&user), "a journalled user id");
    let sequence_last = i128::from(sequence) + users.len() as i128 - 1;
    sound(Sequence::parse(sequence_last), "a journalled sequence")?;
    Ok(Run {
        event_no: sound(EventNo::new(no).ok_or("too large"), "a journalled event number")?,
        sequence_first: sound(Sequence::parse(sequence.into()), "a journalled sequence")?,
        issued_at: Timestamp::from_micros(issued_at),
        valid_from: Timestamp::from_micros(valid_from),
        expires_at: Timestamp::from_micros(expires_at),
        users: users.into_iter().map(user).collect::<Result<_, _>>()?,
    })
}

/// The ids of events, each looked up once.
#[derive(Default)]
pub(super) struct EventIds(HashMap<EventNo, EventId>);

impl EventIds {
    /// The winners of these runs.
    pub(super) fn wins(&mut self, db: &Connection, runs: &[Run]) -> Result<Vec<Win>, LedgerError> {
        let unknown = runs.iter().map(|run| run.event_no).filter(|no| !self.0.contains_key(no));
        let unknown: Vec<EventNo> = unknown.collect();
        if !unknown.is_empty() {
            self.0.extend(live::event_ids(db, &unknown)?);
        }
        let mut wins = Vec::with_capacity(runs.iter().map(|run| run.users.len()).sum());
        for run in runs {
            let id = self.0.get(&run.event_no).copied();
            wins.extend(run.wins(sound(id.ok_or("no such event"), "a journalled event")?));
        }
        Ok(wins)
    }
}
