use std::sync::{Arc, Barrier};

use firstcome_core::{Timestamp, UserId};
use firstcome_testkit::ManualClock;
use firstcome_web::{Scopes, SigningAlgorithm};
use tempfile::TempDir;

use super::file::FILE;
use super::*;
use crate::{Grant, IdentityConfig, Mint};

const START: Timestamp = Timestamp::from_micros(0);

fn load_or_create(data_dir: &Path) -> Result<KeyRing, KeyFileError> {
    open(data_dir, &IdentityConfig::default(), KeyUse::Sign, START)
}

/// A token that tells keys apart.
fn signed(key: KeyRing) -> String {
    let mint = Mint::new(key, &IdentityConfig::default());
    let grant = Grant {
        subject: UserId::parse("kim").expect("a user id"),
        scope: Scopes::USER,
        session: None,
    };
    let token = mint.access_token_with_id(grant, "1", Timestamp::from_micros(0), 60);
    token.rsplit_once('.').expect("a signature").1.to_owned()
}

#[test]
fn the_key_is_made_once_and_for_its_owner_alone() {
    let directory = TempDir::new().expect("a temporary directory");
    let data_dir = directory.path().join("not/yet");
    let made = load_or_create(&data_dir).expect("a new key");
    let read = load_or_create(&data_dir).expect("the key again");
    assert_eq!(signed(made), signed(read));
    let names: Vec<_> = std::fs::read_dir(&data_dir)
        .expect("the directory")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names, [FILE]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let metadata = std::fs::metadata(data_dir.join(FILE)).expect("the file");
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn two_deployments_have_two_keys() {
    let key = || {
        let directory = TempDir::new().expect("a temporary directory");
        signed(load_or_create(directory.path()).expect("a new key"))
    };
    assert_ne!(key(), key());
}

#[test]
fn processes_that_start_together_share_one_key() {
    let directory = TempDir::new().expect("a temporary directory");
    let start = Barrier::new(8);
    let mut signatures: Vec<String> = std::thread::scope(|scope| {
        let process = || {
            start.wait();
            signed(load_or_create(directory.path()).expect("a key"))
        };
        let processes: Vec<_> = (0..8).map(|_| scope.spawn(process)).collect();
        processes.into_iter().map(|process| process.join().expect("a signature")).collect()
    });
    signatures.dedup();
    assert_eq!(signatures.len(), 1);
    assert_eq!(std::fs::read_dir(directory.path()).expect("the directory").count(), 1);
}

#[test]
fn a_damaged_key_is_named_and_left_alone() {
    for damage in ["", "\n", "c2hvcnQ", "not base64!", &"A".repeat(44), &"A".repeat(1_000)] {
        let directory = TempDir::new().expect("a temporary directory");
        let path = directory.path().join(FILE);
        std::fs::write(&path, damage).expect("a file");
        let error = load_or_create(directory.path()).expect_err(damage);
        assert!(matches!(error, KeyFileError::Malformed { .. }), "{error}");
        assert!(error.to_string().contains("signing.key is damaged"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).expect("the file"), damage);
    }
}

#[test]
fn what_cannot_be_read_or_made_is_named() {
    let directory = TempDir::new().expect("a temporary directory");
    std::fs::create_dir(directory.path().join(FILE)).expect("a directory in its place");
    let error = load_or_create(directory.path()).expect_err("a directory is no file");
    assert!(error.to_string().starts_with("cannot read the signing key"), "{error}");

    let file = directory.path().join("file");
    std::fs::write(&file, "").expect("a file");
    let error = load_or_create(&file.join("data")).expect_err("a file is no directory");
    assert!(matches!(error, KeyFileError::Io { .. }), "{error}");
}

fn config(algorithm: SigningAlgorithm) -> IdentityConfig {
    IdentityConfig { algorithm, ..IdentityConfig::default() }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

const NOON: i64 = 1_800_000_000;

fn opened(directory: &TempDir, config: &IdentityConfig, seconds: i64) -> KeyRing {
    open(directory.path(), config, KeyUse::Sign, at(seconds)).expect("keys")
}

fn states_at(ring: &KeyRing, seconds: i64) -> Vec<KeyState> {
    ring.list(at(seconds)).into_iter().map(|key| key.state).collect()
}

#[test]
fn a_rotation_lets_everybody_learn_of_the_new_key_first() {
    // Both sign the same in the same way, so that signatures tell keys apart.
    for algorithm in [SigningAlgorithm::Hs256, SigningAlgorithm::EdDsa] {
        let (directory, config) = (TempDir::new().expect("a directory"), config(algorithm));
        let before = opened(&directory, &config, NOON).signer(at(NOON));
        let made = rotate(directory.path(), &config, None, at(NOON)).expect("a new key");
        assert_eq!(made.state, KeyState::Coming { signs_from: NOON + 65 });
        let ring = opened(&directory, &config, NOON);
        let signs_as_before =
            |seconds: i64| signed(ring.signer(at(seconds)).into()) == signed(before.clone().into());
        assert!(signs_as_before(NOON + 64) && !signs_as_before(NOON + 65));
        let until = match states_at(&ring, NOON + 65)[..] {
            [KeyState::Checking { until }, KeyState::Signing] => until,
            ref other => panic!("{other:?}"),
        };
        // What `firstcome token` may have signed before a record was kept lives for a day.
        let lifetime = if algorithm == SigningAlgorithm::Hs256 { 86_400 } else { 3_600 };
        assert_eq!(until, NOON + 65 + lifetime + 65);
        assert_eq!(ring.published(at(until - 1)).len(), if ring.is_public() { 2 } else { 0 });
        assert_eq!(ring.published(at(until)).len(), usize::from(ring.is_public()));
        // The next rotation takes out what has ended.
        rotate(directory.path(), &config, Some(0), at(until)).expect("a new key");
        assert_eq!(opened(&directory, &config, until).list(at(until)).len(), 2);
    }
}

#[test]
fn another_algorithm_comes_by_a_rotation() {
    let directory = TempDir::new().expect("a directory");
    let rs256 = opened(&directory, &config(SigningAlgorithm::Rs256), NOON);
    let ring = opened(&directory, &config(SigningAlgorithm::EdDsa), NOON);
    assert_eq!(ring.signer(at(NOON)).algorithm(), SigningAlgorithm::Rs256);
    assert_eq!(ring.signer(at(NOON + 65)).algorithm(), SigningAlgorithm::EdDsa);
    assert_eq!(ring.list(at(NOON))[0].id, rs256.list(at(NOON))[0].id);
    // A second start finds it done.
    assert_eq!(opened(&directory, &config(SigningAlgorithm::EdDsa), NOON).list(at(NOON)).len(), 2);
}

#[test]
fn a_secret_and_private_keys_live_side_by_side() {
    let directory = TempDir::new().expect("a directory");
    let secret = opened(&directory, &config(SigningAlgorithm::Hs256), NOON);
    let public = opened(&directory, &config(SigningAlgorithm::Es256), NOON);
    assert_eq!(states_at(&public, NOON), [KeyState::Signing]);
    assert!(public.is_public() && !secret.is_public());
    let again = opened(&directory, &config(SigningAlgorithm::Hs256), NOON);
    assert_eq!(signed(again), signed(secret));
    let looked = open(directory.path(), &config(SigningAlgorithm::Es256), KeyUse::Check, at(NOON));
    assert_eq!(looked.expect("keys").list(at(NOON))[0].id, public.list(at(NOON))[0].id);
}

#[test]
fn who_only_checks_makes_no_key() {
    let directory = TempDir::new().expect("a directory");
    let check = |purpose, algorithm| open(directory.path(), &config(algorithm), purpose, at(NOON));
    for (purpose, algorithm) in [
        (KeyUse::Check, SigningAlgorithm::Es256),
        (KeyUse::Look, SigningAlgorithm::Es256),
        (KeyUse::Look, SigningAlgorithm::Hs256),
    ] {
        let error = check(purpose, algorithm).expect_err("there is none");
        assert!(matches!(error, KeyFileError::NoKeyYet { .. }), "{error}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).expect("the directory").count(), 0);
    assert!(check(KeyUse::Check, SigningAlgorithm::Hs256).is_ok(), "a shared secret is made");
}

#[test]
fn the_record_allows_for_the_longest_token() {
    let (directory, config) =
        (TempDir::new().expect("a directory"), config(SigningAlgorithm::Es256));
    let week = 7 * 86_400;
    opened(&directory, &config, NOON).allow_for(&config, week).expect("the file");
    rotate(directory.path(), &config, Some(10), at(NOON)).expect("a new key");
    let ring = opened(&directory, &config, NOON);
    let until = NOON + 10 + i64::from(week) + 65;
    assert_eq!(states_at(&ring, NOON + 10)[0], KeyState::Checking { until });
    let longer = IdentityConfig { access_token_lifetime_seconds: 7_200, ..config };
    opened(&directory, &longer, NOON);
    rotate(directory.path(), &longer, Some(20), at(NOON)).expect("a new key");
    let ring = opened(&directory, &longer, NOON);
    assert_eq!(
        states_at(&ring, NOON + 20)[1],
        KeyState::Checking { until: NOON + 20 + 7_200 + 65 }
    );
}

#[test]
fn the_file_has_its_bound_and_keeps_what_it_has() {
    let (directory, config) =
        (TempDir::new().expect("a directory"), config(SigningAlgorithm::EdDsa));
    for _ in 1..KEYS_MAX {
        rotate(directory.path(), &config, Some(0), at(NOON)).expect("a new key");
    }
    let before = std::fs::read(directory.path().join(FILE)).expect("the file");
    let error = rotate(directory.path(), &config, Some(0), at(NOON)).expect_err("it is full");
    assert!(matches!(error, KeyFileError::Full { .. }), "{error}");
    assert_eq!(std::fs::read(directory.path().join(FILE)).expect("the file"), before);
}

#[test]
fn rotations_at_the_same_time_lose_no_key() {
    let (directory, config) =
        (TempDir::new().expect("a directory"), config(SigningAlgorithm::EdDsa));
    opened(&directory, &config, NOON);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| rotate(directory.path(), &config, None, at(NOON)).expect("a new key"));
        }
    });
    assert_eq!(opened(&directory, &config, NOON).list(at(NOON)).len(), 5);
}

#[test]
fn every_verifier_of_a_secret_hears_of_a_rotation() {
    let (directory, config) =
        (TempDir::new().expect("a directory"), config(SigningAlgorithm::Hs256));
    let clock: Arc<ManualClock> = Arc::new(ManualClock::new(at(NOON)));
    let ring = opened(&directory, &config, NOON);
    let verifier = || config.verifier(&ring, Vec::new(), Arc::clone(&clock) as _);
    let verifiers = [verifier(), verifier()];
    let token = |ring: &KeyRing, seconds: i64| {
        let subject = UserId::parse("kim").expect("a user id");
        let grant = Grant { subject, scope: Scopes::USER, session: None };
        Mint::new(ring.clone(), &config).access_token(grant, at(seconds), 86_400 * 30)
    };
    let old = token(&ring, NOON);
    rotate(directory.path(), &config, Some(0), at(NOON)).expect("a new key");
    ring.look(NOON).expect("the file");
    let new = token(&ring, NOON + 1);
    assert_ne!(old, new);
    let good = |token: &str| verifiers.each_ref().map(|verifier| verifier.verify(token).is_ok());
    assert_eq!((good(&old), good(&new)), ([true; 2], [true; 2]));
    // The old secret's last token could live for a day, although this one says a month.
    ring.look(NOON + 86_400 + 64).expect("the file");
    assert_eq!((good(&old), good(&new)), ([true; 2], [true; 2]));
    ring.look(NOON + 86_400 + 65).expect("the file");
    assert_eq!((good(&old), good(&new)), ([false; 2], [true; 2]));
}
