//! Events in memory, and what the tables say of holders.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use firstcome_core::{CodeKey, EventId, EventNo, UserId};
use rusqlite::{Connection, Row, Transaction};
use uuid::Uuid;

use super::ClaimWriter;
use crate::claim::batch::LiveEvent;
use crate::entity::issued_coupon;
use crate::records::{self, EventColumns, event_no};
use crate::{IssuedCouponRecord, LedgerError};

/// Events that memory keeps; more are read again when they are claimed.
const EVENTS_MAX: usize = 50_000;

/// How many coupons each event has issued of which the tables do not know all.
pub(crate) type IssuedCounts = HashMap<EventNo, u32>;

/// The counts for those who read events: the tables lag behind by what is not settled.
#[derive(Debug, Clone, Default)]
pub(crate) struct IssuedLive(Arc<RwLock<Arc<IssuedCounts>>>);

impl IssuedLive {
    /// The counts at this moment. Take them before reading the tables: what is missing here the
    /// tables know by then, and a quantity read later is at least a count taken earlier.
    pub(crate) fn snapshot(&self) -> Arc<IssuedCounts> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set(&self, event: EventNo, issued: u32) {
        let mut counts = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut counts).insert(event, issued);
    }

    /// Drops what the tables know by now.
    pub(super) fn retain(&self, unsettled: impl Fn(EventNo) -> bool) {
        let mut counts = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut counts).retain(|event, _| unsettled(*event));
    }
}

impl ClaimWriter {
    /// The counts that readers of events see.
    pub(crate) fn issued_live(&self) -> IssuedLive {
        self.issued_live.clone()
    }

    /// Reads those of the events that memory lacks, in one statement.
    pub(super) fn load_events(
        &mut self,
        ids: impl Iterator<Item = EventId>,
    ) -> Result<(), LedgerError> {
        let missing: Vec<String> = ids
            .filter(|id| !self.events.contains_key(id))
            .map(|id| id.as_uuid().simple().to_string())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        if self.events.len() + missing.len() > EVENTS_MAX {
            self.events.clear();
        }
        let mut select = self.db.prepare_cached(
            "SELECT e.no, e.id, e.coupon_id, e.quantity, e.issued, e.opens_at, e.closes_at,
                    e.opened_early, e.paused, e.closed, c.valid_from, c.valid_until, c.valid_days,
                    e.version, e.erased, e.epoch
             FROM json_each(?1) AS asked
             JOIN events AS e ON e.id = unhex(asked.value)
             JOIN coupons AS c ON c.id = e.coupon_id",
        )?;
        let mut rows = select.query([json(&missing)])?;
        while let Some(row) = rows.next()? {
            let mut event = live_event(row)?;
            event.rule.issued = event.rule.issued.max(self.tail.sequence_max(event.no));
            self.events.insert(event.id, event);
        }
        Ok(())
    }
}

/// Keeps events closed that the clock has closed.
pub(super) fn close_events(db: &Transaction<'_>, ids: &[EventId]) -> rusqlite::Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let ids: Vec<String> = ids.iter().map(|id| id.as_uuid().simple().to_string()).collect();
    let mut update = db.prepare_cached(
        "UPDATE events SET closed = TRUE WHERE id IN (SELECT unhex(value) FROM json_each(?1))",
    )?;
    update.execute([json(&ids)]).map(|_| ())
}

/// The issued coupons in the table that these users hold, in one statement.
pub(super) fn settled_coupons(
    db: &Connection,
    holders: &[(&LiveEvent, Cow<'_, UserId>)],
    key: &CodeKey,
) -> Result<Vec<IssuedCouponRecord>, LedgerError> {
    if holders.is_empty() {
        return Ok(Vec::new());
    }
    let asked: Vec<(u64, &str)> =
        holders.iter().map(|(event, user)| (event.no.get(), user.as_str())).collect();
    let mut select = db.prepare_cached(
        "SELECT asked.key, c.event_no, c.sequence, c.id, c.user_id, c.issued_at, c.valid_from,
                c.expires_at, c.used_at, c.revoked_at
         FROM json_each(?1) AS asked CROSS JOIN issued_coupons AS c
           ON c.event_no = asked.value ->> 0 AND c.user_id = asked.value ->> 1",
    )?;
    let mut rows = select.query([json(&asked)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let asked: u32 = row.get(0)?;
        let (event, _) = holders[asked as usize];
        found.push(records::issued_coupon(&issued_row(row)?, event.id, event.coupon_id, key)?);
    }
    Ok(found)
}

fn issued_row(row: &Row<'_>) -> rusqlite::Result<issued_coupon::Model> {
    Ok(issued_coupon::Model {
        event_no: row.get(1)?,
        sequence: row.get(2)?,
        id: Uuid::from_bytes(row.get(3)?),
        user_id: row.get(4)?,
        issued_at: row.get(5)?,
        valid_from: row.get(6)?,
        expires_at: row.get(7)?,
        used_at: row.get(8)?,
        revoked_at: row.get(9)?,
        revoke_reason: None,
    })
}

fn live_event(row: &Row<'_>) -> Result<LiveEvent, LedgerError> {
    EventColumns {
        no: row.get(0)?,
        id: Uuid::from_bytes(row.get(1)?),
        coupon_id: Uuid::from_bytes(row.get(2)?),
        quantity: row.get(3)?,
        issued: row.get(4)?,
        opens_at: row.get(5)?,
        closes_at: row.get(6)?,
        opened_early: row.get(7)?,
        paused: row.get(8)?,
        closed: row.get(9)?,
        valid_from: row.get(10)?,
        valid_until: row.get(11)?,
        valid_days: row.get(12)?,
        version: row.get(13)?,
        erased: row.get(14)?,
        epoch: row.get(15)?,
    }
    .try_into()
}

/// A statement's one argument.
pub(super) fn json<T: serde::Serialize>(values: &[T]) -> String {
    serde_json::to_string(values).expect("texts and numbers serialize")
}

/// The ids of events.
pub(super) fn event_ids(
    db: &Connection,
    events: &[EventNo],
) -> Result<Vec<(EventNo, EventId)>, LedgerError> {
    let numbers: Vec<u64> = events.iter().map(|event| event.get()).collect();
    let mut select = db.prepare_cached(
        "SELECT e.no, e.id FROM json_each(?1) AS asked JOIN events AS e ON e.no = asked.value",
    )?;
    let mut rows = select.query([json(&numbers)])?;
    let mut found = Vec::with_capacity(events.len());
    while let Some(row) = rows.next()? {
        found.push((event_no(row.get(0)?)?, EventId::from_uuid(Uuid::from_bytes(row.get(1)?))));
    }
    Ok(found)
}
