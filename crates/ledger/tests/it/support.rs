//! A ledger in a directory or a database of its own, with a clock that stands until it is moved.

pub(crate) mod plans;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use firstcome_core::{
    Amount, Benefit, Clock, Commit, Conditions, CouponDraft, CouponId, Currency, Days, EventId,
    EventRule, MinOrderAmount, Name, Quantity, Strategy, Timestamp, UserId, Validity, Window,
};
use firstcome_ledger::{
    Claim, CouponRecord, Decision, EventRecord, Ledger, LedgerError, LedgerOptions, NewEvent,
    Purpose, ServerClock,
};
use firstcome_testkit::database::{Engine, TestDatabase};
use sea_orm::{ConnectionTrait as _, Database, DatabaseTransaction, TransactionTrait as _};
use tempfile::TempDir;
use uuid::Uuid;

/// 2026-11-27T10:00:00+09:00.
pub(crate) const OPENS_AT: i64 = 1_795_741_200_000_000;
pub(crate) const HOUR: i64 = 3_600_000_000;

#[derive(Default)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn set(&self, micros: i64) {
        self.0.store(micros, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// What a ledger may be on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    Sqlite,
    Postgres,
    MariaDb,
}

/// Makes a test of each function, on every store.
macro_rules! on_every_store {
    ($($test:ident),+ $(,)?) => {
        mod sqlite { $crate::support::on_store! { Sqlite: $($test),+ } }
        mod postgres { $crate::support::on_store! { Postgres: $($test),+ } }
        mod mariadb { $crate::support::on_store! { MariaDb: $($test),+ } }
    };
}

/// Makes a test of each function, on every database server.
macro_rules! on_every_server {
    ($($test:ident),+ $(,)?) => {
        mod postgres { $crate::support::on_store! { Postgres: $($test),+ } }
        mod mariadb { $crate::support::on_store! { MariaDb: $($test),+ } }
    };
}

/// Makes a test of each function, on one store.
macro_rules! on_store {
    ($store:ident: $($test:ident),+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test($crate::support::Store::$store).await;
            }
        )+
    };
}

pub(crate) use {on_every_server, on_every_store, on_store};

pub(crate) struct TestLedger {
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<TestClock>,
    place: Place,
}

/// Where a ledger's rows are.
pub(crate) enum Place {
    Directory(TempDir),
    Database(TestDatabase),
}

impl Place {
    pub(crate) async fn new(store: Store) -> Self {
        let database = |engine| async move { Self::Database(TestDatabase::new(engine).await) };
        match store {
            Store::Sqlite => Self::Directory(TempDir::new().expect("a temporary directory")),
            Store::Postgres => database(Engine::Postgres).await,
            Store::MariaDb => database(Engine::MariaDb).await,
        }
    }

    /// The database of a ledger on a server.
    pub(crate) fn database(&self) -> &TestDatabase {
        match self {
            Self::Directory(_) => panic!("not a database on a server"),
            Self::Database(database) => database,
        }
    }

    /// Runs SQL, with every check in force.
    pub(crate) async fn execute(&self, sql: &str) {
        match self {
            Self::Directory(_) => {
                let db = rusqlite::Connection::open(self.path()).expect("the file opens");
                db.execute_batch(sql).expect(sql);
            }
            Self::Database(database) => database.execute(sql).await,
        }
    }

    /// The file of an embedded ledger.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::Directory(directory) => directory.path().join("ledger.db"),
            Self::Database(_) => panic!("not a file"),
        }
    }

    pub(crate) fn options(&self, purpose: Purpose) -> LedgerOptions {
        match self {
            Self::Directory(_) => LedgerOptions::embedded(self.path(), purpose),
            Self::Database(database) => {
                let options = LedgerOptions::parse_url(database.url(), purpose);
                let mut options = options.expect("a URL");
                // The time is the test's to move.
                options.server_clock = ServerClock::Process;
                // A busy machine is no dead one.
                options.limits.acquire_timeout = Duration::from_secs(20);
                options.limits.statement_timeout = Duration::from_secs(20);
                options
            }
        }
    }
}

impl TestLedger {
    pub(crate) async fn new(store: Store) -> Self {
        let place = Place::new(store).await;
        let clock = Arc::new(TestClock(AtomicI64::new(OPENS_AT)));
        let ledger = open(&place, Purpose::Serve, &clock).await.expect("a new ledger opens");
        Self { ledger, clock, place }
    }

    /// Of a ledger that is open there already.
    pub(crate) const fn of(ledger: Ledger, clock: Arc<TestClock>, place: Place) -> Self {
        Self { ledger, clock, place }
    }

    /// The file of an embedded ledger.
    pub(crate) fn path(&self) -> PathBuf {
        self.place.path()
    }

    pub(crate) const fn place(&self) -> &Place {
        &self.place
    }

    /// Runs SQL beside the ledger, with no check of values in the way. It may say `{uuid}` for a
    /// new id, `{holder}` for the index of an event's users, and `{on}` between it and its table.
    pub(crate) async fn tamper(&self, sql: &str) {
        let holder = match &self.place {
            Place::Directory(_) => "issued_coupons_user_event",
            Place::Database(_) => "issued_coupons_holder",
        };
        let sql = sql.replace("{holder}", holder);
        let words = |uuid: &str, on: &str| sql.replace("{uuid}", uuid).replace("{on}", on);
        match &self.place {
            Place::Directory(_) => {
                let sql = words("randomblob(16)", "--");
                let sql = format!("PRAGMA ignore_check_constraints = ON;\n{sql}");
                let db = rusqlite::Connection::open(self.path()).expect("the file opens");
                db.execute_batch(&sql).expect(&sql);
            }
            Place::Database(database) if database.engine() == Engine::Postgres => {
                database.execute(NO_CHECKS_ON_POSTGRES).await;
                database.execute(&words("gen_random_uuid()", "--")).await;
            }
            Place::Database(database) => {
                let sql = words("UNHEX(REPLACE(UUID(), '-', ''))", "ON");
                database.execute(&format!("{NO_CHECKS_ON_MARIADB}\n{sql}")).await;
            }
        }
    }

    /// Has the event's row, as another process's claim has it, until it is let go.
    pub(crate) async fn hold(&self, event: &EventRecord) -> DatabaseTransaction {
        let database = Database::connect(self.place.database().url()).await.expect("a connection");
        let transaction = database.begin().await.expect("a transaction");
        let row = format!("SELECT no FROM events WHERE no = {} FOR UPDATE", event.no.get());
        transaction.execute_unprepared(&row).await.expect("the row");
        transaction
    }

    /// Returns once a session of this database waits for a lock, or is about to.
    pub(crate) async fn somebody_waits(&self) {
        let database = self.place.database();
        let waiting = match database.engine() {
            Engine::Postgres => {
                "SELECT count(*) FROM pg_stat_activity \
                 WHERE datname = current_database() AND wait_event_type = 'Lock'"
            }
            Engine::MariaDb => {
                "SELECT count(*) FROM information_schema.PROCESSLIST \
                 WHERE DB = DATABASE() AND ID <> CONNECTION_ID() AND COMMAND <> 'Sleep' \
                   AND INFO LIKE '%JSON_TABLE%FOR UPDATE'"
            }
        };
        let waits = async { while database.number(waiting).await == 0 {} };
        tokio::time::timeout(Duration::from_secs(15), waits).await.expect("somebody waits");
    }

    /// Lets go of the ledger, and with it of its connections; its rows stay.
    pub(crate) fn end(self) -> Place {
        self.place
    }

    /// Lets go of the ledger and opens it again, as after a crash. As a visitor of an embedded
    /// ledger nothing settles in the background.
    pub(crate) async fn reopen(self, purpose: Purpose) -> Self {
        let Self { ledger, clock, place } = self;
        drop(ledger);
        let ledger = loop {
            match open(&place, purpose, &clock).await {
                // The background task may be at work on it for a moment longer.
                Err(LedgerError::InUse { .. }) => tokio::task::yield_now().await,
                opened => break opened.expect("the ledger opens again"),
            }
        };
        Self { ledger, clock, place }
    }

    /// Settles everything, as a server does when it stops, and opens the ledger again.
    pub(crate) async fn settle(self) -> Self {
        let serving = self.reopen(Purpose::Serve).await;
        serving.ledger.close().await.expect("it settles and closes");
        serving.reopen(Purpose::Visit).await
    }

    /// Waits until the table of holders lists every winner.
    pub(crate) async fn listed(&self) {
        let database = self.place.database();
        let unlisted = "SELECT count(*) FROM events WHERE unlisted_after IS NOT NULL";
        let all = async { while database.number(unlisted).await > 0 {} };
        tokio::time::timeout(Duration::from_secs(30), all).await.expect("they are listed in time");
    }

    /// Another process on the same rows.
    pub(crate) async fn another(&self) -> Ledger {
        open(&self.place, Purpose::Serve, &self.clock).await.expect("another process opens it")
    }

    /// An event of `quantity` that is open for an hour.
    pub(crate) async fn event(&self, quantity: u32) -> EventRecord {
        let coupon = self.coupon(draft()).await;
        self.event_of(&coupon, quantity).await
    }

    /// An event of this coupon, of `quantity`, that is open for an hour.
    pub(crate) async fn event_of(&self, coupon: &CouponRecord, quantity: u32) -> EventRecord {
        let opens_at = Timestamp::from_micros(OPENS_AT);
        let window = Window::new(opens_at, Timestamp::from_micros(OPENS_AT + HOUR));
        let new = NewEvent {
            id: EventId::from_uuid(Uuid::now_v7()),
            coupon_id: coupon.id,
            name: Name::parse("선착순").expect("a name"),
            rule: EventRule {
                quantity: Quantity::parse(quantity.into()).expect("a quantity"),
                issued: 0,
                window: window.expect("a window"),
                opened_early: false,
                paused: false,
                closed: false,
            },
            strategy: Strategy::Ledger,
            commit: Commit::Ledger,
        };
        self.ledger
            .create_event(new)
            .await
            .expect("the ledger answers")
            .expect("the coupon is there")
    }

    pub(crate) async fn coupon(&self, draft: CouponDraft) -> CouponRecord {
        let id = CouponId::from_uuid(Uuid::now_v7());
        self.ledger.create_coupon(id, draft).await.expect("the ledger answers")
    }

    pub(crate) async fn claim(&self, event: &EventRecord, users: &[&str]) -> Vec<Decision> {
        verdicts(&self.ledger, batch(event, users)).await
    }
}

/// The ledger's verdicts on a batch that is its to decide.
pub(crate) async fn verdicts(ledger: &Ledger, batch: Vec<Claim>) -> Vec<Decision> {
    let answers = ledger.claim(batch).await.expect("an answer");
    answers.into_iter().map(|answer| answer.expect("a verdict")).collect()
}

/// Claims of these users on an event.
pub(crate) fn batch<U: AsRef<str>>(event: &EventRecord, users: &[U]) -> Vec<Claim> {
    let user = |user: &U| UserId::parse(user.as_ref()).expect("a user id");
    users.iter().map(|it| Claim { event_id: event.id, user_id: user(it) }).collect()
}

/// 5,000 won off any order, for 30 days from issue.
pub(crate) fn draft() -> CouponDraft {
    CouponDraft {
        name: Name::parse("5,000원").expect("a name"),
        benefit: Benefit::Amount {
            amount: Amount::parse(5_000).expect("an amount"),
            currency: Currency::krw(),
        },
        conditions: Conditions {
            min_order_amount: MinOrderAmount::parse(0).expect("an amount"),
            product_ids: Vec::new(),
            category_ids: Vec::new(),
        },
        validity: Validity::Days(Days::parse(30).expect("days")),
    }
}

pub(crate) async fn open(
    place: &Place,
    purpose: Purpose,
    clock: &Arc<TestClock>,
) -> Result<Ledger, LedgerError> {
    Ledger::open(place.options(purpose), Arc::clone(clock) as Arc<dyn Clock>).await
}

/// MariaDB checks nothing then; MySQL has no such setting, and leaves out the check in the way.
const NO_CHECKS_ON_MARIADB: &str = "
    SET /*M! SESSION check_constraint_checks = 0, */ @checks = 0;
    ALTER TABLE events /*!80016 ALTER CHECK events_chk_2 NOT ENFORCED */;";

/// Drops every check of values.
const NO_CHECKS_ON_POSTGRES: &str = "
    DO $$ DECLARE found record; BEGIN
        FOR found IN SELECT conrelid::regclass AS of_table, conname FROM pg_constraint
                     WHERE contype = 'c' AND connamespace = 'public'::regnamespace
        LOOP
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', found.of_table, found.conname);
        END LOOP;
    END $$";
