//! Erasing a person: the account with its address, password and sessions goes, and in the issued
//! coupons a pseudonym takes the place of the user id. What was skipped of a journal is emptied.
//!
//! One coupon of an event for each user holds on: the event remembers that it has such winners, and
//! a claim of one is looked up under the pseudonym as well.

use firstcome_core::{AccountId, EventId, UserId};
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, ModelTrait, QueryFilter, QuerySelect,
};

use crate::changes::Changed;
use crate::entity::{account, event, issued_coupon, journal_skip, secret, session};
use crate::holders::{Row, Wanted, wanted};
use crate::{Ledger, LedgerError, secrets};

/// Most looks for what a user holds: one finds all, but for what is won meanwhile.
const ROUNDS_MAX: u32 = 100;

impl Ledger {
    /// Erases a user. Whether there was anything of them: an account, or an issued coupon.
    ///
    /// Access tokens that the user has are good until they end; sessions are not.
    ///
    /// # Errors
    /// When the ledger does not answer; a retry goes on.
    pub async fn erase_user(&self, user: UserId) -> Result<bool, LedgerError> {
        let ledger = self.clone();
        self.spawn(async move {
            let mut held = ledger.held_by(&user).await?;
            let had_more = ledger.erase_account(&user, !held.is_empty()).await?;
            let erased = had_more || !held.is_empty();
            // What was won meanwhile, the next look finds.
            let mut rounds = 0;
            while !held.is_empty() {
                rounds += 1;
                if rounds > ROUNDS_MAX {
                    let what = "an erased user is found again and again".to_owned();
                    return Err(LedgerError::Corrupt(what));
                }
                for row in held {
                    ledger.erase_in_event(&row, &user).await?;
                }
                held = ledger.held_by(&user).await?;
            }
            Ok(erased)
        })
        .await
    }

    async fn held_by(&self, user: &UserId) -> Result<Vec<Row>, LedgerError> {
        self.settle_user(user).await?;
        let backend = self.reader().get_database_backend();
        let held = wanted(backend, Wanted::Of(user)).into_model::<Row>();
        Ok(held.all(self.reader()).await?)
    }

    /// Removes the account with its sessions, empties what was skipped of the user, and tells the
    /// trail of the erasure. Whether there was an account, or anything skipped.
    async fn erase_account(&self, user: &UserId, holds: bool) -> Result<bool, LedgerError> {
        let write = self.write().await?;
        let db = write.connection();
        let account = remove_account(db, user).await?;
        let was_skipped = empty_skipped(db, user).await?;
        if holds || was_skipped || account.is_some() {
            // The id of an account tells nothing without it; any other may be an address.
            let pseudonym = self.inner.keys.pseudonyms.of(user);
            let shown = if account.is_some() { user } else { &pseudonym };
            let scope = account.as_ref().map(|account| account.scope.as_str());
            self.tell(db, Changed::erased(shown, scope)).await?;
        }
        write.commit().await?;
        Ok(was_skipped || account.is_some())
    }

    /// Puts the pseudonym into what the user holds of an event, whose claims wait meanwhile.
    async fn erase_in_event(&self, held: &Row, user: &UserId) -> Result<(), LedgerError> {
        let write = self.write().await?;
        let db = write.connection();
        let no = held.issued.event_no;
        let pseudonym = self.inner.keys.pseudonyms.of(user);
        if db.get_database_backend() != DbBackend::Sqlite {
            // Whoever lists holders has this row, and would list the user meanwhile.
            secret::Entity::find_by_id(secrets::CODE).lock_exclusive().one(db).await?;
            let update = Query::update()
                .table("holders")
                .value("user_id", pseudonym.as_str())
                .and_where(Expr::col("user_id").eq(user.as_str()))
                .and_where(Expr::col("event_no").eq(no))
                .take();
            db.execute(&update).await?;
        }
        event::Entity::update_many()
            .col_expr(event::Column::Erased, Expr::col(event::Column::Erased).add(1))
            .filter(event::Column::No.eq(no))
            .exec(db)
            .await?;
        let changed = issued_coupon::Entity::update_many()
            .col_expr(issued_coupon::Column::UserId, Expr::value(pseudonym.as_str()))
            .filter(issued_coupon::Column::EventNo.eq(no))
            .filter(issued_coupon::Column::UserId.eq(user.as_str()))
            .exec(db)
            .await?;
        if changed.rows_affected == 0 {
            // Another call was first, and has counted it.
            return Ok(());
        }
        write.commit_event(EventId::from_uuid(held.event_id)).await
    }
}

/// Removes the account and its sessions.
async fn remove_account(
    db: &impl ConnectionTrait,
    user: &UserId,
) -> Result<Option<account::Model>, LedgerError> {
    // A user id in upper case is another user, although it reads as the same UUID.
    let id = AccountId::parse(user.as_str()).filter(|id| UserId::from(*id) == *user);
    let Some(id) = id else { return Ok(None) };
    let found = account::Entity::find_by_id(id.as_uuid()).lock_exclusive().one(db).await?;
    let Some(found) = found else { return Ok(None) };
    let sessions = session::Column::AccountId.eq(id.as_uuid());
    session::Entity::delete_many().filter(sessions).exec(db).await?;
    found.clone().delete(db).await?;
    Ok(Some(found))
}

/// Empties the records of journals that were skipped and have this user in them, as all of ours
/// have: behind a byte with the length. Whether there were any.
async fn empty_skipped(db: &impl ConnectionTrait, user: &UserId) -> Result<bool, LedgerError> {
    let id = user.as_str().as_bytes();
    let length = u8::try_from(id.len()).expect("a user id has at most 128 bytes");
    let place = match db.get_database_backend() {
        DbBackend::Postgres => "position($1 IN record)",
        DbBackend::MySql => "LOCATE(?, record)",
        _ => "instr(record, ?)",
    };
    let place = Expr::cust_with_values(place, [[&[length], id].concat()]);
    let emptied = journal_skip::Entity::update_many()
        .col_expr(journal_skip::Column::Record, Expr::value(Vec::<u8>::new()))
        .filter(place.gt(0))
        .exec(db)
        .await?;
    Ok(emptied.rows_affected > 0)
}
