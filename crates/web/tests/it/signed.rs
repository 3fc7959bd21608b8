//! Tokens that public keys check: the edges of their time, and our own beside a provider's.

use std::sync::Arc;

use firstcome_core::{Clock, Timestamp, UserId};
use firstcome_web::auth::{
    Algorithm, Issuer, IssuerKind, KeySet, Provider, PublicKey, Unverified, Verified,
};
use firstcome_web::{AccessClaims, Scopes, SigningAlgorithm, TokenKey, Verifier};

const NOW: i64 = 1_800_000_000;

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        // The last moment of the second.
        Timestamp::from_micros(NOW * 1_000_000 + 999_999)
    }
}

fn key(algorithm: SigningAlgorithm) -> TokenKey {
    let private = TokenKey::generate(algorithm).expect("random numbers");
    TokenKey::from_private(algorithm, &private).expect("the key")
}

fn claims(issuer: &str) -> AccessClaims {
    AccessClaims {
        iss: issuer.to_owned(),
        aud: "shop".to_owned(),
        sub: UserId::parse("kim").expect("a user id"),
        exp: NOW + 600,
        iat: NOW,
        client_id: None,
        jti: "token-1".to_owned(),
        scope: Scopes::USER,
        sid: Some("session-1".to_owned()),
    }
}

/// Accepts tokens of this key, as ours from `firstcome` and as a provider's from `elsewhere`.
fn verifier(key: &TokenKey) -> Verifier {
    let issuer = |issuer: &str, kind| Issuer {
        issuer: issuer.to_owned(),
        audience: "shop".to_owned(),
        algorithms: SigningAlgorithm::PUBLIC.to_vec(),
        keys: Arc::new(KeySet::of(vec![key.public_key().expect("a public half")])),
        kind,
    };
    let provider = Provider {
        types: vec!["at+jwt".to_owned()],
        scope_claim: "scope".to_owned(),
        grants: vec![("user".to_owned(), Scopes::ADMIN)],
        subject_prefix: "x:".to_owned(),
    };
    let issuers = vec![
        issuer("firstcome", IssuerKind::Ours),
        issuer("elsewhere", IssuerKind::Provider(provider)),
    ];
    Verifier::of_issuers(issuers, 1_000, Arc::new(Still))
}

fn is_good(verifier: &Verifier, token: &str) -> bool {
    match verifier.verify(token) {
        Ok(_) => true,
        Err(Unverified::Refused(_)) => false,
        Err(unknown) => panic!("{unknown:?}"),
    }
}

#[test]
fn each_algorithm_says_the_same() {
    for algorithm in [SigningAlgorithm::Rs256, SigningAlgorithm::Es256, SigningAlgorithm::EdDsa] {
        let key = key(algorithm);
        let verifier = verifier(&key);
        // Twice: what is remembered is what was read.
        for _ in 0..2 {
            let ours = verifier.verify(&key.sign(&claims("firstcome"))).expect("a good token");
            let Verified { subject, scope, jti, session } = ours;
            assert_eq!((subject.as_str(), scope, jti.as_str()), ("kim", Scopes::USER, "token-1"));
            assert_eq!(session.as_deref(), Some("session-1"));
            let theirs = verifier.verify(&key.sign(&claims("elsewhere"))).expect("a good token");
            assert_eq!((theirs.subject.as_str(), theirs.scope), ("x:kim", Scopes::ADMIN));
            assert_eq!(theirs.session, None, "a session of theirs is none of ours");
        }
        let other = self::key(algorithm);
        assert!(!is_good(&verifier, &other.sign(&claims("firstcome"))));
        assert!(!is_good(&verifier, &key.sign(&claims("nobody"))));
        let by_secret = TokenKey::new(&[7; 32]).sign(&claims("firstcome"));
        assert!(!is_good(&verifier, &by_secret));
    }
}

#[test]
fn a_token_is_good_for_sixty_seconds_beyond_its_time_and_no_longer() {
    let key = key(SigningAlgorithm::EdDsa);
    let verifier = verifier(&key);
    for issuer in ["firstcome", "elsewhere"] {
        for (exp, good) in
            [(NOW - 59, true), (NOW - 60, false), (NOW - 61, false), (i64::MIN, false)]
        {
            let token = key.sign(&AccessClaims { exp, ..claims(issuer) });
            assert_eq!(is_good(&verifier, &token), good, "{issuer} {exp}");
        }
    }
}

#[test]
fn a_key_is_only_for_the_algorithms_that_were_allowed() {
    let key = key(SigningAlgorithm::Es256);
    let jwk = key.jwk().expect("a public half");
    assert!(PublicKey::new(jwk.clone(), &[Algorithm::EdDsa, Algorithm::Rs256]).is_none());
    assert!(PublicKey::new(jwk, &[Algorithm::Es256]).is_some());
}
