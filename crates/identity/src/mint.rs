//! Access tokens: made for a session, for a client, and for load tests from the command line.

use firstcome_core::{ClientId, Invalid, Timestamp, UserId};
use firstcome_web::{AccessClaims, Scopes};
use uuid::Uuid;

use crate::{IdentityConfig, KeyRing};

/// Makes access tokens; it needs nothing but the keys, so it works beside a running server.
#[derive(Debug)]
pub struct Mint {
    keys: KeyRing,
    issuer: String,
    audience: String,
}

/// What a token grants, and to whom.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Whose token it is.
    pub subject: UserId,
    /// What it permits.
    pub scope: Scopes,
    /// The session that it is issued in.
    pub session: Option<Uuid>,
}

impl Mint {
    /// Signs with the one of these keys whose turn it is, for the issuer and audience of the
    /// configuration.
    #[must_use]
    pub fn new(keys: impl Into<KeyRing>, config: &IdentityConfig) -> Self {
        let keys = keys.into();
        Self { keys, issuer: config.issuer.clone(), audience: config.audience.clone() }
    }

    /// A new access token.
    #[must_use]
    pub fn access_token(&self, grant: Grant, now: Timestamp, lifetime_seconds: u32) -> String {
        let id = Uuid::now_v7().to_string();
        self.access_token_with_id(grant, &id, now, lifetime_seconds)
    }

    pub(crate) fn access_token_with_id(
        &self,
        grant: Grant,
        id: &str,
        now: Timestamp,
        lifetime_seconds: u32,
    ) -> String {
        self.keys.signer(now).sign(&self.claims(grant, id, now, lifetime_seconds))
    }

    /// A new access token of a client, for its own sake.
    pub(crate) fn client_token(
        &self,
        client: ClientId,
        scope: Scopes,
        now: Timestamp,
        lifetime_seconds: u32,
    ) -> String {
        let (subject, id) = (UserId::from(client), Uuid::now_v7().to_string());
        let grant = Grant { subject, scope, session: None };
        let claims = self.claims(grant, &id, now, lifetime_seconds);
        self.keys.signer(now).sign(&AccessClaims { client_id: Some(client), ..claims })
    }

    fn claims(
        &self,
        grant: Grant,
        id: &str,
        now: Timestamp,
        lifetime_seconds: u32,
    ) -> AccessClaims {
        let iat = now.as_micros() / 1_000_000;
        AccessClaims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: grant.subject,
            exp: iat + i64::from(lifetime_seconds),
            iat,
            jti: id.to_owned(),
            scope: grant.scope,
            sid: grant.session.map(|id| id.to_string()),
            client_id: None,
        }
    }

    /// Tokens for a load test: one for `name`, or with a count one for each of `name-1` to
    /// `name-count`.
    ///
    /// # Errors
    /// When a name is no user id.
    pub fn load_test_tokens(
        &self,
        name: &str,
        count: Option<u32>,
        scope: Scopes,
        now: Timestamp,
        lifetime_seconds: u32,
    ) -> Result<impl Iterator<Item = String>, Invalid> {
        let user = move |number: Option<u32>| match number {
            Some(number) => UserId::parse(&format!("{name}-{number}")),
            None => UserId::parse(name),
        };
        // The last name is the longest: when it is a user id, all of them are.
        user(count)?;
        let numbers = match count {
            Some(count) => (1..=count).map(Some as fn(u32) -> Option<u32>),
            None => (0..=0).map((|_| None) as fn(u32) -> Option<u32>),
        };
        Ok(numbers.map(move |number| {
            let subject = user(number).expect("shorter than the last name, which was checked");
            self.access_token(Grant { subject, scope, session: None }, now, lifetime_seconds)
        }))
    }
}

/// Reads a scope as it is asked for: words apart by single spaces, each one of ours.
///
/// # Errors
/// When a word is unknown, or there is none.
pub fn parse_scope(text: &str) -> Result<Scopes, Invalid> {
    text.split(' ').try_fold(Scopes::default(), |scopes, word| match Scopes::parse(word) {
        none if none == Scopes::default() => {
            Err(Invalid::new("must be some of user, admin and redeem, with a space between"))
        }
        known => Ok(scopes.and(known)),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use firstcome_core::Clock;
    use firstcome_testkit::ManualClock;
    use firstcome_web::{TokenKey, Verifier};

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_795_741_200_999_999);

    fn mint() -> Mint {
        Mint::new(TokenKey::new(&[7; 32]), &IdentityConfig::default())
    }

    fn users(name: &str, count: Option<u32>) -> Vec<String> {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
        let verifier = Verifier::new(&TokenKey::new(&[7; 32]), "firstcome", "firstcome", clock);
        let mint = mint();
        let tokens = mint.load_test_tokens(name, count, Scopes::USER, NOW, 60).expect("names");
        let verified = tokens.map(|token| verifier.verify(&token).expect("a good token"));
        let verified: Vec<_> = verified.collect();
        let ids: HashSet<_> = verified.iter().map(|token| &token.jti).collect();
        assert_eq!(ids.len(), verified.len(), "every token has an id of its own");
        assert!(verified.iter().all(|token| token.scope == Scopes::USER));
        verified.iter().map(|token| token.subject.as_str().to_owned()).collect()
    }

    #[test]
    fn load_test_tokens_are_for_the_name_or_for_numbered_names() {
        assert_eq!(users("kim", None), ["kim"]);
        assert_eq!(users("kim", Some(1)), ["kim-1"]);
        assert_eq!(users("kim", Some(3)), ["kim-1", "kim-2", "kim-3"]);
    }

    #[test]
    fn a_name_that_is_no_user_id_is_refused_before_any_token() {
        let mint = mint();
        let refused =
            |name: &str, count| mint.load_test_tokens(name, count, Scopes::USER, NOW, 60).is_err();
        assert!(refused("", None));
        assert!(refused("김철수", Some(3)));
        assert!(refused("a b", None));
        assert!(!refused(&"a".repeat(126), Some(9)));
        assert!(refused(&"a".repeat(126), Some(10)));
    }

    #[test]
    fn a_scope_has_known_words_only() {
        assert_eq!(parse_scope("user"), Ok(Scopes::USER));
        assert_eq!(parse_scope("admin user"), Ok(Scopes::USER.and(Scopes::ADMIN)));
        for text in ["", " ", "user ", "user  admin", "User", "root", "user,admin"] {
            assert!(parse_scope(text).is_err(), "{text:?}");
        }
    }
}
