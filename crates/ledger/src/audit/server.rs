//! Counting on a database server: one transaction that sees one moment.

use firstcome_core::{Commit, EventId, EventNo};
use futures_util::TryStreamExt as _;
use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseTransaction, EntityTrait, IsolationLevel, Statement,
    StreamTrait, TransactionTrait,
};
use uuid::Uuid;

use super::{Counts, Winner};
use crate::entity::event;
use crate::records::{signed_no, sound};
use crate::server::Server;
use crate::{LedgerError, records};

/// Counts an event; none when there is no such event.
pub(super) async fn count(server: &Server, id: EventId) -> Result<Option<Counts>, LedgerError> {
    let db = server.long_reader();
    let snapshot = db
        .begin_with_config(Some(IsolationLevel::RepeatableRead), Some(AccessMode::ReadOnly))
        .await?;
    let counted = count_within(&snapshot, id).await;
    drop(snapshot);
    db.close().await.ok();
    counted
}

async fn count_within(
    db: &DatabaseTransaction,
    id: EventId,
) -> Result<Option<Counts>, LedgerError> {
    use sea_orm::{ColumnTrait, QueryFilter};
    let found = event::Entity::find().filter(event::Column::Id.eq(id.as_uuid()));
    let Some(row) = found.one(db).await? else { return Ok(None) };
    let event = records::event_no(row.no)?;
    let mut counts = Counts {
        quantity: sound(u64::try_from(row.quantity), "events.quantity")?,
        issued: sound(u64::try_from(row.issued), "events.issued")?,
        erased: sound(u64::try_from(row.erased), "events.erased")?,
        epoch: sound(u64::try_from(row.epoch), "events.epoch")?,
        told_before: row.commit_to != Commit::Ledger.as_str(),
        distinct_users: number(db, &distinct_users(event)).await?,
        uses_wrong: number(db, &uses_wrong(event)).await?,
        found_by_holder: Some(number(db, &found_by_holder(event)).await?),
        ..Counts::default()
    };
    let rows = format!(
        "SELECT sequence, id, user_id FROM issued_coupons WHERE event_no = {} ORDER BY sequence",
        signed_no(event)
    );
    let mut rows = db.stream_raw(statement(db, rows)).await?;
    while let Some(row) = rows.try_next().await? {
        let (sequence, id_found): (i64, Uuid) =
            (row.try_get("", "sequence")?, row.try_get("", "id")?);
        counts.add(&Winner { sequence, id: id_found, user_id: row.try_get("", "user_id")? }, id);
    }
    Ok(Some(counts))
}

fn distinct_users(event: EventNo) -> String {
    let event = signed_no(event);
    format!(
        "SELECT count(DISTINCT user_id) AS counted FROM issued_coupons WHERE event_no = {event}"
    )
}

/// Winners that `holders` lists as they are, and those that it need not list yet. Of events that
/// the ledger does not decide it may list some of these already.
fn found_by_holder(event: EventNo) -> String {
    let event = signed_no(event);
    format!(
        "SELECT (SELECT count(*) FROM issued_coupons AS c JOIN holders AS h \
                 ON h.user_id = c.user_id AND h.event_no = c.event_no \
                    AND h.sequence = c.sequence AND h.id = c.id \
                 JOIN events AS e ON e.no = c.event_no \
                 WHERE c.event_no = {event} \
                   AND (e.epoch = 0 \
                        OR c.sequence <= COALESCE(e.unlisted_after, c.sequence))) \
              + (SELECT count(*) FROM issued_coupons AS c JOIN events AS e ON e.no = c.event_no \
                 WHERE c.event_no = {event} AND c.sequence > e.unlisted_after) AS counted"
    )
}

fn uses_wrong(event: EventNo) -> String {
    super::USES_WRONG.replace("?1", &signed_no(event).to_string())
}

fn statement(db: &impl ConnectionTrait, sql: String) -> Statement {
    Statement::from_string(db.get_database_backend(), sql)
}

async fn number(db: &DatabaseTransaction, sql: &str) -> Result<u64, LedgerError> {
    let row = db.query_one_raw(statement(db, sql.to_owned())).await?;
    let number: Option<i64> = row.map(|row| row.try_get("", "counted")).transpose()?;
    sound(u64::try_from(number.unwrap_or(-1)), "a count of the event")
}
