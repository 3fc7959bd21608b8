//! Whether a record can be applied, without applying it: for an operator who looks at it.

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

/// Judges a record of a partition by what the ledger has now.
///
/// # Errors
/// When the ledger does not answer.
pub async fn judge(
    ledger: &Ledger,
    partition: i32,
    record: &JournalRecord,
) -> Result<Judgement, LedgerError> {
    let (JournalRecord::Win(JournalWin { event_id, epoch, .. })
    | JournalRecord::Fence { event_id, epoch }) = record;
    let Some(event) = ledger.event(*event_id).await? else {
        return Ok(Judgement::Stops(Unappliable::EventNotFound));
    };
    if event.partition != Some(partition) {
        return Ok(Judgement::Stops(Unappliable::Partition { pinned: event.partition }));
    }
    if *epoch > event.epoch {
        return Ok(Judgement::Stops(Unappliable::Epoch { current: event.epoch }));
    }
    let JournalRecord::Win(win) = record else {
        let is_raised = event.fence >= *epoch;
        return Ok(if is_raised { Judgement::Known } else { Judgement::Fits });
    };
    let held = ledger.held_of(&event, std::slice::from_ref(&win.user_id)).await?;
    match held.first().and_then(Option::as_ref) {
        Some(held) if held.sequence == win.sequence => return Ok(Judgement::Known),
        _ if *epoch < event.fence => return Ok(Judgement::Void),
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
