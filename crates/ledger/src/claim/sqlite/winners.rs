//! Who has won of an event, read from the journal and the table, so that nothing has to settle.

use std::path::Path;
use std::time::Duration;

use firstcome_core::{EventNo, Sequence, UserId};
use rusqlite::{Connection, OpenFlags};

use super::journal::{Run, decode};
use super::settler::blocking;
use crate::LedgerError;
use crate::embedded::Embedded;
use crate::records::signed_no;

/// How long a statement waits for a writer that changes the file's layout.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

impl Embedded {
    /// As [`crate::Ledger::fold_winners`]. It takes no turn: claims go on beside it.
    pub(crate) async fn fold_winners<T, F>(
        &self,
        event: EventNo,
        start: T,
        mut add: F,
    ) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnMut(&mut T, &str) + Send + 'static,
    {
        let path = self.path.clone();
        blocking(move || {
            let mut folded = start;
            let db = read_only(&path)?;
            // The journal before the table: who leaves the one in between is in the other by then.
            each_journalled(&db, event, |_, user| add(&mut folded, user.as_str()))?;
            let mut select =
                db.prepare("SELECT user_id FROM issued_coupons WHERE event_no = ?1")?;
            let mut rows = select.query([signed_no(event)])?;
            while let Some(row) = rows.next()? {
                add(&mut folded, row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?);
            }
            Ok(folded)
        })
        .await
    }
}

/// Calls `each` with every winner of the event whom the journal holds, settled ones included.
pub(crate) fn each_journalled(
    db: &Connection,
    event: EventNo,
    mut each: impl FnMut(Sequence, &UserId),
) -> Result<(), LedgerError> {
    let mut select = db.prepare("SELECT entries FROM claim_journal ORDER BY no")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let runs = decode(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?;
        for (sequence, user) in
            runs.iter().filter(|run| run.event_no == event).flat_map(Run::holders)
        {
            each(sequence, user);
        }
    }
    Ok(())
}

/// Opens a connection that cannot write.
pub(crate) fn read_only(path: &Path) -> Result<Connection, LedgerError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    Ok(db)
}
