//! The claim transaction's statements for PostgreSQL.
//!
//! They are prepared when the connection is made and executed by name, several in one message. On
//! a busy machine every round trip costs as much as the statements of a small batch: what a batch
//! needs to know is one, what it writes, with the commit, a second. A batch on an event that is
//! open as it was known takes but one: the statement decides by the rule, which the process checks
//! afterwards.

mod apply;
mod literal;

use firstcome_core::{EventId, EventNo, Timestamp, UserId};
use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, Connection, Either, Error, Executor, PgConnection, Row};

use super::super::batch::{LiveEvent, Win};
use super::record::NewWins;
use super::take::{Asking, Taken};
use super::{Asked, ClaimConnection, Move, NotCommitted, Seen};
use crate::coupons::signed;
use crate::entity::issued_coupon;
use crate::records::{EventColumns, signed_no};
use crate::server::{POSTGRES_NOW, Session, postgres_session, refuse_postgres_replica};
use crate::{LedgerError, Limits};
use literal::array;

/// What a claim must know of an event, in the order of [`live_event`].
const COLUMNS: &str = "
    e.no, e.id, e.coupon_id, e.quantity, e.issued, e.opens_at, e.closes_at, e.opened_early,
    e.paused, e.closed, c.valid_from, c.valid_until, c.valid_days, e.version, e.erased, e.epoch";

/// The coupon of an event. To ask for a range, here and where events are joined with a list, leaves
/// but one plan, a search of each event in an index: of a table that had one row when it was last
/// looked at, all rows were as good, and the plan is kept when there are 10,000.
const COUPON: &str = "c.id BETWEEN e.coupon_id AND e.coupon_id";

/// The lock that an update of other columns than keys needs: rows that refer to the event may be
/// written meanwhile. They are locked in the order of their ids.
const LOCK: &str = "
    PREPARE claim_lock (uuid[]) AS
    SELECT live.*
    FROM (SELECT id FROM unnest($1) AS id ORDER BY id) AS asked CROSS JOIN LATERAL (
        SELECT {columns}
        FROM events AS e JOIN coupons AS c ON {coupon}
        WHERE e.id = asked.id FOR NO KEY UPDATE OF e) AS live";

/// The order by user makes it a search in the index of `(event_no, user_id)`: no statistics of a
/// table that was empty a moment ago make the event's other index look as good.
const HELD: &str = "
    PREPARE claim_held (uuid, text[]) AS
    SELECT c.event_no, c.sequence, c.id, c.user_id, c.issued_at, c.valid_from, c.expires_at,
           c.used_at, c.revoked_at
    FROM unnest($2) AS asked (user_id) CROSS JOIN LATERAL (
        SELECT * FROM issued_coupons
        WHERE event_no = (SELECT no FROM events WHERE id = $1)
              AND user_id BETWEEN asked.user_id AND asked.user_id
        ORDER BY user_id LIMIT 1) AS c";

/// The same of several events: each user's is found first.
const HELD_OF_EVENTS: &str = "
    PREPARE claim_held_of_events (uuid[], text[]) AS
    SELECT c.event_no, c.sequence, c.id, c.user_id, c.issued_at, c.valid_from, c.expires_at,
           c.used_at, c.revoked_at
    FROM unnest($1, $2) AS asked (event_id, user_id) CROSS JOIN LATERAL (
        SELECT * FROM issued_coupons
        WHERE event_no = (SELECT no FROM events WHERE id = asked.event_id)
              AND user_id BETWEEN asked.user_id AND asked.user_id
        ORDER BY user_id LIMIT 1) AS c";

/// The same of one user; few events have erased winners.
const HELD_OF_EVENT: &str = "
    SELECT event_no, sequence, id, user_id, issued_at, valid_from, expires_at, used_at, revoked_at
    FROM issued_coupons WHERE event_no = $1 AND user_id = $2";

/// The winners of one event follow each other, and were all issued at one moment; they are yet to
/// be listed by their holders.
const WRITE: &str = "
    PREPARE claim_write (bigint, bigint, boolean, bigint, bigint, bigint, uuid[], text[]) AS
    WITH won AS (
        INSERT INTO issued_coupons
               (event_no, sequence, id, user_id, issued_at, valid_from, expires_at)
        SELECT $1, $2 - cardinality($7) + it.place, it.id, it.user_id, $4, $5, $6
        FROM unnest($7, $8) WITH ORDINALITY AS it (id, user_id, place))
    UPDATE events
    SET issued = $2, closed = $3, unlisted_after = COALESCE(unlisted_after, $2 - cardinality($7))
    WHERE no = $1";

/// The winners of several events.
const WRITE_OF_EVENTS: &str = "
    PREPARE claim_write_of_events
        (bigint[], bigint[], boolean[], bigint[],
         bigint[], bigint[], uuid[], text[], bigint[], bigint[], bigint[]) AS
    WITH won AS (
        INSERT INTO issued_coupons
               (event_no, sequence, id, user_id, issued_at, valid_from, expires_at)
        SELECT * FROM unnest($5, $6, $7, $8, $9, $10, $11))
    UPDATE events
    SET issued = moved.issued, closed = moved.closed,
        unlisted_after = COALESCE(unlisted_after, moved.sequence_before)
    FROM unnest($1, $2, $3, $4) AS moved (no, issued, closed, sequence_before)
    WHERE events.no BETWEEN moved.no AND moved.no";

/// The winners of one event, in any order.
const RECORD: &str = "
    PREPARE claim_record
        (bigint, bigint, bigint, bigint[], uuid[], text[], bigint[], bigint[], bigint[]) AS
    WITH won AS (
        INSERT INTO issued_coupons
               (event_no, sequence, id, user_id, issued_at, valid_from, expires_at)
        SELECT $1, it.* FROM unnest($4, $5, $6, $7, $8, $9) AS it)
    UPDATE events
    SET issued = $2, unlisted_after = LEAST(unlisted_after, $3)
    WHERE no = $1";

/// The same for winners who hold nothing, where the event goes by this epoch, takes as many, and
/// has no winner under a pseudonym; no row where it does not. Where one of them does hold
/// something, the insert fails.
const RECORD_NEW: &str = "
    PREPARE claim_record_new
        (uuid, bigint, bigint, bigint[], uuid[], text[], bigint[]) AS
    WITH event AS MATERIALIZED (
        SELECT {columns}
        FROM events AS e JOIN coupons AS c ON {coupon}
        WHERE e.id = $1 AND e.epoch = $2 AND NOT (e.paused OR e.closed) AND e.erased = 0
              AND cardinality($4) <= e.quantity - e.issued
        FOR NO KEY UPDATE OF e),
    won AS (
        INSERT INTO issued_coupons
               (event_no, sequence, id, user_id, issued_at, valid_from, expires_at)
        SELECT event.no, new.*, {validity}
        FROM event CROSS JOIN unnest($4, $5, $6, $7) AS new (sequence, id, user_id, issued_at)),
    moved AS (
        UPDATE events
        SET issued = events.issued + cardinality($4),
            unlisted_after = LEAST(events.unlisted_after, $3)
        FROM event WHERE events.no BETWEEN event.no AND event.no)
    SELECT event.* FROM event";

/// The same of several events; for one it takes longer. They are locked in the order in which they
/// are given. Each takes its wins from the lists, from `first` to `last`: to join the lists with
/// the events would compare each with each, or go by whatever plan suits the statistics.
const RECORD_NEW_OF_EVENTS: &str = "
    PREPARE claim_record_new_of_events
        (uuid[], bigint[], bigint[], integer[], integer[],
         bigint[], uuid[], text[], bigint[]) AS
    WITH event AS MATERIALIZED (
        SELECT live.*, asked.sequence_before, asked.first, asked.last
        FROM unnest($1, $2, $3, $4, $5)
                 AS asked (id, epoch, sequence_before, first, last)
             CROSS JOIN LATERAL (
                 SELECT {columns}
                 FROM events AS e JOIN coupons AS c ON {coupon}
                 WHERE e.id = asked.id AND e.epoch = asked.epoch
                       AND NOT (e.paused OR e.closed) AND e.erased = 0
                       AND asked.last - asked.first < e.quantity - e.issued
                 FOR NO KEY UPDATE OF e) AS live),
    won AS (
        INSERT INTO issued_coupons
               (event_no, sequence, id, user_id, issued_at, valid_from, expires_at)
        SELECT event.no, new.sequence, new.id, new.user_id, new.issued_at, {validity}
        FROM event CROSS JOIN LATERAL (
            SELECT $6[nth] AS sequence, $7[nth] AS id, $8[nth] AS user_id, $9[nth] AS issued_at
            FROM generate_series(event.first, event.last) AS nth) AS new),
    moved AS (
        UPDATE events
        SET issued = events.issued + 1 + event.last - event.first,
            unlisted_after = LEAST(events.unlisted_after, event.sequence_before)
        FROM event WHERE events.no BETWEEN event.no AND event.no)
    SELECT event.* FROM event";

/// From when and until when a new coupon of `event` is valid.
const VALIDITY: &str = "
    COALESCE(event.valid_from, new.issued_at),
    COALESCE(event.valid_until, new.issued_at + event.valid_days * 86400000000)";

/// An event that is open and as it was known, with its lock, and the moment after that was had. One
/// with winners under pseudonyms takes more looking.
const OPEN_EVENT: &str = "
    SELECT event.* FROM (
        SELECT locked.*, COALESCE($4, {now}) AS now
        FROM (SELECT {columns}
              FROM events AS e JOIN coupons AS c ON {coupon}
              WHERE e.id = $1 AND e.version = $2 AND e.issued = $3 AND NOT e.paused
                    AND NOT e.closed AND e.erased = 0 AND e.epoch = 0
              FOR NO KEY UPDATE OF e) AS locked) AS event
    WHERE (event.opened_early OR event.opens_at <= event.now) AND event.now < event.closes_at";

/// Issues the next coupons of `event` to those that follow, as `new (id, user_id, nth)`.
const ISSUE_TO: &str = "
    INSERT INTO issued_coupons
           (event_no, sequence, id, user_id, issued_at, valid_from, expires_at)
    SELECT event.no, event.issued + new.nth, new.id, new.user_id, event.now,
           COALESCE(event.valid_from, event.now),
           COALESCE(event.valid_until, event.now + event.valid_days * 86400000000)
    FROM event CROSS JOIN";

/// The rule for users who hold nothing, with a coupon left for each: the next ones are theirs, in
/// their order. Where one of them does hold one, the insert fails. No row where the event is not
/// open as it was known, or has too few.
const TAKE_NEW: &str = "
    PREPARE claim_take_new (uuid, bigint, bigint, bigint, uuid[], text[]) AS
    WITH event AS MATERIALIZED (
        {open_event} AND cardinality($5) <= event.quantity - event.issued),
    won AS (
        {issue_to} unnest($5, $6) WITH ORDINALITY AS new (id, user_id, nth)),
    moved AS (
        UPDATE events
        SET issued = event.issued + cardinality($5),
            unlisted_after = COALESCE(events.unlisted_after, event.issued)
        FROM event WHERE events.no BETWEEN event.no AND event.no)
    SELECT event.*, cardinality($5)::bigint FROM event";

/// The rule for any users: who holds nothing gets the next coupon. Users are looked up as they
/// were at the beginning, before the lock: where another process has issued to one of them in
/// between, the insert fails.
const TAKE: &str = "
    PREPARE claim_take (uuid, bigint, bigint, bigint, uuid[], text[]) AS
    WITH event AS MATERIALIZED ({open_event}),
    asked AS MATERIALIZED (
        SELECT it.place, it.id, it.user_id, held.event_no, held.sequence, held.issued_at,
               held.valid_from, held.expires_at, held.used_at, held.revoked_at
        FROM event CROSS JOIN unnest($5, $6) WITH ORDINALITY AS it (id, user_id, place)
             LEFT JOIN LATERAL (
                 SELECT * FROM issued_coupons
                 WHERE event_no = event.no AND user_id BETWEEN it.user_id AND it.user_id
                 ORDER BY user_id LIMIT 1) AS held ON TRUE),
    won AS (
        {issue_to} (
                 SELECT id, user_id, row_number() OVER (ORDER BY place) AS nth
                 FROM asked WHERE sequence IS NULL) AS new
        WHERE new.nth <= event.quantity - event.issued),
    counted AS MATERIALIZED (
        SELECT LEAST(event.quantity - event.issued,
                     (SELECT count(*) FROM asked WHERE sequence IS NULL)) AS wins
        FROM event),
    moved AS (
        UPDATE events
        SET issued = event.issued + counted.wins,
            unlisted_after = COALESCE(events.unlisted_after, event.issued)
        FROM event CROSS JOIN counted
        WHERE events.no BETWEEN event.no AND event.no AND counted.wins > 0)
    SELECT event.*, counted.wins, asked.event_no, asked.sequence, asked.id, asked.user_id,
           asked.issued_at, asked.valid_from, asked.expires_at, asked.used_at, asked.revoked_at
    FROM event CROSS JOIN counted LEFT JOIN asked ON asked.sequence IS NOT NULL";
/// Where the columns of what was held begin.
const HELD_AT: usize = 18;

const NEVER: [Timestamp; 3] = [Timestamp::from_micros(0); 3];

/// A connection that decides claims.
pub(crate) struct PostgresClaims(PgConnection);

impl PostgresClaims {
    pub(super) fn options(options: &PgConnectOptions, limits: &Limits) -> PgConnectOptions {
        postgres_session(options, Session::Claim, limits)
    }

    /// Executes so many statements and, behind them, the commit.
    async fn write_script(&mut self, script: String, writes: usize) -> Result<(), NotCommitted> {
        let mut answers = self.0.fetch_many(sqlx::raw_sql(AssertSqlSafe(script)));
        let mut statement = 0;
        loop {
            match answers.try_next().await {
                Ok(Some(_)) => statement += 1,
                Ok(None) => return Ok(()),
                // PostgreSQL does nothing of a message behind a statement that failed.
                Err(error @ Error::Database(_)) if statement < writes => {
                    return Err(NotCommitted::Refused(error.into()));
                }
                Err(error) => return Err(NotCommitted::Unknown(error.into())),
            }
        }
    }

    /// Begins, executes a statement that decides by itself, and commits; tells of each row.
    async fn decide_script(
        &mut self,
        decide: &str,
        mut tell: impl FnMut(&PgRow) -> Result<(), LedgerError> + Send,
    ) -> Result<(), NotCommitted> {
        let script = format!("BEGIN; {decide}; COMMIT");
        let commit = 2;
        let mut answers = self.0.fetch_many(sqlx::raw_sql(AssertSqlSafe(script)));
        let mut statement = 0;
        loop {
            match answers.try_next().await {
                Ok(Some(Either::Left(_))) => statement += 1,
                Ok(Some(Either::Right(row))) => tell(&row).map_err(NotCommitted::Unknown)?,
                Ok(None) => return Ok(()),
                Err(error @ Error::Database(_)) if statement < commit => {
                    return Err(NotCommitted::Refused(error.into()));
                }
                Err(error) => return Err(NotCommitted::Unknown(error.into())),
            }
        }
    }
}

impl ClaimConnection for PostgresClaims {
    type Options = PgConnectOptions;

    const TAKES: bool = true;

    async fn connect(options: &PgConnectOptions, _: &Limits) -> Result<Self, Error> {
        let mut db = PgConnection::connect_with(options).await?;
        refuse_postgres_replica(&mut db).await?;
        let statements = [
            LOCK,
            HELD,
            HELD_OF_EVENTS,
            WRITE,
            WRITE_OF_EVENTS,
            RECORD,
            RECORD_NEW,
            RECORD_NEW_OF_EVENTS,
            TAKE_NEW,
            TAKE,
        ];
        for prepare in statements {
            let prepare = prepare
                .replace("{open_event}", OPEN_EVENT)
                .replace("{columns}", COLUMNS)
                .replace("{coupon}", COUPON)
                .replace("{validity}", VALIDITY)
                .replace("{issue_to}", ISSUE_TO)
                .replace("{now}", POSTGRES_NOW);
            db.execute(sqlx::raw_sql(AssertSqlSafe(prepare))).await?;
        }
        Ok(Self(db))
    }

    async fn look(&mut self, asked: &[Asked<'_>]) -> Result<Seen, LedgerError> {
        let ids = asked.iter().map(|asked| asked.event_id);
        let mut script = format!("BEGIN; EXECUTE claim_lock({})", array(ids.map(EventId::as_uuid)));
        script += &match asked {
            [Asked { event_id, users }] => {
                let users = array(users.iter().map(|user| user.as_str()));
                format!("; EXECUTE claim_held('{}', {users})", event_id.as_uuid())
            }
            asked => {
                let users = || asked.iter().flat_map(|of| of.users.iter().map(move |it| (of, it)));
                let events = array(users().map(|(of, _)| of.event_id.as_uuid()));
                let users = array(users().map(|(_, user)| user.as_str()));
                format!("; EXECUTE claim_held_of_events({events}, {users})")
            }
        };
        script += &format!("; SELECT {POSTGRES_NOW}");
        let (lock, clock) = (1, 3);
        let mut seen = Seen::default();
        let mut statement = 0;
        let mut answers = self.0.fetch_many(sqlx::raw_sql(AssertSqlSafe(script)));
        while let Some(answer) = answers.try_next().await? {
            match answer {
                Either::Left(_) => statement += 1,
                Either::Right(row) if statement == lock => seen.events.push(live_event(&row)?),
                Either::Right(row) if statement == clock => seen.now_micros = row.try_get(0)?,
                Either::Right(row) => seen.held.push(issued_row(&row, 0)?),
            }
        }
        Ok(seen)
    }

    async fn held(
        &mut self,
        holders: &[(EventNo, UserId)],
    ) -> Result<Vec<issued_coupon::Model>, LedgerError> {
        let mut held = Vec::new();
        for (event, user) in holders {
            let select = sqlx::query(HELD_OF_EVENT).bind(signed_no(*event)).bind(user.as_str());
            if let Some(row) = select.fetch_optional(&mut self.0).await? {
                held.push(issued_row(&row, 0)?);
            }
        }
        Ok(held)
    }

    async fn write(&mut self, moves: &[Move<'_>]) -> Result<(), NotCommitted> {
        let write = match moves {
            [moved] => write_of_one(moved),
            moves => write_of_events(moves),
        };
        self.write_script(format!("{write}; COMMIT"), 1).await
    }

    async fn take(&mut self, asking: &Asking<'_>) -> Result<Option<Taken>, NotCommitted> {
        let Asking { event_id, known, now, takers, all_new } = asking;
        let take = if *all_new { "claim_take_new" } else { "claim_take" };
        let now = now.map_or_else(|| "NULL".to_owned(), |now| now.as_micros().to_string());
        let ids = array(takers.iter().map(|(id, _)| id.as_uuid()));
        let users = array(takers.iter().map(|(_, user)| user.as_str()));
        let take = format!(
            "EXECUTE {take}('{}', {}, {}, {now}, {ids}, {users})",
            event_id.as_uuid(),
            known.version,
            known.issued
        );
        let mut taken: Option<Taken> = None;
        self.decide_script(&take, |row| add_taken(&mut taken, row)).await?;
        Ok(taken)
    }

    async fn record(&mut self, moves: &[Move<'_>]) -> Result<(), NotCommitted> {
        let mut script = String::new();
        for moved in moves {
            let Move { no, issued, .. } = moved;
            script += &format!(
                "EXECUTE claim_record({}, {issued}, {}, {}); ",
                signed_no(*no),
                moved.sequence_before(),
                columns_of_moves(std::slice::from_ref(moved)),
            );
        }
        script += "COMMIT";
        self.write_script(script, moves.len()).await
    }

    async fn record_new(&mut self, new: &[NewWins<'_>]) -> Result<Vec<LiveEvent>, NotCommitted> {
        let mut events = Vec::with_capacity(new.len());
        let tell = |row: &PgRow| {
            events.push(live_event(row)?);
            Ok(())
        };
        let record = match new {
            [new] => record_of_one(new),
            new => record_of_events(new),
        };
        self.decide_script(&record, tell).await?;
        Ok(events)
    }

    async fn rollback(&mut self) -> Result<(), Error> {
        self.0.execute("ROLLBACK").await.map(|_| ())
    }
}

fn write_of_one(Move { no, issued, closed, wins }: &Move<'_>) -> String {
    // Without a winner the times are of nobody.
    let times = wins.first().map(|win| [win.issued_at, win.valid_from, win.expires_at]);
    let [issued_at, valid_from, expires_at] = times.unwrap_or(NEVER).map(Timestamp::as_micros);
    format!(
        "EXECUTE claim_write({}, {issued}, {closed}, {issued_at}, {valid_from}, {expires_at}, \
         {}, {})",
        signed_no(*no),
        array(wins.iter().map(|win| win.id.as_uuid())),
        array(wins.iter().map(|win| win.user_id.as_str())),
    )
}

fn write_of_events(moves: &[Move<'_>]) -> String {
    let events_of_wins = moves.iter().flat_map(|it| vec![signed_no(it.no); it.wins.len()]);
    format!(
        "EXECUTE claim_write_of_events({}, {}, {}, {}, {}, {})",
        array(moves.iter().map(|it| signed_no(it.no))),
        array(moves.iter().map(|it| i64::from(it.issued))),
        array(moves.iter().map(|it| it.closed)),
        array(moves.iter().map(|it| i64::from(it.sequence_before()))),
        array(events_of_wins),
        columns_of_moves(moves),
    )
}

/// The sequences, ids, users and times of wins.
fn columns_of_moves(moves: &[Move<'_>]) -> String {
    let wins = || moves.iter().flat_map(|it| it.wins);
    let times = |of: fn(&Win) -> Timestamp| array(wins().map(|win| of(win).as_micros()));
    format!(
        "{}, {}, {}, {}, {}, {}",
        array(wins().map(|win| i64::from(win.sequence.get()))),
        array(wins().map(|win| win.id.as_uuid())),
        array(wins().map(|win| win.user_id.as_str())),
        times(|win| win.issued_at),
        times(|win| win.valid_from),
        times(|win| win.expires_at),
    )
}

fn record_of_one(new: &NewWins<'_>) -> String {
    format!(
        "EXECUTE claim_record_new('{}', {}, {}, {})",
        new.of.event.as_uuid(),
        new.of.epoch,
        new.sequence_before(),
        columns_of(&[new]),
    )
}

/// The events in the order of their ids, in which everybody locks them.
fn record_of_events(new: &[NewWins<'_>]) -> String {
    let mut new: Vec<&NewWins<'_>> = new.iter().collect();
    new.sort_unstable_by_key(|new| new.of.event);
    let wins = || new.iter().map(|new| signed(new.ids.len() as u64));
    let sum = |last: &mut i64, wins| {
        *last += wins;
        Some(*last)
    };
    let lasts: Vec<i64> = wins().scan(0, sum).collect();
    format!(
        "EXECUTE claim_record_new_of_events({}, {}, {}, {}, {}, {})",
        array(new.iter().map(|new| new.of.event.as_uuid())),
        array(new.iter().map(|new| signed(new.of.epoch))),
        array(new.iter().map(|new| i64::from(new.sequence_before()))),
        array(wins().zip(&lasts).map(|(wins, last)| last - wins + 1)),
        array(lasts.iter().copied()),
        columns_of(&new),
    )
}

/// The sequences, ids, users and moments of wins.
fn columns_of(new: &[&NewWins<'_>]) -> String {
    let wins = || new.iter().flat_map(|new| new.of.wins);
    format!(
        "{}, {}, {}, {}",
        array(wins().map(|won| i64::from(won.sequence.get()))),
        array(new.iter().flat_map(|new| &new.ids).map(|id| id.as_uuid())),
        array(wins().map(|won| won.user_id.as_str())),
        array(wins().map(|won| won.issued_at.as_micros())),
    )
}

fn live_event(row: &PgRow) -> Result<LiveEvent, LedgerError> {
    EventColumns {
        no: row.try_get(0)?,
        id: row.try_get(1)?,
        coupon_id: row.try_get(2)?,
        quantity: row.try_get(3)?,
        issued: row.try_get(4)?,
        opens_at: row.try_get(5)?,
        closes_at: row.try_get(6)?,
        opened_early: row.try_get(7)?,
        paused: row.try_get(8)?,
        closed: row.try_get(9)?,
        valid_from: row.try_get(10)?,
        valid_until: row.try_get(11)?,
        valid_days: row.try_get::<Option<i32>, _>(12)?.map(i64::from),
        version: row.try_get(13)?,
        erased: row.try_get(14)?,
        epoch: row.try_get(15)?,
    }
    .try_into()
}

/// Takes in a row: the event in each, and of [`TAKE`] what one of the users held, if anyone did.
fn add_taken(taken: &mut Option<Taken>, row: &PgRow) -> Result<(), LedgerError> {
    if taken.is_none() {
        let (event, now_micros) = (live_event(row)?, row.try_get(16)?);
        *taken = Some(Taken { event, now_micros, wins: row.try_get(17)?, held: Vec::new() });
    }
    if let Some(taken) = taken
        && row.len() > HELD_AT
        && row.try_get::<Option<i64>, _>(HELD_AT)?.is_some()
    {
        taken.held.push(issued_row(row, HELD_AT)?);
    }
    Ok(())
}

/// The issued coupon whose columns begin at this one.
fn issued_row(row: &PgRow, at: usize) -> Result<issued_coupon::Model, Error> {
    Ok(issued_coupon::Model {
        event_no: row.try_get(at)?,
        sequence: row.try_get(at + 1)?,
        id: row.try_get(at + 2)?,
        user_id: row.try_get(at + 3)?,
        issued_at: row.try_get(at + 4)?,
        valid_from: row.try_get(at + 5)?,
        expires_at: row.try_get(at + 6)?,
        used_at: row.try_get(at + 7)?,
        revoked_at: row.try_get(at + 8)?,
        revoke_reason: None,
    })
}
