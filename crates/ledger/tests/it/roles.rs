//! The roles of docs/operations/databases.md: an owner that migrates, and one that serves and can
//! neither make nor drop anything.

use std::sync::Arc;

use firstcome_core::Clock;
use firstcome_ledger::{Decision, Ledger, LedgerError, LedgerOptions, Purpose, ServerClock};
use firstcome_testkit::database::{Engine, TestDatabase};

use crate::support::{OPENS_AT, Place, Store, TestClock, TestLedger, on_every_server};

on_every_server! {
    the_run_time_role_serves_what_the_owner_migrated,
    a_right_that_is_missing_is_named_before_anybody_claims,
}

/// A database whose schema is its owner's, and the run-time role's name.
struct Roles {
    place: Place,
    app: String,
}

impl Roles {
    async fn new(store: Store) -> Self {
        let place = Place::new(store).await;
        let database = place.database();
        // MySQL allows 32 characters.
        let app = database.name().replace("firstcome_test_", "app_");
        match database.engine() {
            Engine::Postgres => {
                database.execute(&format!("CREATE ROLE {app} LOGIN PASSWORD 'app'")).await;
                database.execute(&POSTGRES.replace("APP", &app)).await;
            }
            Engine::MariaDb => {
                let user = format!("CREATE USER {app} IDENTIFIED BY 'app'");
                database.execute(&user).await;
                let grant = "GRANT SELECT, INSERT, UPDATE ON";
                database.execute(&format!("{grant} {}.* TO {app}", database.name())).await;
            }
        }
        Self { place, app }
    }

    fn options(&self) -> LedgerOptions {
        let url = self.place.database().url();
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let (_, place) = rest.rsplit_once('@').expect("a user");
        let url = format!("{scheme}://{}:app@{place}", self.app);
        let mut options = LedgerOptions::parse_url(&url, Purpose::Serve).expect("a URL");
        options.limits = self.place.options(Purpose::Serve).limits;
        options.server_clock = ServerClock::Process;
        options
    }

    async fn open(&self, clock: &Arc<TestClock>) -> Result<Ledger, LedgerError> {
        Ledger::open(self.options(), Arc::clone(clock) as Arc<dyn Clock>).await
    }

    async fn migrate_as_owner(&self) {
        let options = self.place.options(Purpose::Serve);
        Ledger::migrate(&options).await.expect("the owner may");
    }

    async fn grant_delete(&self) {
        for table in ["accounts", "sessions", "idempotency_keys"] {
            self.database().execute(&format!("GRANT DELETE ON {table} TO {}", self.app)).await;
        }
    }

    fn database(&self) -> &TestDatabase {
        self.place.database()
    }

    /// What a role leaves on the server.
    async fn remove(self) {
        let app = &self.app;
        let sql = match self.database().engine() {
            Engine::Postgres => format!("DROP OWNED BY {app}; DROP ROLE {app}"),
            Engine::MariaDb => format!("DROP USER {app}"),
        };
        self.database().execute(&sql).await;
    }
}

const POSTGRES: &str = "
    REVOKE ALL ON SCHEMA public FROM PUBLIC;
    GRANT USAGE ON SCHEMA public TO APP;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE ON TABLES TO APP;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO APP";

fn clock() -> Arc<TestClock> {
    let clock = Arc::new(TestClock::default());
    clock.set(OPENS_AT);
    clock
}

async fn check_refused(roles: &Roles, names: &[&str]) {
    let refused = roles.open(&clock()).await;
    let Err(error @ LedgerError::Refused { .. }) = refused else {
        panic!("not refused: {:?}", refused.err())
    };
    let said = error.to_string();
    for name in names {
        assert!(said.contains(name), "{name:?} is not named in: {said}");
    }
}

async fn the_run_time_role_serves_what_the_owner_migrated(store: Store) {
    let roles = Roles::new(store).await;
    roles.migrate_as_owner().await;
    roles.grant_delete().await;
    let clock = clock();
    let ledger = roles.open(&clock).await.expect("it has every right that it needs");
    let test = TestLedger::of(ledger, clock, Place::new(Store::Sqlite).await);
    let event = test.event(10).await;
    assert!(matches!(test.claim(&event, &["kim"]).await[0], Decision::Issued(_)));
    test.ledger.secret("cursor").await.expect("it may write a secret");
    test.ledger.close().await.expect("it closes");
    roles.remove().await;
}

async fn a_right_that_is_missing_is_named_before_anybody_claims(store: Store) {
    let roles = Roles::new(store).await;
    check_refused(&roles, &["denied", "the user lacks rights", "migrate as the owner"]).await;
    roles.migrate_as_owner().await;
    check_refused(&roles, &["accounts", "the user lacks rights"]).await;
    roles.grant_delete().await;
    if store == Store::Postgres {
        let revoke = format!("REVOKE USAGE ON SEQUENCE events_no_seq FROM {}", roles.app);
        roles.database().execute(&revoke).await;
        check_refused(&roles, &["sequence", "the user lacks rights"]).await;
    }
    roles.remove().await;
}
