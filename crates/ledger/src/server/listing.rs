//! Listing winners in `holders`, a while after their claims: in the background, one process at a
//! time, and only while claims leave time for it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use firstcome_tasks::anew;
use sea_orm::sea_query::{LockBehavior, LockType};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, EntityTrait, QuerySelect, Statement,
};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::entity::secret;
use crate::in_time::InTime;
use crate::metrics::Metrics;
use crate::{LedgerError, secrets};

/// How often the task looks whether there is something to list.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Claims between two looks from which this process has no time to spare.
const BUSY_CLAIMS: u64 = 5_000;
/// Winners that are listed in one transaction.
const STEP: i64 = 4_096;
/// Most transactions between two looks while there are claims.
const STEPS_BESIDE_CLAIMS: u32 = 4;
/// Events that are remembered as not all listed.
const EVENTS_MAX: u32 = 100_000;

/// Lists until the task is ended.
pub(super) async fn keep_listing(db: InTime<DatabaseConnection>, claims: Arc<AtomicU64>) {
    match anew(|| list_on(db.clone(), &claims)).await {}
}

async fn list_on(db: InTime<DatabaseConnection>, claims: &AtomicU64) -> Infallible {
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut lister = Lister { db, metrics: Metrics::new(), left: Vec::new() };
    let mut claims_seen = 0;
    let mut failing = false;
    loop {
        look.tick().await;
        let outcome = lister.look_after(claims, &mut claims_seen).await;
        if let Err(error) = &outcome
            && !failing
        {
            tracing::warn!(error.message = %error, "listing the holders of won coupons fails");
        }
        failing = outcome.is_err();
    }
}

/// What lists.
struct Lister {
    db: InTime<DatabaseConnection>,
    metrics: Metrics,
    /// Events with winners who were not listed, the next in turn at the end.
    left: Vec<i64>,
}

/// Winners of an event that are not listed: those behind this sequence, of so many in all.
struct Unlisted {
    after: i64,
    issued: i64,
}

impl Lister {
    /// Lists until nothing is left, or until claims want the time.
    async fn look_after(
        &mut self,
        claims: &AtomicU64,
        claims_seen: &mut u64,
    ) -> Result<(), LedgerError> {
        let mut steps = 0;
        let mut beside_claims = false;
        loop {
            let now = claims.load(Ordering::Relaxed);
            let since = now - *claims_seen;
            *claims_seen = now;
            beside_claims |= since > 0;
            if since >= BUSY_CLAIMS || (beside_claims && steps >= STEPS_BESIDE_CLAIMS) {
                return Ok(());
            }
            if !self.step().await? {
                return Ok(());
            }
            steps += 1;
        }
    }

    /// Lists some winners of one event; whether there may be more to do.
    async fn step(&mut self) -> Result<bool, LedgerError> {
        // Most looks find nothing, and need no transaction to see it.
        if self.left.is_empty() {
            self.left = unlisted_events(&self.db).await?;
        }
        let Some(event_no) = self.left.pop() else { return Ok(false) };
        let begun = Instant::now();
        let transaction = self.db.begin().await?;
        // Whoever lists holds this row, which never changes.
        let turn = secret::Entity::find_by_id(secrets::CODE)
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        if turn.one(&transaction).await?.is_none() {
            return Ok(false);
        }
        // The count must be older than the look for rows.
        let Some(Unlisted { after, issued }) = unlisted(&transaction, event_no).await? else {
            // Another process has listed them.
            return Ok(true);
        };
        let Chunk { upto, is_last } = chunk(&transaction, event_no, after).await?;
        let backend = transaction.get_database_backend();
        transaction.execute_unprepared(&list(backend, event_no, after, upto)).await?;
        // Where none was won since the count was read, these are all.
        let on = move_on(event_no, after, upto, issued, is_last);
        if transaction.execute_unprepared(&on).await?.rows_affected() != 1 {
            // Winners with lower sequences were recorded meanwhile: the event's next turn begins
            // with them.
            return Ok(true);
        }
        transaction.commit().await?;
        self.metrics.settle.record(begun.elapsed());
        Ok(true)
    }
}

/// The events with winners who are not listed, by their numbers, the last first.
async fn unlisted_events(db: &impl ConnectionTrait) -> Result<Vec<i64>, LedgerError> {
    let sql = format!(
        "SELECT no FROM events WHERE unlisted_after IS NOT NULL ORDER BY no DESC LIMIT {EVENTS_MAX}"
    );
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await?;
    Ok(rows.iter().map(|row| row.try_get("", "no")).collect::<Result<_, _>>()?)
}

/// What of an event is not listed, if anything is.
async fn unlisted(
    db: &impl ConnectionTrait,
    event_no: i64,
) -> Result<Option<Unlisted>, LedgerError> {
    let sql = format!("SELECT unlisted_after, issued FROM events WHERE no = {event_no}");
    let select = Statement::from_string(db.get_database_backend(), sql);
    let Some(row) = db.query_one_raw(select).await? else { return Ok(None) };
    let after: Option<i64> = row.try_get("", "unlisted_after")?;
    let issued = row.try_get("", "issued")?;
    Ok(after.map(|after| Unlisted { after, issued }))
}

/// The next winners of an event, as far as one transaction lists them.
struct Chunk {
    /// The sequence of the last of them.
    upto: i64,
    /// Whether there was none behind it.
    is_last: bool,
}

/// The chunk behind this sequence. Winners below it that are recorded later move the list back.
async fn chunk(db: &impl ConnectionTrait, event_no: i64, after: i64) -> Result<Chunk, LedgerError> {
    let sql = format!(
        "SELECT max(sequence) AS upto, count(*) AS counted FROM (\
             SELECT sequence FROM issued_coupons \
             WHERE event_no = {event_no} AND sequence > {after} ORDER BY sequence LIMIT {STEP}\
         ) AS chunk"
    );
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), sql)).await?;
    let row = row.ok_or_else(|| LedgerError::Corrupt("a count without a row".to_owned()))?;
    let upto: Option<i64> = row.try_get("", "upto")?;
    Ok(Chunk { upto: upto.unwrap_or(after), is_last: row.try_get::<i64>("", "counted")? < STEP })
}

/// Where the list was moved back, some are listed already.
fn list(backend: DbBackend, event_no: i64, after: i64, upto: i64) -> String {
    let or_leave = match backend {
        DbBackend::Postgres => "ON CONFLICT (user_id, event_no) DO NOTHING",
        _ => "ON DUPLICATE KEY UPDATE sequence = holders.sequence",
    };
    format!(
        "INSERT INTO holders (user_id, event_no, sequence, id) \
         SELECT user_id, event_no, sequence, id FROM issued_coupons \
         WHERE event_no = {event_no} AND sequence > {after} AND sequence <= {upto} \
         ORDER BY user_id {or_leave}"
    )
}

/// With `counted` winners the list is complete, if it is the last chunk. The ledger gives sequences
/// in their order; of another decider's, one within the chunk may have been recorded since it was
/// read. The sum keeps PostgreSQL off the index of those values, where 10,000 events may share one.
fn move_on(event_no: i64, after: i64, upto: i64, counted: i64, is_last: bool) -> String {
    let to = match is_last {
        true => format!("CASE WHEN issued = {counted} THEN NULL ELSE {upto} END"),
        false => upto.to_string(),
    };
    format!(
        "UPDATE events SET unlisted_after = {to} \
         WHERE no = {event_no} AND unlisted_after + 0 = {after} \
           AND (epoch = 0 OR issued = {counted})"
    )
}
