//! The audit: passes what is sound, and names what is not.

use firstcome_ledger::{AuditRecord, EventRecord, Purpose};

use crate::support::{Store, TestLedger, on_every_store};

on_every_store! {
    a_sound_event_passes_settled_and_with_its_counts,
    an_event_without_winners_passes_and_an_unknown_one_has_no_audit,
    an_audit_beside_claims_sees_one_moment,
    every_winner_is_told_to_who_asks_for_the_winners_settled_or_not,
    what_was_tampered_with_is_named,
}

async fn audit(test: &TestLedger, event: &EventRecord) -> AuditRecord {
    test.ledger.audit(event.id).await.expect("an answer").expect("the event is there")
}

fn failed(audit: &AuditRecord) -> Vec<&'static str> {
    audit.checks.iter().filter(|check| !check.pass).map(|check| check.name).collect()
}

async fn a_sound_event_passes_settled_and_with_its_counts(store: Store) {
    let test = TestLedger::new(store).await;
    let (event, other) = (test.event(3).await, test.event(5).await);
    test.claim(&event, &["kim", "lee", "kim", "park", "choi"]).await;
    test.claim(&other, &["kim"]).await;
    let found = audit(&test, &event).await;
    assert_eq!(failed(&found), [""; 0]);
    assert!(found.pass());
    assert_eq!((found.quantity, found.issued, found.rows), (3, 3, 3));
    assert_eq!((found.distinct_users, found.max_sequence, found.pending), (3, 3, 0));
    assert_eq!(found.checks.len(), if store == Store::Sqlite { 7 } else { 8 });
    assert_eq!(test.ledger.integrity_faults().await.expect("an answer"), [""; 0]);
}

async fn an_event_without_winners_passes_and_an_unknown_one_has_no_audit(store: Store) {
    let test = TestLedger::new(store).await;
    let event = test.event(3).await;
    let found = audit(&test, &event).await;
    assert!(found.pass());
    assert_eq!((found.rows, found.max_sequence), (0, 0));
    let unknown = firstcome_core::EventId::from_uuid(uuid::Uuid::now_v7());
    assert_eq!(test.ledger.audit(unknown).await.expect("an answer"), None);
}

#[tokio::test]
async fn a_visitor_counts_pending_winners_among_the_rows_and_moves_none() {
    let test = TestLedger::new(Store::Sqlite).await;
    let event = test.event(9).await;
    test.claim(&event, &["settled-1", "settled-2"]).await;
    assert!(audit(&test, &event).await.pass());
    let test = test.reopen(Purpose::Visit).await;
    test.claim(&event, &["pending-3", "pending-4", "pending-5"]).await;
    for _ in 0..2 {
        let found = audit(&test, &event).await;
        assert_eq!(failed(&found), [""; 0]);
        assert_eq!((found.issued, found.rows, found.distinct_users), (5, 5, 5));
        assert_eq!((found.max_sequence, found.pending), (5, 3));
    }
}

async fn an_audit_beside_claims_sees_one_moment(store: Store) {
    let test = TestLedger::new(store).await;
    let event = test.event(4_000).await;
    let ledger = test.ledger.clone();
    let id = event.id;
    let drop = tokio::spawn(async move {
        for batch in 0..20 {
            let claim = |user| firstcome_ledger::Claim {
                event_id: id,
                user_id: firstcome_core::UserId::parse(&format!("u-{batch}-{user}"))
                    .expect("a user id"),
            };
            ledger.claim((0..200).map(claim).collect()).await.expect("verdicts");
        }
    });
    while !drop.is_finished() {
        let found = audit(&test, &event).await;
        assert_eq!(failed(&found), [""; 0]);
        assert_eq!(found.rows % 200, 0, "an audit lies between two batches");
    }
    drop.await.expect("the claims were decided");
    assert_eq!(audit(&test, &event).await.rows, 4_000);
}

async fn every_winner_is_told_to_who_asks_for_the_winners_settled_or_not(store: Store) {
    let test = TestLedger::new(store).await;
    let (event, other) = (test.event(9).await, test.event(9).await);
    test.claim(&event, &["kim", "lee"]).await;
    test.ledger.audit(event.id).await.expect("settles");
    let test = test.reopen(Purpose::Visit).await;
    test.claim(&event, &["park"]).await;
    test.claim(&other, &["choi"]).await;
    let add = |winners: &mut std::collections::BTreeSet<String>, user: &str| {
        winners.insert(user.to_owned());
    };
    let winners = test.ledger.fold_winners(event.no, Default::default(), add).await;
    assert!(winners.expect("an answer").iter().eq(["kim", "lee", "park"]));
}

/// Each way in which rows can be wrong is found by its check.
async fn what_was_tampered_with_is_named(store: Store) {
    /// What an issued coupon is found by in the list of holders.
    const MOVES: [&str; 3] = ["SET sequence", "SET user_id", "SET id"];
    let cases: &[(&str, &[&str])] = &[
        ("UPDATE events SET quantity = 2", &["issued_within_quantity"]),
        ("UPDATE events SET issued = 2", &["rows_equal_issued"]),
        (
            "DELETE FROM issued_coupons WHERE sequence = 2",
            &["rows_equal_issued", "sequences_without_holes"],
        ),
        ("UPDATE issued_coupons SET sequence = 7 WHERE sequence = 3", &["sequences_without_holes"]),
        ("UPDATE issued_coupons SET user_id = 'x' WHERE sequence = 1", &["ids_match"]),
        ("UPDATE issued_coupons SET id = {uuid} WHERE sequence = 1", &["ids_match"]),
        (
            "DROP INDEX {holder} {on} issued_coupons
             ; UPDATE issued_coupons SET user_id = 'lee' WHERE sequence = 1",
            &["distinct_users_equal_rows", "ids_match"],
        ),
        (
            "UPDATE issued_coupons SET used_at = 1 WHERE sequence = 1",
            &["used_coupons_have_one_redemption"],
        ),
        (
            "INSERT INTO redemptions SELECT {uuid}, id, 'o-1', 2, 1, 'KRW', 1, NULL
             FROM issued_coupons WHERE sequence = 1",
            &["used_coupons_have_one_redemption"],
        ),
    ];
    for (tampering, expected) in cases {
        let test = TestLedger::new(store).await;
        let event = test.event(3).await;
        test.claim(&event, &["kim", "lee", "park"]).await;
        let mut expected = expected.to_vec();
        // On a server the list of holders has what was there before the tampering.
        if store != Store::Sqlite {
            test.listed().await;
            if MOVES.iter().any(|moves| tampering.contains(moves)) {
                expected.push("coupons_found_by_holder");
            }
        }
        assert!(audit(&test, &event).await.pass());
        test.tamper(tampering).await;
        let found = audit(&test, &event).await;
        assert_eq!(failed(&found), expected, "{tampering}");
        assert!(!found.pass());
    }
}
