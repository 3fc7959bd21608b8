//! Copying a ledger: everything is there afterwards, or nothing.

use std::sync::Arc;

use firstcome_core::{
    AccountId, Amount, Attempt, Benefit, ClientId, Clock, Conditions, CouponDraft, CouponId,
    Currency, Email, Label, MinOrderAmount, Name, Order, OrderId, Percent, Redeemed, Redemption,
    RedemptionId, Timestamp, UserId, Validity, Window,
};
use firstcome_ledger::{
    AccountRecord, By, ChangeQuery, ChangeRecord, ClientRecord, CopyProgress, CopyReport,
    CouponRecord, Decision, EventQuery, EventRecord, IssuedCouponRecord, Ledger, LedgerError, Made,
    NewAccount, NewClient, NewSession, Once, OnceKey, PasswordHash, Purpose, Rotation,
    SessionRecord, ShownToken, SkippedRecord,
};
use futures_util::TryStreamExt;
use uuid::Uuid;

use crate::support::{HOUR, OPENS_AT, Place, Store, TestClock, TestLedger, draft, open};

const HASH: &str = "$argon2id$비밀";
const REFRESH: [[u8; 32]; 2] = [[1; 32], [2; 32]];
/// More than two chunks.
const MANY: usize = 2_100;

/// A ledger with rows of every kind, and what is known of them.
struct Filled {
    test: TestLedger,
    account: AccountRecord,
    used: Redemption,
    cancelled: Redemption,
    /// What was won at last; of an embedded ledger it is in the journal alone.
    won_last: Vec<IssuedCouponRecord>,
    /// An event with stock left, of which `kim` holds the first coupon.
    open: EventRecord,
}

/// All that can be read of a ledger.
#[derive(Debug, PartialEq)]
struct Everything {
    coupons: Vec<CouponRecord>,
    events: Vec<EventRecord>,
    issued: Vec<IssuedCouponRecord>,
    changes: Vec<ChangeRecord>,
    account: Option<(AccountRecord, String)>,
    sessions: Vec<Option<SessionRecord>>,
    clients: Vec<ClientRecord>,
    positions: Vec<(i32, i64)>,
    skipped: Vec<SkippedRecord>,
    secret: [u8; 32],
}

fn user(id: &str) -> UserId {
    UserId::parse(id).expect("a user id")
}

fn coupon_drafts() -> [CouponDraft; 4] {
    let percent = |max_amount: Option<i128>| Benefit::Percent {
        percent: Percent::parse(10).expect("a percentage"),
        max_amount: max_amount.map(|amount| Amount::parse(amount).expect("an amount")),
        currency: Currency::parse("USD").expect("a currency"),
    };
    let label = |text: &str| Label::parse(text).expect("a label");
    let conditions = Conditions {
        min_order_amount: MinOrderAmount::parse(20_000).expect("an amount"),
        product_ids: vec![label("P-1"), label("상품 \"둘\" 🎁")],
        category_ids: vec![label("신발")],
    };
    let from = Timestamp::from_micros(OPENS_AT);
    let period = Validity::period(from, Timestamp::from_micros(OPENS_AT + HOUR));
    let name = Name::parse("첫 구매 감사 쿠폰 🎉👩‍👩‍👧‍👦 \\ ' \"").expect("a name");
    [
        draft(),
        CouponDraft { name, ..draft() },
        CouponDraft { benefit: percent(None), conditions, ..draft() },
        CouponDraft {
            benefit: percent(Some(3_000)),
            validity: period.expect("a period"),
            ..draft()
        },
    ]
}

async fn change(test: &TestLedger, event: &EventRecord, change: fn(&mut EventRecord)) {
    let changed = test.ledger.change_event(event.id, move |mut record| {
        change(&mut record);
        Ok::<_, std::convert::Infallible>(record)
    });
    let _ = changed.await.expect("the ledger answers").expect("the event is there");
}

fn won(decisions: Vec<Decision>) -> Vec<IssuedCouponRecord> {
    let won = |decision| match decision {
        Decision::Issued(won) => won,
        other => panic!("not won: {other:?}"),
    };
    decisions.into_iter().map(won).collect()
}

async fn redeem(test: &TestLedger, coupon: &IssuedCouponRecord, order: &str) -> Redeemed {
    let order = Order {
        id: OrderId::parse(order).expect("an order id"),
        amount: Amount::parse(30_000).expect("an amount"),
        currency: Currency::krw(),
        items: Vec::new(),
    };
    let id = RedemptionId::from_uuid(Uuid::now_v7());
    let attempt = Attempt { id, issued_coupon_id: coupon.id, order };
    let outcome =
        test.ledger.redeem(coupon.user_id.clone(), attempt).await.expect("the ledger answers");
    outcome.expect("the coupon is there").expect("it can be used")
}

async fn use_up(test: &TestLedger, coupon: &IssuedCouponRecord, order: &str) -> Redemption {
    match redeem(test, coupon, order).await {
        Redeemed::New(redemption) => redemption,
        Redeemed::Same(_) => panic!("not used before"),
    }
}

async fn cancel(ledger: &Ledger, id: RedemptionId) -> Redemption {
    let cancelled = ledger.cancel_redemption(id).await.expect("the ledger answers");
    cancelled.expect("the redemption is there")
}

async fn fill_accounts(test: &TestLedger) -> AccountRecord {
    let new = NewAccount {
        id: AccountId::from_uuid(Uuid::now_v7()),
        email: Email::parse("kim@example.com").expect("an address"),
        password_hash: PasswordHash::new(HASH.to_owned()),
        scope: "user admin".to_owned(),
    };
    let made = test.ledger.create_account(new).await.expect("the ledger answers");
    let account = made.expect("the address is free");
    let expires_at = Timestamp::from_micros(OPENS_AT + HOUR);
    let mut last = None;
    for refresh_hash in REFRESH {
        let id = Uuid::now_v7();
        let new = NewSession { id, account_id: account.id, refresh_hash, expires_at };
        test.ledger.create_session(new).await.expect("the ledger answers");
        last = Some(id);
    }
    let last = last.expect("a session");
    test.ledger.revoke_session(last, account.id).await.expect("the ledger answers");
    let shown = ShownToken { first_hash: REFRESH[0], hash: REFRESH[0] };
    let rotated = test.ledger.rotate_session(shown, [3; 32], |_| Ok::<_, ()>(()));
    let rotated = rotated.await.expect("the ledger answers");
    assert!(matches!(rotated, Rotation::Rotated(..)), "{rotated:?}");
    account
}

/// A client, and one that was deleted.
async fn fill_clients(test: &TestLedger) {
    let mut made = Vec::new();
    for name in ["체크아웃", "gone"] {
        let new = NewClient {
            id: ClientId::from_uuid(Uuid::now_v7()),
            name: Name::parse(name).expect("a name"),
            scope: "redeem".to_owned(),
            secret_hash: [9; 32],
        };
        made.push(test.ledger.create_client(new).await.expect("the ledger answers"));
    }
    assert!(test.ledger.delete_client(made[1].id).await.expect("the ledger answers"));
}

/// An event of each state but open.
async fn fill_events(test: &TestLedger, coupon: &CouponRecord) {
    let scheduled = test.event_of(coupon, 5).await;
    change(test, &scheduled, |event| {
        let moment = |hours| Timestamp::from_micros(OPENS_AT + hours * HOUR);
        event.rule.window = Window::new(moment(1), moment(2)).expect("a window");
    })
    .await;
    let early = test.event_of(coupon, 5).await;
    change(test, &early, |event| event.rule.opened_early = true).await;
    let paused = test.event_of(coupon, 5).await;
    change(test, &paused, |event| event.rule.paused = true).await;
    let closed = test.event_of(coupon, 5).await;
    won(test.claim(&closed, &["kim"]).await);
    change(test, &closed, |event| event.rule.closed = true).await;
    let sold_out = test.event_of(coupon, 2).await;
    won(test.claim(&sold_out, &["kim", "lee"]).await);
}

/// A change that is told, and an answer that is kept.
async fn fill_trail(test: &TestLedger) {
    let by = By { actor: user("admin"), action: "create", request_id: "r-1".to_owned() };
    let key = OnceKey {
        caller: by.actor.clone(),
        path: "/v1/coupons",
        name: "key".to_owned(),
        request_hash: [7; 32],
    };
    let answer = |made: CouponRecord| Made {
        location: format!("/v1/coupons/{}", made.id),
        etag: "\"1\"".to_owned(),
        body: "{\"name\":\"쿠폰 🎁\"}".to_owned(),
    };
    let id = CouponId::from_uuid(Uuid::now_v7());
    let made = test.ledger.by(by).create_coupon_once(Some(key), id, draft(), answer).await;
    assert!(matches!(made.expect("the ledger answers"), Once::Made(_)));
}

/// What is left of a journal that was applied to a ledger on a server.
async fn fill_journal(test: &TestLedger, event: &EventRecord) {
    let place = test.place();
    place.execute("INSERT INTO journal_positions VALUES ('claims', 3, 17), ('클레임', 0, 0)").await;
    place
        .execute("INSERT INTO journal_skips VALUES ('claims', 3, 16, '자리 없음', X'00FF27', 1)")
        .await;
    let columns =
        "strategy = 'redis', commit_to = 'kafka', journal_partition = 3, epoch = 4, fence = 3";
    place.execute(&format!("UPDATE events SET {columns} WHERE no = {}", event.no.get())).await;
}

async fn fill(store: Store) -> Filled {
    let test = TestLedger::new(store).await;
    test.ledger.secret("cursor").await.expect("the ledger answers");
    let account = fill_accounts(&test).await;
    fill_clients(&test).await;
    let mut coupons = Vec::new();
    for draft in coupon_drafts() {
        coupons.push(test.coupon(draft).await);
    }
    fill_trail(&test).await;
    fill_events(&test, &coupons[0]).await;
    fill_journal(&test, &test.event_of(&coupons[0], 5).await).await;

    let many = test.event_of(&coupons[3], 10_000).await;
    let users: Vec<String> = (0..MANY).map(|number| format!("shopper-{number}")).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    for batch in users.chunks(firstcome_core::limits::CLAIM_BATCH_MAX) {
        won(test.claim(&many, batch).await);
    }
    let open = test.event_of(&coupons[1], 100).await;
    let held = won(test.claim(&open, &["kim", "lee", "park", "choi"]).await);
    let used = use_up(&test, &held[0], "A-1").await;
    let cancelled = use_up(&test, &held[1], "A-2").await;
    test.clock.set(OPENS_AT + 1);
    let cancelled = cancel(&test.ledger, cancelled.id).await;
    let reason = Label::parse("부정 사용 🚫").expect("a reason");
    let revoked = test.ledger.revoke(held[2].id, reason).await.expect("the ledger answers");
    assert!(revoked.is_some_and(|revoked| revoked.is_ok()));

    // As a visitor of an embedded ledger nothing settles in the background.
    let test = if store == Store::Sqlite { test.settle().await } else { test };
    let won_last = won(test.claim(&open, &["last-1", "last-2", "last-3"]).await);
    Filled { test, account, used, cancelled, won_last, open }
}

async fn everything(ledger: &Ledger, account: &AccountRecord) -> Everything {
    let query = EventQuery { limit: 100, ..EventQuery::default() };
    let events = ledger.events(&query).await.expect("the ledger answers");
    let mut issued = Vec::new();
    for event in &events {
        let chunks = ledger.issued_coupons_stream(event.no).try_concat().await;
        issued.extend(chunks.expect("the ledger answers"));
    }
    let mut sessions = Vec::new();
    for hash in REFRESH {
        sessions.push(ledger.session_by_refresh_hash(&hash).await.expect("the ledger answers"));
    }
    let account = ledger.account_by_email(&account.email).await.expect("the ledger answers");
    let changes = ChangeQuery { limit: 100, ..ChangeQuery::default() };
    Everything {
        coupons: ledger.coupons(None, 100).await.expect("the ledger answers"),
        events,
        issued,
        changes: ledger.changes(&changes).await.expect("the ledger answers"),
        account: account.map(|(account, hash)| (account, hash.expose().to_owned())),
        sessions,
        clients: ledger.clients(None, 100).await.expect("the ledger answers"),
        positions: ledger.journal_positions("claims").await.expect("the ledger answers"),
        skipped: ledger.skipped_records("claims").await.expect("the ledger answers"),
        secret: ledger.secret("cursor").await.expect("the ledger answers"),
    }
}

async fn copy(from: &Place, to: &Place) -> Result<CopyReport, LedgerError> {
    copy_telling(from, to, |_| ()).await
}

async fn copy_telling(
    from: &Place,
    to: &Place,
    progress: impl FnMut(CopyProgress) + Send,
) -> Result<CopyReport, LedgerError> {
    let clock = Arc::new(TestClock::default()) as Arc<dyn Clock>;
    let (from, to) = (from.options(Purpose::Serve), to.options(Purpose::Serve));
    Ledger::copy(&from, &to, clock, progress).await
}

/// Copies a filled ledger and opens the target in its place.
async fn moved(filled: Filled, to: Store) -> Filled {
    let Filled { test, account, .. } = filled;
    let target = Place::new(to).await;
    let mut last = None;
    let report = copy_telling(test.place(), &target, |progress| last = Some(progress)).await;
    let report = report.expect("it is copied");
    let rows: u64 = report.tables.iter().map(|table| table.copied).sum();
    assert!(report.tables.iter().all(|table| table.copied > 0 && table.verified == table.copied));
    let last = last.expect("progress is told");
    assert_eq!((last.rows_done, last.rows_total), (2 * rows, 2 * rows));

    let clock = Arc::clone(&test.clock);
    let source = test.reopen(Purpose::Visit).await;
    let ledger = open(&target, Purpose::Serve, &clock).await.expect("the target opens");
    assert_eq!(everything(&ledger, &account).await, everything(&source.ledger, &account).await);
    Filled { test: TestLedger::of(ledger, clock, target), account, ..filled }
}

/// What is read, decided and used afterwards is as it would have been at the source.
async fn check_goes_on(filled: &Filled) {
    let Filled { test, used, cancelled, won_last, open, .. } = filled;
    let query = EventQuery { limit: 100, ..EventQuery::default() };
    for event in test.ledger.events(&query).await.expect("the ledger answers") {
        let audit = test.ledger.audit(event.id).await.expect("an answer").expect("the event");
        assert!(audit.pass(), "{audit:?}");
    }
    let again = test.claim(open, &["last-2", "new"]).await;
    assert_eq!(again[0], Decision::AlreadyClaimed(won_last[1].clone()));
    let [new] = <[_; 1]>::try_from(won(again[1..].to_vec())).expect("one");
    assert_eq!(new.sequence.get(), won_last[2].sequence.get() + 1);
    for coupon in won_last {
        let found = test.ledger.issued_coupon_by_code(coupon.code).await.expect("an answer");
        assert_eq!(found.as_ref(), Some(coupon));
    }
    let kims = test.ledger.issued_coupon_claimed(open.id, &user("kim")).await.expect("an answer");
    let kims = kims.expect("kim has one");
    assert_eq!(redeem(test, &kims, "A-1").await, Redeemed::Same(used.clone()));
    assert_eq!(cancel(&test.ledger, cancelled.id).await, *cancelled);

    let shown = ShownToken { first_hash: REFRESH[0], hash: [3; 32] };
    let rotated = test.ledger.rotate_session(shown, [4; 32], |_| Ok::<_, ()>(())).await;
    let rotated = rotated.expect("the ledger answers");
    assert!(matches!(rotated, Rotation::Rotated(..)), "{rotated:?}");

    let mut numbers = test.ledger.events(&query).await.expect("the ledger answers");
    numbers.sort_unstable_by_key(|event| event.no);
    let highest = numbers.last().expect("events").no;
    assert!(test.event(1).await.no > highest, "a new event has a number of its own");
}

fn journalled(test: &TestLedger) -> i64 {
    let db = rusqlite::Connection::open(test.path()).expect("the file opens");
    db.query_row("SELECT count(*) FROM claim_journal", [], |row| row.get(0)).expect("a count")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_goes_from_sqlite_to_postgres_and_back() {
    let filled = fill(Store::Sqlite).await;
    assert!(journalled(&filled.test) > 0, "something is unsettled");
    let there = moved(filled, Store::Postgres).await;
    there.test.ledger.close().await.expect("it closes");
    let back = moved(there, Store::Sqlite).await;
    check_goes_on(&back).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_from_sqlite_goes_on_on_postgres() {
    check_goes_on(&moved(fill(Store::Sqlite).await, Store::Postgres).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_from_sqlite_goes_on_on_mariadb() {
    check_goes_on(&moved(fill(Store::Sqlite).await, Store::MariaDb).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_from_mariadb_goes_on_on_postgres() {
    check_goes_on(&moved(fill(Store::MariaDb).await, Store::Postgres).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_with_rows_is_refused_and_one_that_is_only_migrated_is_not() {
    let source = TestLedger::new(Store::Sqlite).await.settle().await;
    for store in [Store::Sqlite, Store::Postgres, Store::MariaDb] {
        let target = Place::new(store).await;
        Ledger::migrate(&target.options(Purpose::Serve)).await.expect("it is migrated");
        target.execute("INSERT INTO secrets (name, secret) VALUES ('other', '32 bytes')").await;
        let refused = copy(source.place(), &target).await;
        let Err(LedgerError::CopyTargetNotEmpty { table, .. }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(table, "secrets");
        target.execute("DELETE FROM secrets").await;
        let report = copy(source.place(), &target).await.expect("it is copied");
        assert_eq!(report.tables[0].copied, 1, "the key of the codes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_in_use_is_neither_source_nor_target() {
    let serving = TestLedger::new(Store::Sqlite).await;
    let other = Place::new(Store::Sqlite).await;
    let refused = copy(serving.place(), &other).await;
    assert!(matches!(refused, Err(LedgerError::CopyInUse { .. })), "{refused:?}");
    assert!(!other.path().exists(), "no target is made");
    let source = TestLedger::new(Store::Sqlite).await.settle().await;
    let refused = copy(source.place(), serving.place()).await;
    assert!(matches!(refused, Err(LedgerError::CopyInUse { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_ledger_is_not_copied_to_itself_and_a_missing_one_is_not_made() {
    let (one, other) = (Place::new(Store::Sqlite).await, Place::new(Store::Sqlite).await);
    let same = copy(&one, &one).await;
    assert!(matches!(same, Err(LedgerError::CopySame { .. })), "{same:?}");
    let missing = copy(&one, &other).await;
    assert!(matches!(missing, Err(LedgerError::Io { .. })), "{missing:?}");
    assert!(!one.path().exists() && !other.path().exists());
    let database = Place::new(Store::Postgres).await;
    let same = copy(&database, &database).await;
    assert!(matches!(same, Err(LedgerError::CopySame { .. })), "{same:?}");
}

/// The target changes what it is given, as a trigger may, or a column that is too narrow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_difference_is_named_and_nothing_is_kept() {
    let source = TestLedger::new(Store::Sqlite).await;
    let event = source.event(10).await;
    won(source.claim(&event, &["kim", "lee", "park"]).await);
    let source = source.settle().await;
    for (store, trigger, without) in [
        (Store::Sqlite, ON_SQLITE, "DROP TRIGGER other"),
        (Store::Postgres, ON_POSTGRES, "DROP TRIGGER other ON issued_coupons"),
        (Store::MariaDb, ON_MARIADB, "DROP TRIGGER other"),
    ] {
        let target = Place::new(store).await;
        Ledger::migrate(&target.options(Purpose::Serve)).await.expect("it is migrated");
        target.execute(trigger).await;
        let copied = copy(source.place(), &target).await;
        let Err(LedgerError::CopyDiffers { table, row, what }) = copied else {
            panic!("{copied:?}")
        };
        assert_eq!((table, what.as_str()), ("issued_coupons", "has another expires_at"));
        assert_eq!(row, format!("{}, 2", event.no.get()));
        target.execute(without).await;
        copy(source.place(), &target).await.expect("nothing was kept");
    }
}

const ON_SQLITE: &str = "
    CREATE TRIGGER other AFTER INSERT ON issued_coupons WHEN NEW.sequence = 2 BEGIN
        UPDATE issued_coupons SET expires_at = expires_at + 1 WHERE id = NEW.id;
    END";
const ON_POSTGRES: &str = "
    CREATE FUNCTION other() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        NEW.expires_at := NEW.expires_at + 1;
        RETURN NEW;
    END $$;
    CREATE TRIGGER other BEFORE INSERT ON issued_coupons FOR EACH ROW
        WHEN (NEW.sequence = 2) EXECUTE FUNCTION other()";
const ON_MARIADB: &str = "
    CREATE TRIGGER other BEFORE INSERT ON issued_coupons FOR EACH ROW
        SET NEW.expires_at = NEW.expires_at + (NEW.sequence = 2)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_issues_meanwhile_is_found_out() {
    let source = TestLedger::new(Store::Postgres).await;
    let event = source.event(10).await;
    won(source.claim(&event, &["kim"]).await);
    let target = Place::new(Store::Sqlite).await;
    let mut claimed = false;
    let copied = copy_telling(source.place(), &target, |_| {
        if !std::mem::replace(&mut claimed, true) {
            let claim = source.claim(&event, &["late"]);
            let runtime = tokio::runtime::Handle::current();
            won(tokio::task::block_in_place(|| runtime.block_on(claim)));
        }
    });
    let copied = copied.await;
    let Err(LedgerError::CopySourceChanged { table, .. }) = copied else { panic!("{copied:?}") };
    assert_eq!(table, "issued_coupons");
    let report = copy(source.place(), &target).await.expect("nothing was kept");
    assert_eq!(report.tables[5].copied, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_cut_off_leaves_nothing() {
    let source = fill(Store::Sqlite).await.test;
    for store in [Store::Sqlite, Store::Postgres, Store::MariaDb] {
        let target = Place::new(store).await;
        let clock = Arc::new(TestClock::default()) as Arc<dyn Clock>;
        let (from, to) = (source.place().options(Purpose::Serve), target.options(Purpose::Serve));
        let cut = tokio::spawn(async move {
            Ledger::copy(&from, &to, clock, |progress| {
                assert!(progress.table != "issued_coupons", "cut off");
            })
            .await
        });
        assert!(cut.await.is_err_and(|error| error.is_panic()));
        let report = loop {
            match copy(source.place(), &target).await {
                // What was cut off may hold the locks for a moment longer.
                Err(LedgerError::CopyInUse { .. }) => tokio::task::yield_now().await,
                copied => break copied.expect("nothing was kept"),
            }
        };
        assert!(report.tables.iter().all(|table| table.verified > 0));
    }
}
