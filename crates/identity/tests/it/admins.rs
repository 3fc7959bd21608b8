//! The first admin, and those that an operator adds.

use firstcome_identity::{AdminChange, FirstAdmin, IdentityError};

use crate::support::{EMAIL, PASSWORD, TestIdentity, email, password};

const ADMIN: &str = "admin@localhost";

impl TestIdentity {
    async fn add_admin(&self, password_text: &str) -> Result<AdminChange, IdentityError> {
        self.identity.add_admin(email(EMAIL), password(password_text)).await
    }

    async fn first_admin(&self, given: Option<&str>) -> Result<FirstAdmin, IdentityError> {
        self.identity.first_admin(email(ADMIN), given.map(password)).await
    }

    async fn scope_at_log_in(&self, email: &str, password: &str) -> String {
        self.log_in(email, password).await.expect(200).member_text("/scope")
    }
}

#[tokio::test]
async fn where_there_is_no_admin_one_is_made_with_a_new_password() {
    let test = TestIdentity::new().await;
    let _ = test.sign_up(EMAIL, PASSWORD).await.expect(201);
    let first = test.first_admin(None).await.expect("an admin");
    let FirstAdmin::Generated { email, password } = first else { panic!("{first:?}") };
    assert!(password.expose().len() >= 20);
    let scope = test.scope_at_log_in(email.as_str(), password.expose()).await;
    assert_eq!((email.as_str(), scope.as_str()), (ADMIN, "user admin"));
    let second = test.first_admin(None).await.expect("an answer");
    assert!(matches!(second, FirstAdmin::Existing), "{second:?}");
}

#[tokio::test]
async fn a_configured_admin_is_made_beside_others_and_then_left_alone() {
    let test = TestIdentity::new().await;
    test.add_admin("another admin").await.expect("an admin");
    let first = test.first_admin(Some("configured")).await.expect("an admin");
    assert!(matches!(first, FirstAdmin::Configured(AdminChange::Created)), "{first:?}");
    for (given, same) in [("configured", true), ("configured anew", false)] {
        let first = test.first_admin(Some(given)).await.expect("an answer");
        let FirstAdmin::Configured(change) = first else { panic!("{first:?}") };
        assert_eq!(change, AdminChange::Unchanged { same_password: same });
    }
    assert_eq!(test.scope_at_log_in(ADMIN, "configured").await, "user admin");
    let anew = test.log_in(ADMIN, "configured anew").await;
    let _ = anew.expect_problem(401, "invalid_credentials");
}

#[tokio::test]
async fn an_account_becomes_an_admin_for_its_own_password_only() {
    let test = TestIdentity::new().await;
    let _ = test.sign_up(EMAIL, PASSWORD).await.expect(201);
    let refused = test.add_admin("a guess, or another's").await;
    let Err(IdentityError::AdminNotProven { email }) = refused else { panic!("{refused:?}") };
    assert_eq!(email.as_str(), EMAIL);
    assert_eq!(test.scope_at_log_in(EMAIL, PASSWORD).await, "user");
    assert_eq!(test.add_admin(PASSWORD).await.expect("proven"), AdminChange::Promoted);
    assert_eq!(test.scope_at_log_in(EMAIL, PASSWORD).await, "user admin");
}

#[tokio::test]
async fn a_stranger_who_took_the_first_admins_address_is_not_promoted() {
    let test = TestIdentity::new().await;
    let _ = test.sign_up(ADMIN, PASSWORD).await.expect(201);
    for given in [None, Some("the operator's")] {
        let refused = test.first_admin(given).await;
        assert!(matches!(refused, Err(IdentityError::AdminNotProven { .. })), "{refused:?}");
    }
    assert_eq!(test.scope_at_log_in(ADMIN, PASSWORD).await, "user");
    assert!(!test.ledger.any_admin().await.expect("an answer"));
}
