//! What a stretch comes to: the records one by one, in the journal's order. No I/O.

use std::collections::HashMap;

use firstcome_core::{EventId, EventNo, IssuedCouponId, Sequence};

use super::super::Win;
use super::{JournalledEvent, Place};
use crate::{JournalRecord, JournalWin, Unappliable};

/// What is to be written of a stretch.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Who is issued a coupon, in the journal's order.
    pub(in super::super) wins: Vec<Win>,
    /// The events that they are of.
    pub(in super::super) counts: Vec<Count>,
    /// The events whose fence is raised, and to what.
    pub(in super::super) fences: Vec<(EventNo, u64)>,
    /// Wins that are there already.
    pub(super) known: u32,
    /// Wins that count no more.
    pub(super) void: u32,
}

/// What an event has issued behind a stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    pub(in super::super) no: EventNo,
    pub(in super::super) issued: u32,
    /// The sequence before the lowest that is new.
    pub(in super::super) sequence_before: u32,
}

/// The offset of the first record that cannot be applied, and why.
pub(super) type Stop = (i64, Unappliable);

impl Plan {
    pub(super) fn written(&self) -> u32 {
        u32::try_from(self.wins.len()).expect("a stretch is bounded")
    }
}

/// Goes through the records of a stretch of this partition. Of what was issued before, `places` has
/// what they may meet.
pub(super) fn plan(
    partition: i32,
    records: &[(i64, JournalRecord)],
    events: &[JournalledEvent],
    places: &[Place],
) -> Result<Plan, Stop> {
    let mut walk = Walk::new(partition, events, places);
    for (offset, record) in records {
        let walked = match record {
            JournalRecord::Win(win) => walk.win(win),
            JournalRecord::Fence { event_id, epoch } => walk.fence(*event_id, *epoch),
        };
        walked.map_err(|why| (*offset, why))?;
    }
    Ok(walk.into_plan(events))
}

/// The events and their places in line as the records leave them.
struct Walk<'a> {
    partition: i32,
    events: HashMap<EventId, Event<'a>>,
    ids: HashMap<(EventNo, Sequence), IssuedCouponId>,
    sequences: HashMap<IssuedCouponId, Sequence>,
    plan: Plan,
}

struct Event<'a> {
    was: &'a JournalledEvent,
    issued: u32,
    epoch: u64,
    fence: u64,
    lowest: Option<Sequence>,
}

impl<'a> Walk<'a> {
    fn new(partition: i32, events: &'a [JournalledEvent], places: &[Place]) -> Self {
        let event = |was: &'a JournalledEvent| {
            let JournalledEvent { issued, epoch, fence, .. } = *was;
            (was.id, Event { was, issued, epoch, fence, lowest: None })
        };
        Self {
            partition,
            events: events.iter().map(event).collect(),
            ids: places.iter().map(|it| ((it.event_no, it.sequence), it.id)).collect(),
            sequences: places.iter().map(|it| (it.id, it.sequence)).collect(),
            plan: Plan::default(),
        }
    }

    /// The event, if its records may come from this partition.
    fn event(&mut self, id: EventId) -> Result<&mut Event<'a>, Unappliable> {
        let event = self.events.get_mut(&id).ok_or(Unappliable::EventNotFound)?;
        let pinned = event.was.partition;
        if pinned != Some(self.partition) {
            return Err(Unappliable::Partition { pinned });
        }
        Ok(event)
    }

    /// The epoch has begun, though a ledger that was restored from a backup may not know it any
    /// more.
    fn fence(&mut self, id: EventId, epoch: u64) -> Result<(), Unappliable> {
        let event = self.event(id)?;
        event.fence = event.fence.max(epoch);
        event.epoch = event.epoch.max(epoch);
        Ok(())
    }

    fn win(&mut self, win: &JournalWin) -> Result<(), Unappliable> {
        let event = self.event(win.event_id)?;
        if win.epoch > event.epoch {
            return Err(Unappliable::Epoch { current: event.epoch });
        }
        let (no, is_void) = (event.was.no, win.epoch < event.fence);
        let id = IssuedCouponId::derive(win.event_id, &win.user_id);
        let held = self.sequences.get(&id);
        if held == Some(&win.sequence) {
            self.plan.known += 1;
            return Ok(());
        }
        if is_void {
            self.plan.void += 1;
            return Ok(());
        }
        if held.is_some() {
            return Err(Unappliable::User);
        }
        if self.ids.contains_key(&(no, win.sequence)) {
            return Err(Unappliable::Sequence);
        }
        let event = self.event(win.event_id)?;
        if event.issued >= event.was.quantity {
            return Err(Unappliable::Quantity);
        }
        event.issued += 1;
        event.lowest = Some(event.lowest.map_or(win.sequence, |it| it.min(win.sequence)));
        self.ids.insert((no, win.sequence), id);
        self.sequences.insert(id, win.sequence);
        self.plan.wins.push(Win {
            id,
            event_no: no,
            user_id: win.user_id.clone(),
            sequence: win.sequence,
            issued_at: win.issued_at,
            valid_from: win.valid_from,
            expires_at: win.expires_at,
        });
        Ok(())
    }

    /// The events in the order of their locks.
    fn into_plan(self, events: &[JournalledEvent]) -> Plan {
        let Self { events: walked, mut plan, .. } = self;
        for Event { was, issued, fence, lowest, .. } in
            events.iter().map(|event| &walked[&event.id])
        {
            if let Some(lowest) = lowest {
                let sequence_before = lowest.get() - 1;
                plan.counts.push(Count { no: was.no, issued: *issued, sequence_before });
            }
            if *fence > was.fence {
                plan.fences.push((was.no, *fence));
            }
        }
        plan
    }
}
