//! Sessions, and refresh tokens that are used once.

use std::sync::Arc;

use firstcome_core::{AccountId, Clock, Timestamp};
use firstcome_ledger::{
    AccountRecord, Ledger, LedgerOptions, NewSession, Purpose, Rotation, ServerClock,
    SessionRecord, ShownToken,
};
use firstcome_testkit::proxy::{CommitFault, Proxy};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::accounts::account;
use crate::support::{HOUR, OPENS_AT, Store, TestLedger, on_every_server, on_every_store};

mod on_stores {
    use super::*;

    on_every_store! {
        a_session_lives_until_it_expires_or_is_revoked,
        a_session_is_revoked_by_its_account_alone,
        a_new_session_sweeps_out_the_ended_ones_of_its_account_alone,
        a_session_of_no_account_is_not_made,
        a_token_is_in_force_until_the_next_takes_its_place,
        a_token_that_was_in_force_ends_its_session,
        what_is_not_permitted_changes_nothing,
        a_token_of_a_session_that_ended_or_never_was_is_none,
        of_many_that_show_one_token_one_has_the_next,
    }
}

mod on_servers {
    use super::*;

    on_every_server! {
        of_two_processes_that_show_one_token_one_has_the_next,
        a_rotation_whose_commit_has_no_answer_is_looked_up,
    }
}

fn new_session(account_id: AccountId, secret: u8) -> NewSession {
    let expires_at = Timestamp::from_micros(OPENS_AT + HOUR);
    NewSession { id: Uuid::now_v7(), account_id, refresh_hash: [secret; 32], expires_at }
}

/// A session of a new account, whose first token is this.
async fn session(test: &TestLedger, secret: u8) -> (AccountRecord, SessionRecord) {
    let account = account(test, "kim@example.com").await;
    let made = test.ledger.create_session(new_session(account.id, secret)).await;
    (account, made.expect("an answer"))
}

async fn found(test: &TestLedger, first: u8) -> Option<SessionRecord> {
    test.ledger.session_by_refresh_hash(&[first; 32]).await.expect("an answer")
}

/// Shows a token of the family, with another in mind.
async fn rotate(ledger: &Ledger, first: u8, shown: u8, next: u8) -> Rotation<String, String> {
    let token = ShownToken { first_hash: [first; 32], hash: [shown; 32] };
    let permit = |account: &AccountRecord| Ok(account.scope.clone());
    ledger.rotate_session(token, [next; 32], permit).await.expect("an answer")
}

async fn a_session_lives_until_it_expires_or_is_revoked(store: Store) {
    let test = TestLedger::new(store).await;
    let (account, made) = session(&test, 1).await;
    assert_eq!(found(&test, 1).await, Some(made.clone()));
    assert_eq!(found(&test, 2).await, None);
    assert!(made.is_live(Timestamp::from_micros(OPENS_AT + HOUR - 1)));
    assert!(!made.is_live(made.expires_at));

    test.clock.set(OPENS_AT + 1);
    test.ledger.revoke_session(made.id, account.id).await.expect("an answer");
    test.clock.set(OPENS_AT + 2);
    let again = test.ledger.revoke_session(made.id, account.id).await;
    again.expect("the second time changes nothing");
    let revoked = found(&test, 1).await.expect("the session");
    assert_eq!(revoked.revoked_at, Some(Timestamp::from_micros(OPENS_AT + 1)));
    assert!(!revoked.is_live(Timestamp::from_micros(OPENS_AT)));
}

async fn a_session_is_revoked_by_its_account_alone(store: Store) {
    let test = TestLedger::new(store).await;
    let (kim, made) = session(&test, 1).await;
    let lee = account(&test, "lee@example.com").await;
    test.ledger.revoke_session(made.id, lee.id).await.expect("an answer");
    test.ledger.revoke_session(Uuid::now_v7(), kim.id).await.expect("an answer");
    assert_eq!(found(&test, 1).await, Some(made));
}

async fn a_new_session_sweeps_out_the_ended_ones_of_its_account_alone(store: Store) {
    let test = TestLedger::new(store).await;
    let (kim, lee) = (account(&test, "kim@a.example").await, account(&test, "lee@a.example").await);
    for (holder, secret) in [(&kim, 1), (&kim, 2), (&lee, 3)] {
        let made = test.ledger.create_session(new_session(holder.id, secret)).await;
        let made = made.expect("an answer");
        if secret == 1 {
            test.ledger.revoke_session(made.id, kim.id).await.expect("an answer");
        }
    }
    let kept = async |secret| found(&test, secret).await.is_some();
    assert!(!kept(1).await && kept(2).await && kept(3).await);
    test.clock.set(OPENS_AT + HOUR);
    let expires_at = Timestamp::from_micros(OPENS_AT + 2 * HOUR);
    let next = NewSession { expires_at, ..new_session(kim.id, 4) };
    test.ledger.create_session(next).await.expect("an answer");
    assert!(!kept(2).await && kept(3).await && kept(4).await);
}

async fn a_session_of_no_account_is_not_made(store: Store) {
    let test = TestLedger::new(store).await;
    let nobody = AccountId::from_uuid(Uuid::now_v7());
    assert!(test.ledger.create_session(new_session(nobody, 1)).await.is_err());
    assert_eq!(found(&test, 1).await, None);
}

async fn a_token_is_in_force_until_the_next_takes_its_place(store: Store) {
    let test = TestLedger::new(store).await;
    let (account, made) = session(&test, 1).await;
    for (shown, next) in [(1, 2), (2, 3), (3, 4)] {
        let rotated = rotate(&test.ledger, 1, shown, next).await;
        assert_eq!(rotated, Rotation::Rotated(made.clone(), "user".to_owned()));
    }
    assert_eq!(found(&test, 1).await, Some(made.clone()), "it is the same session");
    test.ledger.set_scope(account.id, "user admin".to_owned()).await.expect("an answer");
    let rotated = rotate(&test.ledger, 1, 4, 5).await;
    assert_eq!(rotated, Rotation::Rotated(made, "user admin".to_owned()));
}

async fn a_token_that_was_in_force_ends_its_session(store: Store) {
    let test = TestLedger::new(store).await;
    let kim = account(&test, "kim@example.com").await;
    // The first, one between, and one that only names its family.
    for (family, old) in [(10, 10), (20, 21), (30, 99)] {
        let made = test.ledger.create_session(new_session(kim.id, family)).await;
        let made = made.expect("an answer");
        for (shown, next) in [(family, family + 1), (family + 1, family + 2)] {
            let rotated = rotate(&test.ledger, family, shown, next).await;
            assert!(matches!(rotated, Rotation::Rotated(..)), "{rotated:?}");
        }
        let moment = OPENS_AT + i64::from(family);
        test.clock.set(moment);
        assert_eq!(rotate(&test.ledger, family, old, 5).await, Rotation::Reused(made));
        let revoked_at = found(&test, family).await.expect("the session").revoked_at;
        assert_eq!(revoked_at, Some(Timestamp::from_micros(moment)));
        for shown in [family, family + 1, family + 2] {
            assert_eq!(rotate(&test.ledger, family, shown, 5).await, Rotation::Ended);
        }
    }
}

async fn what_is_not_permitted_changes_nothing(store: Store) {
    let test = TestLedger::new(store).await;
    let (_, made) = session(&test, 1).await;
    let token = ShownToken { first_hash: [1; 32], hash: [1; 32] };
    let permit = |_: &AccountRecord| Err::<(), _>("too much");
    let refused = test.ledger.rotate_session(token, [2; 32], permit).await.expect("an answer");
    assert_eq!(refused, Rotation::Refused("too much"));
    let rotated = rotate(&test.ledger, 1, 1, 2).await;
    assert_eq!(rotated, Rotation::Rotated(made, "user".to_owned()));
}

async fn a_token_of_a_session_that_ended_or_never_was_is_none(store: Store) {
    let test = TestLedger::new(store).await;
    let (account, made) = session(&test, 1).await;
    assert_eq!(rotate(&test.ledger, 9, 9, 2).await, Rotation::Ended);
    assert_eq!(rotate(&test.ledger, 9, 1, 2).await, Rotation::Ended);
    test.clock.set(OPENS_AT + HOUR);
    assert_eq!(rotate(&test.ledger, 1, 1, 2).await, Rotation::Ended);
    // What is shown too late is no theft: nothing is revoked for it.
    assert_eq!(rotate(&test.ledger, 1, 7, 2).await, Rotation::Ended);
    assert_eq!(found(&test, 1).await.expect("the session").revoked_at, None);
    test.clock.set(OPENS_AT);
    test.ledger.revoke_session(made.id, account.id).await.expect("an answer");
    assert_eq!(rotate(&test.ledger, 1, 1, 2).await, Rotation::Ended);
}

/// Shows one token often at once, each time with another in mind; whose is in force then.
async fn race(ledgers: &[Ledger]) -> u8 {
    let mut shown = JoinSet::new();
    for next in 100..116_u8 {
        let ledger = ledgers[usize::from(next) % ledgers.len()].clone();
        shown.spawn(async move { (next, rotate(&ledger, 1, 1, next).await) });
    }
    let (mut won, mut reused, mut ended) = (Vec::new(), 0, 0);
    for (next, outcome) in shown.join_all().await {
        match outcome {
            Rotation::Rotated(..) => won.push(next),
            Rotation::Reused(_) => reused += 1,
            Rotation::Ended => ended += 1,
            Rotation::Refused(refusal) => panic!("{refusal}"),
        }
    }
    assert_eq!((won.len(), reused, ended), (1, 1, 14), "{won:?}");
    won[0]
}

async fn of_many_that_show_one_token_one_has_the_next(store: Store) {
    let test = TestLedger::new(store).await;
    let _ = session(&test, 1).await;
    let won = race(std::slice::from_ref(&test.ledger)).await;
    assert_eq!(rotate(&test.ledger, 1, won, 2).await, Rotation::Ended);
}

async fn of_two_processes_that_show_one_token_one_has_the_next(store: Store) {
    let test = TestLedger::new(store).await;
    let _ = session(&test, 1).await;
    let another = test.another().await;
    let won = race(&[test.ledger.clone(), another.clone()]).await;
    assert_eq!(rotate(&another, 1, won, 2).await, Rotation::Ended);
}

/// The reply that is lost tells of a rotation, the request that is lost asks for none.
async fn a_rotation_whose_commit_has_no_answer_is_looked_up(store: Store) {
    let test = TestLedger::new(store).await;
    let url = test.place().database().url();
    let authority = url.split_once('@').and_then(|(_, rest)| rest.split_once('/'));
    let proxy = Proxy::start(authority.expect("an address").0).await;
    let mut options = LedgerOptions::parse_url(&proxy.url(url), Purpose::Serve).expect("a URL");
    options.server_clock = ServerClock::Process;
    options.limits = test.place().options(Purpose::Serve).limits;
    let clock = Arc::clone(&test.clock) as Arc<dyn Clock>;
    let proxied = Ledger::open(options, clock).await.expect("the proxy leads there");
    let (_, made) = session(&test, 1).await;

    proxy.on_commit(CommitFault::LoseReply, 0, 1);
    let rotated = rotate(&proxied, 1, 1, 2).await;
    assert_eq!(rotated, Rotation::Rotated(made.clone(), "user".to_owned()));
    assert_eq!(proxy.hits(), 1);

    proxy.on_commit(CommitFault::LoseRequest, 0, 1);
    let token = ShownToken { first_hash: [1; 32], hash: [2; 32] };
    let permit = |_: &AccountRecord| Ok::<_, ()>(());
    let lost = proxied.rotate_session(token, [3; 32], permit).await;
    assert!(lost.is_err(), "{lost:?}");
    let rotated = rotate(&test.ledger, 1, 2, 3).await;
    assert_eq!(rotated, Rotation::Rotated(made, "user".to_owned()));
}
