//! The journal: winners that are durable but not yet in the tables.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;

use firstcome_core::{CodeKey, EventNo, IssuedCouponId, Sequence, Timestamp, UserId};
use rusqlite::{Connection, Transaction, params};
use uuid::Uuid;

use super::live::LiveEvent;
use crate::records::{event_no, sound};
use crate::{IssuedCouponRecord, LedgerError};

/// A winner, as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Win {
    pub(super) id: IssuedCouponId,
    pub(super) event_no: EventNo,
    pub(super) user_id: UserId,
    pub(super) sequence: Sequence,
    pub(super) issued_at: Timestamp,
    pub(super) valid_from: Timestamp,
    pub(super) expires_at: Timestamp,
}

impl Win {
    pub(super) fn issued_coupon(&self, event: &LiveEvent, key: &CodeKey) -> IssuedCouponRecord {
        Unsettled::of(self).issued_coupon(event, &self.user_id, self.id, key)
    }
}

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

    pub(super) fn issued_coupon(
        &self,
        event: &LiveEvent,
        user: &UserId,
        id: IssuedCouponId,
        key: &CodeKey,
    ) -> IssuedCouponRecord {
        IssuedCouponRecord {
            id,
            event_id: event.id,
            coupon_id: event.coupon_id,
            user_id: user.clone(),
            sequence: self.sequence,
            code: key.code(event.no, self.sequence),
            issued_at: self.issued_at,
            valid_from: self.valid_from,
            expires_at: self.expires_at,
            used_at: None,
            revoked_at: None,
        }
    }
}

/// A row of the journal that is still to be settled.
#[derive(Debug, Clone, Copy)]
pub(super) struct JournalRow {
    pub(super) no: i64,
    pub(super) wins: usize,
}

/// Everything that the journal holds, by holder.
#[derive(Default)]
pub(super) struct Tail {
    by_id: HashMap<IssuedCouponId, Unsettled>,
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
    /// Reads the journal.
    pub(super) fn load(db: &Connection) -> Result<Self, LedgerError> {
        let mut tail = Self { row_no_next: 1, ..Self::default() };
        let mut select = db.prepare("SELECT no, entries FROM claim_journal ORDER BY no")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let (no, entries): (i64, String) = (row.get(0)?, row.get(1)?);
            let wins = decode(&entries)?;
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

    /// Writes the winners of a batch as one row; memory follows by [`Tail::committed`] and
    /// [`Tail::insert`] once the transaction has committed.
    pub(super) fn append<'a>(
        &self,
        transaction: &Transaction<'_>,
        wins: impl Iterator<Item = &'a Win>,
    ) -> rusqlite::Result<()> {
        let entries = encode(wins);
        if entries.is_empty() {
            return Ok(());
        }
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
            self.by_id.shrink_to(0);
        }
    }
}

/// The entries of a row; empty for no winners.
fn encode<'a>(wins: impl Iterator<Item = &'a Win>) -> String {
    let mut json = String::new();
    for win in wins {
        json.push(if json.is_empty() { '[' } else { ',' });
        let id = win.id.as_uuid().simple();
        let (event_no, sequence) = (win.event_no.get(), win.sequence);
        let issued_at = win.issued_at.as_micros();
        let (from, until) = (win.valid_from.as_micros(), win.expires_at.as_micros());
        let quoted = Quoted(win.user_id.as_str());
        write!(json, "[{event_no},{sequence},\"{id}\",{quoted},{issued_at},{from},{until}]")
            .expect("writing to a string does not fail");
    }
    if !json.is_empty() {
        json.push(']');
    }
    json
}

/// A user id as a JSON string: visible ASCII, so two characters need escaping.
struct Quoted<'a>(&'a str);

impl std::fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_char('"')?;
        if self.0.contains(['"', '\\']) {
            for character in self.0.chars() {
                if matches!(character, '"' | '\\') {
                    f.write_char('\\')?;
                }
                f.write_char(character)?;
            }
        } else {
            f.write_str(self.0)?;
        }
        f.write_char('"')
    }
}

type Entry = (i64, i64, Uuid, String, i64, i64, i64);

/// The winners of a row.
pub(super) fn decode(entries: &str) -> Result<Vec<Win>, LedgerError> {
    let entries: Vec<Entry> = sound(serde_json::from_str(entries), "a row of claim_journal")?;
    entries.into_iter().map(win).collect()
}

fn win(entry: Entry) -> Result<Win, LedgerError> {
    let (no, sequence, id, user, issued_at, valid_from, expires_at) = entry;
    Ok(Win {
        id: IssuedCouponId::from_uuid(id),
        event_no: event_no(no)?,
        user_id: sound(UserId::parse(&user), "a journalled user id")?,
        sequence: sound(Sequence::parse(sequence.into()), "a journalled sequence")?,
        issued_at: Timestamp::from_micros(issued_at),
        valid_from: Timestamp::from_micros(valid_from),
        expires_at: Timestamp::from_micros(expires_at),
    })
}
