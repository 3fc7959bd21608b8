//! Whether a record can be applied, without applying it: for an operator who looks at it.

use std::collections::HashMap;

use firstcome_core::EventId;
use firstcome_ledger::{JournalRecord, JournalWin, Ledger, LedgerError, Unappliable};

/// What applying a record at the stored position would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// It would be written.
    Fits,
    /// The ledger has it.
    Known,
    /// It is of an older epoch than the last fence: nobody was told of it.
    Void,
    /// It would stop its partition.
    Stops(Unappliable),
}

/// Judges records of a partition one after another, by what the ledger has now and the fences among
/// those before.
pub struct Judge<'a> {
    ledger: &'a Ledger,
    partition: i32,
    /// The last epoch that a fence has begun, of each event.
    fences: HashMap<EventId, u64>,
}

impl<'a> Judge<'a> {
    /// Judges by this ledger.
    #[must_use]
    pub fn new(ledger: &'a Ledger, partition: i32) -> Self {
        Self { ledger, partition, fences: HashMap::new() }
    }

    /// Judges the next record.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn judge(&mut self, record: &JournalRecord) -> Result<Judgement, LedgerError> {
        let (JournalRecord::Win(JournalWin { event_id, .. })
        | JournalRecord::Fence { event_id, .. }) = record;
        let fenced = self.fences.get(event_id).copied().unwrap_or(0);
        let judgement = judge(self.ledger, self.partition, record, fenced).await?;
        if let (JournalRecord::Fence { event_id, epoch }, Judgement::Fits) = (record, judgement) {
            self.fences.insert(*event_id, *epoch);
        }
        Ok(judgement)
    }
}

/// Judges a record that follows a fence with this epoch.
async fn judge(
    ledger: &Ledger,
    partition: i32,
    record: &JournalRecord,
    fenced: u64,
) -> Result<Judgement, LedgerError> {
    let (JournalRecord::Win(JournalWin { event_id, .. }) | JournalRecord::Fence { event_id, .. }) =
        record;
    let Some(event) = ledger.event(*event_id).await? else {
        return Ok(Judgement::Stops(Unappliable::EventNotFound));
    };
    if event.partition != Some(partition) {
        return Ok(Judgement::Stops(Unappliable::Partition { pinned: event.partition }));
    }
    let (current, fence) = (event.epoch.max(fenced), event.fence.max(fenced));
    let win = match record {
        JournalRecord::Win(win) => win,
        // It has begun, though a ledger that was restored from a backup may not know it any more.
        JournalRecord::Fence { epoch, .. } if *epoch > fence => return Ok(Judgement::Fits),
        JournalRecord::Fence { .. } => return Ok(Judgement::Known),
    };
    if win.epoch > current {
        return Ok(Judgement::Stops(Unappliable::Epoch { current }));
    }
    let held = ledger.held_of(&event, std::slice::from_ref(&win.user_id)).await?;
    match held.first().and_then(Option::as_ref) {
        Some(held) if held.sequence == win.sequence => return Ok(Judgement::Known),
        _ if win.epoch < fence => return Ok(Judgement::Void),
        Some(_) => return Ok(Judgement::Stops(Unappliable::User)),
        None => {}
    }
    let others = ledger.winners_after(event.no, win.sequence.get() - 1, 1).await?;
    if others.first().is_some_and(|other| other.sequence == win.sequence) {
        return Ok(Judgement::Stops(Unappliable::Sequence));
    }
    let is_full = event.rule.issued >= event.rule.quantity.get();
    Ok(if is_full { Judgement::Stops(Unappliable::Quantity) } else { Judgement::Fits })
}
