//! The rows of every table: read, written and compared in chunks, in the order of their keys.

use std::marker::PhantomData;

use sea_orm::sea_query::{Asterisk, Expr, ExprTrait};
use sea_orm::{
    ColumnTrait, EntityTrait, IdenStatic, IntoActiveModel, Iterable, ModelTrait,
    PrimaryKeyToColumn, QueryFilter, QueryOrder, QuerySelect,
};

use super::Tell;
use super::ends::End;
use crate::LedgerError;
use crate::entity::{
    account, change, client, coupon, event, idempotency_key, issued_coupon, journal_position,
    journal_skip, redemption, secret, session,
};

/// Rows in a chunk. Also 32,766 values are what SQLite takes in a statement.
const CHUNK_ROWS: u64 = 1_000;
/// The same of coupons, whose lists may be long: MySQL takes 16 MiB in a statement by default.
const CHUNK_COUPONS: u64 = 100;
/// The same of records of a journal, of a million bytes each in Kafka by default.
const CHUNK_RECORDS: u64 = 4;

/// Every table, each after those that it refers to. The secrets come first: a process that starts
/// to serve from the target waits for them instead of making its own.
pub(super) const TABLES: [&dyn Table; 12] = [
    &Rows::<secret::Entity>::by(CHUNK_ROWS),
    &Rows::<account::Entity>::by(CHUNK_ROWS),
    &Rows::<session::Entity>::by(CHUNK_ROWS),
    &Rows::<coupon::Entity>::by(CHUNK_COUPONS),
    &Rows::<event::Entity>::by(CHUNK_ROWS),
    &Rows::<issued_coupon::Entity>::by(CHUNK_ROWS),
    &Rows::<redemption::Entity>::by(CHUNK_ROWS),
    &Rows::<change::Entity>::by(CHUNK_COUPONS),
    &Rows::<idempotency_key::Entity>::by(CHUNK_COUPONS),
    &Rows::<client::Entity>::by(CHUNK_ROWS),
    &Rows::<journal_position::Entity>::by(CHUNK_ROWS),
    &Rows::<journal_skip::Entity>::by(CHUNK_RECORDS),
];

/// A table.
#[async_trait::async_trait]
pub(super) trait Table: Send + Sync {
    fn name(&self) -> &'static str;

    /// The number of its rows.
    async fn count(&self, end: &End<'_>) -> Result<u64, LedgerError>;

    /// Writes every row of the source to the target; answers how many.
    async fn copy(&self, from: &End<'_>, to: &End<'_>, tell: Tell<'_>) -> Result<u64, LedgerError>;

    /// Compares every row of both; answers how many are the same.
    ///
    /// # Errors
    /// [`LedgerError::CopyDiffers`] at the first difference.
    async fn verify(
        &self,
        from: &End<'_>,
        to: &End<'_>,
        tell: Tell<'_>,
    ) -> Result<u64, LedgerError>;
}

/// The rows of an entity.
struct Rows<E> {
    chunk_rows: u64,
    entity: PhantomData<fn() -> E>,
}

impl<E> Rows<E> {
    const fn by(chunk_rows: u64) -> Self {
        Self { chunk_rows, entity: PhantomData }
    }
}

#[async_trait::async_trait]
impl<E> Table for Rows<E>
where
    E: EntityTrait,
    E::Model: IntoActiveModel<E::ActiveModel> + PartialEq + Sync,
    E::ActiveModel: Send,
{
    fn name(&self) -> &'static str {
        E::default().table_name()
    }

    async fn count(&self, end: &End<'_>) -> Result<u64, LedgerError> {
        let count = E::find().select_only().column_as(Expr::col(Asterisk).count(), "counted");
        let counted = count.into_tuple::<i64>().one(end.db).await;
        let counted = counted.map_err(|error| end.fault(error))?.unwrap_or_default();
        Ok(u64::try_from(counted).unwrap_or_default())
    }

    async fn copy(&self, from: &End<'_>, to: &End<'_>, tell: Tell<'_>) -> Result<u64, LedgerError> {
        let (mut copied, mut last) = (0, None);
        loop {
            let chunk = chunk::<E>(from, last.as_ref(), self.chunk_rows).await?;
            let Some(next) = chunk.last().cloned() else { return Ok(copied) };
            let rows = chunk.len() as u64;
            let values = chunk.into_iter().map(IntoActiveModel::into_active_model);
            let written = E::insert_many(values).exec_without_returning(to.db).await;
            written.map_err(|error| to.not_written(error, self.name()))?;
            copied += rows;
            tell(rows);
            last = Some(next);
        }
    }

    async fn verify(
        &self,
        from: &End<'_>,
        to: &End<'_>,
        tell: Tell<'_>,
    ) -> Result<u64, LedgerError> {
        let (mut verified, mut last) = (0, None);
        loop {
            let expected = chunk::<E>(from, last.as_ref(), self.chunk_rows).await?;
            let found = chunk::<E>(to, last.as_ref(), self.chunk_rows).await?;
            if let Some((row, what)) = difference::<E>(&expected, &found) {
                return Err(LedgerError::CopyDiffers { table: self.name(), row, what });
            }
            let Some(next) = expected.last().cloned() else { return Ok(verified) };
            let rows = expected.len() as u64;
            verified += rows;
            tell(rows);
            last = Some(next);
        }
    }
}

/// The columns of the key, in its order.
fn keys<E: EntityTrait>() -> Vec<E::Column> {
    E::PrimaryKey::iter().map(PrimaryKeyToColumn::into_column).collect()
}

/// The next rows above `last` in the order of the key, at most so many; nothing at the end.
///
/// Of a key of two columns, the rest of the rows with the same first column comes first, and the
/// chunk ends there: that every database finds by the key's index alone.
async fn chunk<E: EntityTrait>(
    end: &End<'_>,
    last: Option<&E::Model>,
    rows_max: u64,
) -> Result<Vec<E::Model>, LedgerError> {
    let keys = keys::<E>();
    let mut same = keys.len();
    loop {
        let mut select = E::find();
        if let Some(last) = last {
            same -= 1;
            for key in &keys[..same] {
                select = select.filter(key.eq(last.get(*key)));
            }
            select = select.filter(keys[same].gt(last.get(keys[same])));
        }
        for key in &keys {
            select = select.order_by_asc(*key);
        }
        let rows = select.limit(rows_max).all(end.db).await.map_err(|error| end.fault(error))?;
        if !rows.is_empty() || last.is_none() || same == 0 {
            return Ok(rows);
        }
    }
}

/// The first difference of two chunks: the key of the row, and what is other there. Values are
/// not told: some are secret.
fn difference<E: EntityTrait>(expected: &[E::Model], found: &[E::Model]) -> Option<(String, String)>
where
    E::Model: PartialEq,
{
    let same = expected.iter().zip(found).take_while(|(expected, found)| expected == found).count();
    let (expected, found) = (expected.get(same), found.get(same));
    match (expected, found) {
        (None, None) => None,
        (Some(expected), None) => Some((key_of::<E>(expected), "is missing".to_owned())),
        (None, Some(found)) => Some((key_of::<E>(found), "is not in the source".to_owned())),
        (Some(expected), Some(found)) => {
            let (row, other) = (key_of::<E>(expected), key_of::<E>(found));
            let what = if row == other {
                let differs = |column: &E::Column| expected.get(*column) != found.get(*column);
                let column = E::Column::iter().find(differs);
                let name = column.map_or("", |column| column.as_str());
                format!("has another {name}")
            } else {
                format!("is not where it should be: row {other} is")
            };
            Some((row, what))
        }
    }
}

/// A row's key as text.
fn key_of<E: EntityTrait>(row: &E::Model) -> String {
    let values = keys::<E>().into_iter().map(|key| row.get(key).to_string());
    values.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issued(event_no: i64, sequence: i64) -> issued_coupon::Model {
        issued_coupon::Model {
            event_no,
            sequence,
            id: uuid::Uuid::from_u128(7),
            user_id: "kim".to_owned(),
            issued_at: 1,
            valid_from: 1,
            expires_at: 2,
            used_at: None,
            revoked_at: None,
            revoke_reason: None,
        }
    }

    fn check(
        expected: &[issued_coupon::Model],
        found: &[issued_coupon::Model],
        told: Option<(&str, &str)>,
    ) {
        let difference = difference::<issued_coupon::Entity>(expected, found);
        let told = told.map(|(row, what)| (row.to_owned(), what.to_owned()));
        assert_eq!(difference, told);
    }

    #[test]
    fn the_first_difference_is_told_by_key_and_column() {
        let rows = [issued(1, 1), issued(1, 2), issued(2, 1)];
        check(&rows, &rows, None);
        check(&[], &[], None);
        check(&rows, &rows[..2], Some(("2, 1", "is missing")));
        check(&rows[..2], &rows, Some(("2, 1", "is not in the source")));
        let other = [rows[0].clone(), issued(1, 3), rows[2].clone()];
        check(&rows, &other, Some(("1, 2", "is not where it should be: row 1, 3 is")));
        let mut revoked = rows.clone();
        revoked[1].revoke_reason = Some("other".to_owned());
        revoked[2].used_at = Some(0);
        check(&rows, &revoked, Some(("1, 2", "has another revoke_reason")));
    }

    #[test]
    fn a_chunk_fits_in_a_statement_of_every_database() {
        const SQLITE_VALUES_MAX: usize = 32_766;
        let columns = event::Column::iter().count().max(coupon::Column::iter().count());
        assert!(columns * usize::try_from(CHUNK_ROWS).expect("small") <= SQLITE_VALUES_MAX);
    }
}
