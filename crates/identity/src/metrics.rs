//! What is measured, declared once.

use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};
use metrics::{describe_counter, describe_gauge, describe_histogram};

const PASSWORD: &str = "firstcome_password_seconds";
const AT_WORK: &str = "firstcome_passwords_at_work";
const REFUSED: &str = "firstcome_password_refused_total";
const KEY_FETCHES: &str = "firstcome_key_fetches_total";

/// Handles of the metrics, made once.
pub(crate) struct Metrics {
    /// Passwords hashed, at sign-up.
    pub(crate) hash: Histogram,
    /// Passwords verified, at log-in.
    pub(crate) verify: Histogram,
    /// Passwords being hashed or verified now.
    pub(crate) at_work: Gauge,
    /// Passwords refused because too many waited.
    pub(crate) refused: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            hash: histogram!(PASSWORD, "work" => "hash"),
            verify: histogram!(PASSWORD, "work" => "verify"),
            at_work: gauge!(AT_WORK),
            refused: counter!(REFUSED),
        }
    }
}

/// Counts what became of fetching an issuer's public keys.
pub(crate) fn key_fetch(issuer: &str, outcome: &'static str) {
    counter!(KEY_FETCHES, "issuer" => issuer.to_owned(), "outcome" => outcome).increment(1);
}

/// Gives every metric its help text. Call it once, after a recorder is installed.
pub fn describe_metrics() {
    describe_histogram!(
        PASSWORD,
        Unit::Seconds,
        "Time that hashing or verifying one password took, without waiting for its turn."
    );
    describe_gauge!(AT_WORK, "Passwords being hashed or verified now.");
    describe_counter!(KEY_FETCHES, "Fetches of an issuer's public keys, by their outcome.");
    describe_counter!(REFUSED, "Sign-ups and log-ins refused because too many waited.");
}
