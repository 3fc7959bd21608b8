//! The claim transaction on a database server.
//!
//! One transaction a batch: lock the events' rows, in the order of their ids; then read what users
//! of the batch hold and the database's clock; decide by the rule; insert the winners in one
//! statement and move the counters; commit. Each statement is constant and prepared once. The
//! isolation level is READ COMMITTED: what is read after the lock is everything that was committed
//! before it.
//!
//! A batch on one event that was open a batch ago is *taken* where the database can ([`take`]): a
//! statement does all of this by itself, in one message with the commit, if the event is still as
//! this process left it. If it is not, nothing was written, and the batch is decided as above.
//!
//! When the answer to COMMIT is lost, nobody is told anything before the winners have been looked
//! for: under the same locks, so that a commit that is still under way has ended by then. They are
//! there, all or none. Where that cannot be found out, the batch is in doubt.

mod apply;
mod claims;
mod known;
mod mysql;
mod postgres;
mod record;
mod take;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firstcome_core::{EventId, EventNo, EventState, IssuedCouponId, Timestamp, UserId};
use sqlx::Error;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::batch::{DecidedGroup, Group, Held, LiveEvent, Win, group};
use super::{Answer, Claim, Decision};
use crate::entity::issued_coupon;
use crate::metrics::Metrics;
use crate::pools::{Connections, PoolMeter, acquired};
use crate::secrets::Keys;
use crate::server::DatabaseClock;
use crate::{ClaimError, LedgerError, Limits, records};

pub(crate) use claims::Claims;
use known::KnownEvents;
use record::NewWins;
pub use record::{NotRecorded, Recorded, Recording, Told, Tried, Won};
use take::{Asking, TakeOutcome, Taken, told_as_won};

/// How long batches fail at once after a connection could not be made.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(100);

/// What a claim transaction says to a database, on a connection of its own.
pub(crate) trait ClaimConnection: Sized + Send {
    /// How to connect.
    type Options: Send + Sync;

    /// Whether [`take`](Self::take) and [`record_new`](Self::record_new) do anything.
    const TAKES: bool = false;

    async fn connect(options: &Self::Options, limits: &Limits) -> Result<Self, Error>;

    /// Begins a transaction, locks those of the events that there are, in this order, and reads
    /// what the users hold and the clock.
    async fn look(&mut self, asked: &[Asked<'_>]) -> Result<Seen, LedgerError>;

    /// What these users hold of these events, whose locks are had.
    async fn held(
        &mut self,
        holders: &[(EventNo, UserId)],
    ) -> Result<Vec<issued_coupon::Model>, LedgerError>;

    /// Inserts the winners, moves the counters, and commits.
    async fn write(&mut self, moves: &[Move<'_>]) -> Result<(), NotCommitted>;

    /// The same of winners in whatever order others were, and not of one moment.
    async fn record(&mut self, moves: &[Move<'_>]) -> Result<(), NotCommitted>;

    async fn rollback(&mut self) -> Result<(), Error>;

    /// Records wins of users who hold nothing, of each event that takes them and has no winner
    /// under a pseudonym, and commits. Answers with these events; of the others nothing was
    /// written.
    fn record_new(
        &mut self,
        _new: &[NewWins<'_>],
    ) -> impl Future<Output = Result<Vec<LiveEvent>, NotCommitted>> + Send {
        async { Ok(Vec::new()) }
    }

    /// Decides claims on one event and commits, if the event is open and as it was known; none
    /// otherwise, and nothing was written.
    fn take(
        &mut self,
        _asking: &Asking<'_>,
    ) -> impl Future<Output = Result<Option<Taken>, NotCommitted>> + Send {
        async { Ok(None) }
    }
}

/// Whose coupons of an event are looked up.
pub(crate) struct Asked<'a> {
    event_id: EventId,
    users: Vec<&'a UserId>,
}

/// What a transaction begins with.
#[derive(Default)]
pub(crate) struct Seen {
    events: Vec<LiveEvent>,
    held: Vec<issued_coupon::Model>,
    /// The database's clock after the locks were had, in microseconds since the epoch.
    now_micros: i64,
}

/// Why a transaction is not known to be committed.
pub(crate) enum NotCommitted {
    /// Nothing of it was written.
    Refused(LedgerError),
    /// The answer was lost.
    Unknown(LedgerError),
}

/// What becomes of an event.
pub(crate) struct Move<'a> {
    no: EventNo,
    issued: u32,
    closed: bool,
    /// Where they are [written](ClaimConnection::write): in the order of their sequences, the last
    /// of which is `issued`, and all of one moment.
    wins: &'a [Win],
}

impl Move<'_> {
    /// The last sequence before these winners'.
    fn sequence_before(&self) -> u32 {
        let lowest = self.wins.iter().map(|win| win.sequence.get()).min();
        lowest.map_or(self.issued, |lowest| lowest - 1)
    }
}

/// Decides batches on connections of its own.
pub(crate) struct Claimer<C: ClaimConnection> {
    options: C::Options,
    limits: Limits,
    keys: Keys,
    clock: Arc<DatabaseClock>,
    /// Connections that wait for a batch.
    idle: Mutex<Vec<Connected<C>>>,
    /// A permit for each connection that may be in use.
    room: Semaphore,
    /// When a connection could last not be made.
    failed: Mutex<Option<Instant>>,
    known: KnownEvents,
    metrics: Metrics,
    meter: PoolMeter,
}

/// A connection and its age.
struct Connected<C> {
    connection: C,
    since: Instant,
    /// Whether it was made for this batch.
    is_new: bool,
}

/// A batch with its verdicts, before anyone is told.
struct Decided {
    groups: Vec<(LiveEvent, DecidedGroup)>,
    /// Those that another decider has the word on.
    left: Vec<Group>,
    held: Held,
    /// The moment that decided.
    now: Timestamp,
}

/// Why a batch was not committed.
enum Failure {
    /// Nothing was written. Whether another connection might do better.
    NotWritten(LedgerError, bool),
    /// The answer to COMMIT was lost.
    Unknown(Box<Decided>, LedgerError),
}

impl<C: ClaimConnection> Claimer<C> {
    fn new(
        options: C::Options,
        limits: Limits,
        keys: Keys,
        clock: Arc<DatabaseClock>,
        pool: &'static str,
    ) -> Self {
        Self {
            options,
            limits,
            keys,
            clock,
            idle: Mutex::default(),
            room: Semaphore::new(limits.claimers_max as usize),
            failed: Mutex::default(),
            known: KnownEvents::default(),
            metrics: Metrics::new(),
            meter: PoolMeter::new(pool),
        }
    }

    fn tell_connections(&self) {
        let max = self.limits.claimers_max as usize;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).len();
        let in_use = max.saturating_sub(self.room.available_permits());
        self.meter.tell(Connections { in_use, idle, max });
    }

    async fn claim(&self, batch: &[Claim]) -> Result<Vec<Answer>, ClaimError> {
        let _permit = self.room.acquire().await.expect("it is never closed");
        match self.take(batch).await {
            TakeOutcome::Told(answers) => Ok(answers),
            TakeOutcome::Nothing => self.decide_and_commit(batch).await,
            TakeOutcome::Failed(error) => Err(ClaimError::Unavailable(error)),
            TakeOutcome::Unknown(known) => match self.decide_and_commit(batch).await {
                Ok(answers) => Ok(told_as_won(answers, batch, known)),
                Err(ClaimError::Unavailable(error) | ClaimError::InDoubt(error)) => {
                    Err(ClaimError::InDoubt(error))
                }
            },
        }
    }

    async fn decide_and_commit(&self, batch: &[Claim]) -> Result<Vec<Answer>, ClaimError> {
        let mut tries_left = 1;
        loop {
            let (error, may_retry) = match self.attempt(batch).await {
                Ok(decided) => {
                    self.remember(&decided);
                    return Ok(self.answers(batch.len(), &decided));
                }
                Err(Failure::NotWritten(error, stale)) => (error, stale),
                Err(Failure::Unknown(decided, lost)) => match self.is_committed(&decided).await {
                    Ok(true) => return Ok(self.answers(batch.len(), &decided)),
                    Ok(false) => (lost, true),
                    Err(error) => return Err(ClaimError::InDoubt(error)),
                },
            };
            // Nothing of the batch is written.
            if !may_retry || tries_left == 0 {
                return Err(ClaimError::Unavailable(error));
            }
            tries_left -= 1;
        }
    }

    /// Keeps in mind how a batch has left its events.
    fn remember(&self, decided: &Decided) {
        for (event, group) in decided.groups.iter().filter(|_| C::TAKES) {
            let rule = group.decided.rule;
            let is_open = rule.state(decided.now) == EventState::Open;
            self.known.looked_at(event, rule.issued, is_open, decided.holders());
        }
    }

    /// One transaction. A connection on which anything failed is dropped, and its transaction
    /// rolled back with it.
    async fn attempt(&self, batch: &[Claim]) -> Result<Decided, Failure> {
        let mut connected =
            self.connection().await.map_err(|error| Failure::NotWritten(error, false))?;
        let connection = &mut connected.connection;
        let failed = |is_new: bool| {
            move |error: LedgerError| {
                let stale = is_stale(&error, is_new);
                Failure::NotWritten(error, stale)
            }
        };
        let failed = failed(connected.is_new);
        let decided = self.in_time(self.decide(connection, group(batch))).await.map_err(&failed)?;
        let moves = decided.moves();
        if moves.is_empty() {
            // Nothing is written: the verdicts hold whatever becomes of the connection.
            if self.in_time(async { Ok(connection.rollback().await?) }).await.is_ok() {
                self.give_back(connected);
            }
            return Ok(decided);
        }
        let begun = Instant::now();
        let written = timeout(self.limits.statement_timeout, connection.write(&moves)).await;
        drop(moves);
        match written.unwrap_or(Err(NotCommitted::Unknown(LedgerError::Late))) {
            Ok(()) => {
                self.metrics.commit.record(begun.elapsed());
                self.give_back(connected);
                Ok(decided)
            }
            Err(NotCommitted::Refused(error)) => Err(failed(error)),
            Err(NotCommitted::Unknown(error)) => {
                // Its locks must go before anyone can look.
                drop(connected);
                Err(Failure::Unknown(Box::new(decided), error))
            }
        }
    }

    /// Locks, looks and decides.
    async fn decide(&self, connection: &mut C, groups: Vec<Group>) -> Result<Decided, LedgerError> {
        let asked = groups
            .iter()
            .map(|group| Asked { event_id: group.event_id, users: group.users.iter().collect() });
        let (mut events, held, now) = self.look(connection, asked.collect()).await?;
        let mut decided = Decided { groups: Vec::new(), left: Vec::new(), held, now };
        for group in groups {
            let Some(index) = events.iter().position(|event| event.id == group.event_id) else {
                continue;
            };
            let event = events.swap_remove(index);
            if event.epoch > 0 {
                decided.left.push(group);
                continue;
            }
            let group = group.decide(&event, &decided.held, now);
            decided.groups.push((event, group));
        }
        Ok(decided)
    }

    /// The events, what users hold of them, and the moment that decides.
    async fn look(
        &self,
        connection: &mut C,
        mut asked: Vec<Asked<'_>>,
    ) -> Result<(Vec<LiveEvent>, Held, Timestamp), LedgerError> {
        asked.sort_unstable_by_key(|asked| asked.event_id.as_uuid());
        let mut seen = connection.look(&asked).await?;
        if seen.events.iter().any(|event| event.has_erased) {
            let pseudonyms = self.pseudonyms(&seen.events, &asked);
            seen.held.extend(connection.held(&pseudonyms).await?);
        }
        let held = self.held(&seen.events, seen.held)?;
        Ok((seen.events, held, self.clock.deciding(seen.now_micros)))
    }

    /// What these users would stand under, had they been erased since they won.
    fn pseudonyms(&self, events: &[LiveEvent], asked: &[Asked<'_>]) -> Vec<(EventNo, UserId)> {
        let mut pseudonyms = Vec::new();
        for event in events.iter().filter(|event| event.has_erased) {
            let users = asked.iter().filter(|asked| asked.event_id == event.id);
            let users = users.flat_map(|asked| &asked.users);
            pseudonyms.extend(users.map(|user| (event.no, self.keys.pseudonyms.of(user))));
        }
        pseudonyms
    }

    /// The records of what is held of these events.
    fn held(
        &self,
        events: &[LiveEvent],
        rows: Vec<issued_coupon::Model>,
    ) -> Result<Held, LedgerError> {
        let record = |row: issued_coupon::Model| {
            let no = records::event_no(row.event_no)?;
            let event = events.iter().find(|event| event.no == no);
            let event = event.expect("only what is held of these events is read");
            let record = records::issued_coupon(&row, event.id, event.coupon_id, &self.keys.codes)?;
            Ok((record.id, record))
        };
        rows.into_iter().map(record).collect()
    }

    /// Whether the winners of a transaction whose end is unknown are there.
    async fn is_committed(&self, decided: &Decided) -> Result<bool, LedgerError> {
        let mut connected = self.connect().await?;
        let asked = decided.groups.iter().map(|(event, group)| Asked {
            event_id: event.id,
            users: group.wins.iter().map(|win| &win.user_id).collect(),
        });
        // The locks wait for a commit that is still under way.
        let look = self.look(&mut connected.connection, asked.collect());
        let (_, held, _) = self.in_time(look).await?;
        let found = decided.wins().filter(|win| {
            held.get(&win.id).is_some_and(|record| {
                record.sequence == win.sequence && record.issued_at == win.issued_at
            })
        });
        match (found.count(), decided.wins().count()) {
            // Without a winner the batch is decided anew.
            (0, _) => Ok(false),
            (found, wins) if found == wins => Ok(true),
            _ => Err(LedgerError::Corrupt("half of a transaction is there".to_owned())),
        }
    }

    fn answers(&self, claims: usize, decided: &Decided) -> Vec<Answer> {
        let mut answers = vec![Ok(Decision::EventNotFound); claims];
        for group in &decided.left {
            group.leave(&mut answers);
        }
        for (event, group) in &decided.groups {
            group.answer(event, &decided.held, &self.keys.codes, &mut answers);
        }
        answers
    }

    /// What the work answers, or that it did not in time.
    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, LedgerError>>,
    ) -> Result<T, LedgerError> {
        timeout(self.limits.statement_timeout, work).await.unwrap_or(Err(LedgerError::Late))
    }

    /// A connection that waits, or a new one.
    async fn connection(&self) -> Result<Connected<C>, LedgerError> {
        let had = async { self.waiting_or_new().await.inspect(|_| acquired()) };
        self.meter.watch(had).await
    }

    async fn waiting_or_new(&self) -> Result<Connected<C>, LedgerError> {
        let waiting = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match waiting {
            Some(connected) if connected.since.elapsed() < self.limits.connection_lifetime => {
                Ok(Connected { is_new: false, ..connected })
            }
            _ => self.connect().await,
        }
    }

    /// A new connection. Soon after one that could not be made it fails at once, so that claims
    /// that wait in a row are all answered soon.
    async fn connect(&self) -> Result<Connected<C>, LedgerError> {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_some_and(|failed| failed.elapsed() < REST_AFTER_FAILURE) {
            return Err(LedgerError::Unreachable);
        }
        let connect = C::connect(&self.options, &self.limits);
        let outcome = timeout(self.limits.acquire_timeout, connect).await;
        let made = match outcome {
            Ok(made) => made.map_err(LedgerError::Driver),
            Err(_) => Err(LedgerError::Late),
        };
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        *failed = made.is_err().then(Instant::now);
        Ok(Connected { connection: made?, since: Instant::now(), is_new: true })
    }

    fn give_back(&self, connected: Connected<C>) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connected);
    }
}

impl Decided {
    /// Who is seen to hold a coupon by now.
    fn holders(&self) -> impl Iterator<Item = IssuedCouponId> {
        self.held.keys().copied().chain(self.wins().map(|win| win.id))
    }

    fn wins(&self) -> impl Iterator<Item = &Win> {
        self.groups.iter().flat_map(|(_, group)| &group.wins)
    }

    /// The events' rows that change.
    fn moves(&self) -> Vec<Move<'_>> {
        let changed = self.groups.iter().filter(|(event, group)| {
            !group.wins.is_empty() || event.rule.closed != group.decided.rule.closed
        });
        let moved = changed.map(|(event, group)| {
            let rule = group.decided.rule;
            Move { no: event.no, issued: rule.issued, closed: rule.closed, wins: &group.wins }
        });
        moved.collect()
    }
}

/// Whether the fault is the connection's or the moment's, so that another try may do better: a
/// connection that was broken while it waited, a server that was replaced, a deadlock.
fn is_stale(error: &LedgerError, is_new: bool) -> bool {
    let LedgerError::Driver(error) = error else { return false };
    match error {
        Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            // Serialization and deadlock (40xxx; both protocols), and a server that goes.
            code.starts_with("40")
                || (!is_new
                    && matches!(code.as_ref(), "57P01" | "25006" | "HY000" | "08S01" | "70100"))
        }
        Error::Io(_) | Error::Protocol(_) | Error::Tls(_) => !is_new,
        _ => false,
    }
}
