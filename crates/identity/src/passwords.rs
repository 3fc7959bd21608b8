//! Hashing passwords: argon2id, off the request threads, a bounded number at once.

use std::sync::Arc;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash as Phc, Salt};
use argon2::password_hash::{Error as HashError, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use firstcome_core::Password;
use firstcome_ledger::PasswordHash;
use firstcome_web::Trace;
use metrics::Histogram;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::{IdentityConfig, IdentityError};

/// Memory of one hash, in KiB; with [`PASSES`] and [`LANES`] the first choice of the OWASP Password
/// Storage Cheat Sheet for argon2id.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const PARAMS: Params = match Params::new(MEMORY_KIB, PASSES, LANES, None) {
    Ok(params) => params,
    Err(_) => panic!("argon2 refuses the parameters"),
};

/// Hashes and verifies passwords.
pub struct Passwords {
    /// Who hashes or waits. A password without a place is refused at once.
    places: Arc<Semaphore>,
    /// Who hashes. Each takes [`MEMORY_KIB`] and a core.
    turns: Arc<Semaphore>,
    /// Stands in for the hash of an account that does not exist: as much work, and no password.
    nobody: PasswordHash,
    metrics: Metrics,
}

impl Passwords {
    /// Hashes within the bounds of the configuration.
    #[must_use]
    pub fn new(config: &IdentityConfig) -> Self {
        let parallel = config.hashes_parallel();
        Self {
            places: Arc::new(Semaphore::new(parallel + config.hashes_waiting_max)),
            turns: Arc::new(Semaphore::new(parallel)),
            nobody: nobody(),
            metrics: Metrics::new(),
        }
    }

    /// The hash of a password, with a salt of its own.
    ///
    /// # Errors
    /// [`IdentityError::Crowded`] when too many wait.
    pub async fn hash(&self, password: Password) -> Result<PasswordHash, IdentityError> {
        let hash = move || {
            let hashed: Phc = argon2id().hash_password(password.expose().as_bytes())?;
            Ok(PasswordHash::new(hashed.to_string()))
        };
        self.in_turn("hash password", &self.metrics.hash, hash).await
    }

    /// Whether the password is the one that was hashed. Without a hash it never is, after the same
    /// work.
    ///
    /// # Errors
    /// [`IdentityError::Crowded`] when too many wait.
    pub async fn verify(
        &self,
        password: Password,
        hash: Option<PasswordHash>,
    ) -> Result<bool, IdentityError> {
        let exists = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.nobody.clone());
        let verify = move || {
            let verified = argon2id().verify_password(password.expose().as_bytes(), hash.expose());
            match verified {
                Ok(()) => Ok(exists),
                Err(HashError::PasswordInvalid) => Ok(false),
                Err(error) => Err(error),
            }
        };
        self.in_turn("verify password", &self.metrics.verify, verify).await
    }

    /// Runs the work on the blocking pool when its turn comes. Place and turn go with the work: a
    /// client that goes away frees neither before the work is done.
    async fn in_turn<T: Send + 'static>(
        &self,
        span: &'static str,
        seconds: &Histogram,
        work: impl FnOnce() -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, IdentityError> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.metrics.refused.increment(1);
            return Err(IdentityError::Crowded);
        };
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.expect("the semaphore of turns is never closed");
        let (seconds, at_work) = (seconds.clone(), self.metrics.at_work.clone());
        let trace = Trace::current_sampled();
        let worked = tokio::task::spawn_blocking(move || {
            let _until_done = (place, turn, trace.and_then(|trace| trace.begin(span)));
            let started = Instant::now();
            at_work.increment(1.0);
            let worked = work();
            at_work.decrement(1.0);
            seconds.record(started.elapsed());
            worked
        });
        Ok(worked.await.map_err(|_| IdentityError::Closing)??)
    }
}

fn argon2id() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, PARAMS)
}

/// A hash of no password: its output is random, so that finding a password for it is as hard as
/// finding any.
fn nobody() -> PasswordHash {
    let output: [u8; Params::DEFAULT_OUTPUT_LEN] = rand::random();
    let hash = Phc {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(&PARAMS).expect("the parameters have a PHC form"),
        salt: Some(Salt::generate()),
        hash: Some(Output::new(&output).expect("the length is the default one")),
    };
    PasswordHash::new(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::parse(text).expect("a password")
    }

    fn passwords(hashes_parallel_max: usize, hashes_waiting_max: usize) -> Passwords {
        let bounds =
            IdentityConfig { hashes_parallel_max, hashes_waiting_max, ..Default::default() };
        Passwords::new(&bounds)
    }

    #[tokio::test]
    async fn a_hash_is_argon2id_with_a_salt_of_its_own() {
        let passwords = passwords(2, 0);
        let text = "비밀번호는 여덟 자 이상";
        let one = passwords.hash(password(text)).await.expect("a hash");
        let other = passwords.hash(password(text)).await.expect("a hash");
        assert!(one.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", one.expose());
        assert_ne!(one.expose(), other.expose());
        for hash in [&one, &other] {
            let verify = async |text| passwords.verify(password(text), Some(hash.clone())).await;
            assert!(verify(text).await.expect("a verdict"));
            assert!(!verify("another password").await.expect("a verdict"));
        }
        assert!(!format!("{one:?}").contains("argon2"), "a hash is not shown");
    }

    #[tokio::test]
    async fn nobody_has_a_hash_that_takes_the_same_work_and_fits_no_password() {
        let passwords = passwords(1, 0);
        let real = passwords.hash(password("12345678")).await.expect("a hash");
        let (real, nobody) = (Phc::new(real.expose()), Phc::new(passwords.nobody.expose()));
        let (real, nobody) = (real.expect("PHC"), nobody.expect("PHC"));
        assert_eq!(
            (real.algorithm, real.version, &real.params, real.salt.map(|salt| salt.len())),
            (nobody.algorithm, nobody.version, &nobody.params, nobody.salt.map(|salt| salt.len()))
        );
        assert_eq!(real.hash.map(|it| it.len()), nobody.hash.map(|it| it.len()));
        assert!(!passwords.verify(password("12345678"), None).await.expect("a verdict"));
    }

    #[tokio::test]
    async fn without_a_place_a_password_is_refused_at_once() {
        let passwords = passwords(1, 2);
        let held = Arc::clone(&passwords.places).try_acquire_many_owned(2).expect("three places");
        assert!(passwords.hash(password("12345678")).await.is_ok(), "one place is left");
        let last = Arc::clone(&passwords.places).try_acquire_owned().expect("it is free again");
        assert!(matches!(passwords.hash(password("12345678")).await, Err(IdentityError::Crowded)));
        let verified = passwords.verify(password("12345678"), None).await;
        assert!(matches!(verified, Err(IdentityError::Crowded)));
        drop((held, last));
        assert!(passwords.verify(password("12345678"), None).await.is_ok());
    }

    #[tokio::test]
    async fn a_client_that_goes_away_leaves_its_place_to_others() {
        let passwords = passwords(1, 1);
        let turn = Arc::clone(&passwords.turns).try_acquire_owned().expect("nobody hashes");
        let mut waiting = Box::pin(passwords.hash(password("12345678")));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert_eq!(passwords.places.available_permits(), 1);
        drop(waiting);
        assert_eq!(passwords.places.available_permits(), 2);
        drop(turn);
        assert!(passwords.hash(password("12345678")).await.is_ok());
    }

    #[tokio::test]
    async fn a_damaged_hash_is_an_error_and_no_verdict() {
        let hash = PasswordHash::new("$argon2id$damaged".to_owned());
        let verified = passwords(1, 0).verify(password("12345678"), Some(hash)).await;
        assert!(matches!(verified, Err(IdentityError::Hash(_))));
    }
}
