//! Applying a stretch of a journal: what its decider has issued and told is written.
//!
//! One transaction: move the position of the partition, if it is where the stretch begins, which
//! lets one worker at a time into a partition; lock the events' rows; look what is there already;
//! go through the records in their order; insert the winners, move the counters and the fences;
//! commit. Nothing asks whether an event is paused or closed: the wins were promised.
//!
//! A winner holds another place only where something went wrong before, so that users are looked up
//! when an insert has failed or a record is about to stop the partition. Sequences are looked up as
//! far as they are no higher than all that are there.

mod plan;
pub(super) mod read;

use std::collections::{BTreeMap, HashMap};

use firstcome_core::{EventId, EventNo, IssuedCouponId, Sequence, UserId};
use sqlx::Error;
use tokio::time::timeout;

use super::take::is_unique_violation;
use super::{ClaimConnection, Claimer, is_stale};
use crate::{Applied, ClaimError, JournalRecord, LedgerError, Stretch};

use plan::plan;
pub(super) use plan::{Count, Plan};

/// What the transaction of a stretch says to a database.
pub(crate) trait JournalConnection: ClaimConnection {
    /// Begins a transaction and moves the position of the stretch's partition, if it is where the
    /// stretch begins.
    async fn advance(&mut self, stretch: &Stretch<'_>) -> Result<Advance, LedgerError>;

    /// Locks those of these events that there are, in this order.
    async fn lock(&mut self, ids: &[EventId]) -> Result<Vec<JournalledEvent>, LedgerError>;

    /// The highest sequence of each of these events that has issued any.
    async fn highest(&mut self, events: &[EventNo]) -> Result<Vec<(EventNo, u32)>, LedgerError>;

    /// Those of these places in line that are taken.
    async fn taken(&mut self, places: &[(EventNo, Sequence)]) -> Result<Vec<Place>, LedgerError>;

    /// The places in line of those who stand there by these names.
    async fn places_of(&mut self, names: &[(EventNo, UserId)]) -> Result<Vec<Place>, LedgerError>;

    /// Inserts the winners, and moves counters and fences.
    async fn write_plan(&mut self, plan: &Plan) -> Result<(), Error>;

    async fn commit(&mut self) -> Result<(), Error>;
}

/// Where a partition stands.
pub(crate) enum Advance {
    /// Behind the stretch, once the transaction is committed.
    Moved,
    /// Elsewhere; none where it was never begun.
    Elsewhere(Option<i64>),
}

/// What a journal's records meet of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JournalledEvent {
    pub(super) no: EventNo,
    pub(super) id: EventId,
    pub(super) quantity: u32,
    pub(super) issued: u32,
    pub(super) epoch: u64,
    pub(super) fence: u64,
    pub(super) has_erased: bool,
    pub(super) partition: Option<i32>,
}

/// A place in line, and the coupon that was issued for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(super) event_no: EventNo,
    pub(super) sequence: Sequence,
    pub(super) id: IssuedCouponId,
}

/// Whose places are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Users {
    /// Those that no index would refuse: of users who may have been erased.
    Erased,
    All,
}

/// Why a stretch is not known to be applied.
enum NotApplied {
    /// Nothing was written.
    NotWritten {
        error: LedgerError,
        /// Whether another connection might do better.
        stale: bool,
    },
    /// The answer to COMMIT was lost.
    Unknown(LedgerError),
}

impl<C: JournalConnection> Claimer<C> {
    /// Applies a stretch of a partition.
    pub(super) async fn apply(
        &self,
        stretch: &Stretch<'_>,
        records: &[(i64, JournalRecord)],
    ) -> Result<Applied, ClaimError> {
        let _permit = self.room.acquire().await.expect("it is never closed");
        let mut users = Users::Erased;
        let mut tries_left = 2;
        loop {
            let error = match self.apply_once(stretch, records, users).await {
                Ok(applied) => return Ok(applied),
                Err(NotApplied::Unknown(error)) => return Err(ClaimError::InDoubt(error)),
                Err(NotApplied::NotWritten { error, .. })
                    if is_unique_violation(&error) && users == Users::Erased =>
                {
                    users = Users::All;
                    continue;
                }
                Err(NotApplied::NotWritten { error, stale: true }) if tries_left > 1 => {
                    tracing::debug!(error.message = %error, "a stretch is applied anew");
                    tries_left -= 1;
                    continue;
                }
                Err(NotApplied::NotWritten { error, .. }) => error,
            };
            return Err(ClaimError::Unavailable(error));
        }
    }

    /// One transaction; a connection on which anything failed is dropped, and its locks with it.
    async fn apply_once(
        &self,
        stretch: &Stretch<'_>,
        records: &[(i64, JournalRecord)],
        users: Users,
    ) -> Result<Applied, NotApplied> {
        let connected = self.connection().await;
        let mut connected =
            connected.map_err(|error| NotApplied::NotWritten { error, stale: false })?;
        let (connection, is_new) = (&mut connected.connection, connected.is_new);
        let not_written = |error: LedgerError| {
            let stale = is_stale(&error, is_new);
            NotApplied::NotWritten { error, stale }
        };
        let worked = async {
            if let Advance::Elsewhere(next) = self.in_time(connection.advance(stretch)).await? {
                return Ok(Err(Applied::Elsewhere { next }));
            }
            let plan = match self.look_and_plan(connection, stretch, records, users).await? {
                Ok(plan) => plan,
                Err((offset, why)) => return Ok(Err(Applied::Stopped { offset, why })),
            };
            let written = async { Ok(connection.write_plan(&plan).await?) };
            self.in_time(written).await.map(|()| Ok(plan))
        };
        let plan = match worked.await.map_err(not_written)? {
            Ok(plan) => plan,
            Err(nothing) => {
                self.undo(connected).await;
                return Ok(nothing);
            }
        };
        let commit = timeout(self.limits.statement_timeout, connected.connection.commit());
        match commit.await {
            Ok(Ok(())) => {
                self.give_back(connected);
                let Plan { known, void, .. } = plan;
                Ok(Applied::Done { written: plan.written(), known, void })
            }
            Ok(Err(error)) => Err(NotApplied::Unknown(error.into())),
            Err(_) => Err(NotApplied::Unknown(LedgerError::Late)),
        }
    }

    /// Locks, looks and goes through the records.
    async fn look_and_plan(
        &self,
        connection: &mut C,
        stretch: &Stretch<'_>,
        records: &[(i64, JournalRecord)],
        users: Users,
    ) -> Result<Result<Plan, plan::Stop>, LedgerError> {
        let ids = event_ids(records);
        let events = self.in_time(connection.lock(&ids)).await?;
        let asked = Sought::new(&events, records);
        let mut places = self.in_time(taken(connection, &asked)).await?;
        let names = self.names(&asked, users);
        places.extend(self.in_time(places_of(connection, &names)).await?);
        let planned = plan(stretch.partition, records, &events, &places);
        if planned.is_ok() || users == Users::All {
            return Ok(planned);
        }
        // Whoever is not looked up may stop it earlier.
        let names = self.names(&asked, Users::All);
        places.extend(self.in_time(places_of(connection, &names)).await?);
        Ok(plan(stretch.partition, records, &events, &places))
    }

    /// The names that users may stand under.
    fn names(&self, asked: &Sought<'_>, users: Users) -> Vec<(EventNo, UserId)> {
        let mut names = Vec::new();
        for (event, _, user) in &asked.wins {
            if users == Users::All {
                names.push((event.no, (*user).clone()));
            }
            if event.has_erased {
                names.push((event.no, self.keys.pseudonyms.of(user)));
            }
        }
        names
    }
}

/// Whose wins of which events are looked for.
struct Sought<'a> {
    /// The events that there are, of which there are wins.
    events: Vec<EventNo>,
    wins: Vec<(&'a JournalledEvent, Sequence, &'a UserId)>,
}

impl<'a> Sought<'a> {
    fn new(events: &'a [JournalledEvent], records: &'a [(i64, JournalRecord)]) -> Self {
        let by_id: HashMap<EventId, &JournalledEvent> =
            events.iter().map(|event| (event.id, event)).collect();
        let wins = records.iter().filter_map(|(_, record)| match record {
            JournalRecord::Win(win) => {
                Some((*by_id.get(&win.event_id)?, win.sequence, &win.user_id))
            }
            JournalRecord::Fence { .. } => None,
        });
        let wins: Vec<_> = wins.collect();
        let events: BTreeMap<u64, EventNo> =
            wins.iter().map(|(event, ..)| (event.no.get(), event.no)).collect();
        Self { events: events.into_values().collect(), wins }
    }
}

/// Every event of the records, in the order in which batches of claims lock them too.
fn event_ids(records: &[(i64, JournalRecord)]) -> Vec<EventId> {
    let mut ids: Vec<EventId> = records.iter().map(|(_, record)| record.event_id()).collect();
    ids.sort_unstable_by_key(|id| id.as_uuid());
    ids.dedup();
    ids
}

/// Those of the places of these wins that are taken.
async fn taken<C: JournalConnection>(
    connection: &mut C,
    asked: &Sought<'_>,
) -> Result<Vec<Place>, LedgerError> {
    if asked.events.is_empty() {
        return Ok(Vec::new());
    }
    let highest: HashMap<EventNo, u32> =
        connection.highest(&asked.events).await?.into_iter().collect();
    let places = asked.wins.iter().filter(|(event, sequence, _)| {
        highest.get(&event.no).is_some_and(|highest| sequence.get() <= *highest)
    });
    let places: Vec<_> = places.map(|(event, sequence, _)| (event.no, *sequence)).collect();
    if places.is_empty() { Ok(Vec::new()) } else { connection.taken(&places).await }
}

async fn places_of<C: JournalConnection>(
    connection: &mut C,
    names: &[(EventNo, UserId)],
) -> Result<Vec<Place>, LedgerError> {
    if names.is_empty() { Ok(Vec::new()) } else { connection.places_of(names).await }
}
