//! Rows that a journal's records meet, checked as they are read.

use firstcome_core::{EventId, EventNo, IssuedCouponId, Sequence};
use uuid::Uuid;

use super::{JournalledEvent, Place};
use crate::LedgerError;
use crate::records::{event_no, sound};

/// The columns of an event that its journal goes by.
pub(in super::super) struct EventColumns {
    pub(in super::super) no: i64,
    pub(in super::super) id: Uuid,
    pub(in super::super) quantity: i64,
    pub(in super::super) issued: i64,
    pub(in super::super) epoch: i64,
    pub(in super::super) fence: i64,
    pub(in super::super) erased: i64,
    pub(in super::super) partition: Option<i32>,
}

impl TryFrom<EventColumns> for JournalledEvent {
    type Error = LedgerError;

    fn try_from(row: EventColumns) -> Result<Self, LedgerError> {
        Ok(Self {
            no: event_no(row.no)?,
            id: EventId::from_uuid(row.id),
            quantity: sound(u32::try_from(row.quantity), "events.quantity")?,
            issued: sound(u32::try_from(row.issued), "events.issued")?,
            epoch: sound(u64::try_from(row.epoch), "events.epoch")?,
            fence: sound(u64::try_from(row.fence), "events.fence")?,
            has_erased: row.erased > 0,
            partition: row.partition,
        })
    }
}

pub(in super::super) fn place(no: i64, sequence: i64, id: Uuid) -> Result<Place, LedgerError> {
    Ok(Place {
        event_no: event_no(no)?,
        sequence: sound(Sequence::parse(sequence.into()), "issued_coupons.sequence")?,
        id: IssuedCouponId::from_uuid(id),
    })
}

/// The highest sequence of an event.
pub(in super::super) fn highest(no: i64, sequence: i64) -> Result<(EventNo, u32), LedgerError> {
    Ok((event_no(no)?, sound(u32::try_from(sequence), "issued_coupons.sequence")?))
}

/// An epoch as SQL has it: one that an event had, one by one.
pub(in super::super) fn signed(epoch: u64) -> i64 {
    i64::try_from(epoch).expect("no later than the event's own")
}
