//! Failed log-ins against one account.
//!
//! They are counted by the e-mail address that was sent, whether or not it has an account, so that
//! the limit tells nothing of that. Only failures count: any number of people may log in to one
//! account at once with its password.
//!
//! Who guesses at somebody's password exhausts the account's quota for everybody. An address that
//! the account has logged in from lately has a quota of its own: the owner at home is not locked
//! out by a stranger.

use super::kind::Kind;
use super::limit::Limit;
use super::quota::{Micros, Quota};
use super::table::Table;
use crate::problem::Problem;

/// Failures beyond the quota are owed, as many as there were log-ins under way when it was
/// exhausted, but nobody waits longer for that than an hour.
const DEBT_MAX: Micros = 3_600_000_000;
/// How long an address is remembered that an account has logged in from.
const KNOWN_FOR: Micros = 30 * 86_400_000_000;

/// Failed log-ins by account, and by account and address.
#[derive(Debug)]
pub(super) struct Accounts {
    /// Also of single addresses that the account is known at, whose keys differ.
    failures: Limit,
    /// Until when an account is known at an address.
    known: Table,
}

/// Whose log-in it is, and from where.
#[derive(Debug, Clone, Copy)]
pub(super) struct AccountKeys {
    /// The digest of the e-mail address.
    pub(super) account: u64,
    /// The digest of e-mail address and IP address, where there is one.
    pub(super) at_address: Option<u64>,
}

impl Accounts {
    pub(super) fn new(quota: Quota, keys_max: usize) -> Self {
        let failures = Limit::new(Kind::LogInAccount, quota, keys_max);
        Self { failures, known: Table::new(keys_max) }
    }

    /// Which quota a log-in meets, when there is something left of it.
    pub(super) fn admit(&self, keys: AccountKeys, now: Micros) -> Result<u64, Problem> {
        let known = keys.at_address.filter(|key| self.known.read(*key) > now);
        let counted = known.unwrap_or(keys.account);
        self.failures.check(counted, now)?;
        Ok(counted)
    }

    /// Counts a failure against the quota that the log-in met.
    pub(super) fn failed(&self, counted: u64, now: Micros) {
        self.failures.owe(counted, now, DEBT_MAX);
    }

    /// Remembers from where an account has logged in.
    pub(super) fn succeeded(&self, keys: AccountKeys, now: Micros) {
        if let Some(key) = keys.at_address {
            let remember = |_| Ok::<_, std::convert::Infallible>(now + KNOWN_FOR);
            // It never refuses.
            let _remembered = self.known.change(key, remember);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Micros = 1_000_000;
    const NOW: Micros = 1_000 * SECOND;
    const OWNER: AccountKeys = AccountKeys { account: 1 << 60, at_address: Some(2 << 60) };
    const STRANGER: AccountKeys = AccountKeys { account: 1 << 60, at_address: Some(3 << 60) };

    /// Three failures, and one more each 30 s.
    fn accounts() -> Accounts {
        Accounts::new(Quota::new(3, 2).expect("a quota"), 1_024)
    }

    fn fail(accounts: &Accounts, keys: AccountKeys, now: Micros) {
        let counted = accounts.admit(keys, now).expect("something is left");
        accounts.failed(counted, now);
    }

    #[test]
    fn only_failures_count() {
        let accounts = accounts();
        for _ in 0..100 {
            assert!(accounts.admit(OWNER, NOW).is_ok());
            accounts.succeeded(OWNER, NOW);
        }
        for _ in 0..3 {
            fail(&accounts, OWNER, NOW);
        }
        assert!(accounts.admit(OWNER, NOW).is_err());
        assert!(accounts.admit(OWNER, NOW + 30 * SECOND).is_ok());
    }

    #[test]
    fn a_stranger_does_not_lock_out_who_was_here_before() {
        let accounts = accounts();
        accounts.succeeded(OWNER, NOW);
        for _ in 0..3 {
            fail(&accounts, STRANGER, NOW);
        }
        assert!(accounts.admit(STRANGER, NOW).is_err());
        assert!(accounts.admit(OWNER, NOW).is_ok());
        let elsewhere = AccountKeys { account: OWNER.account, at_address: Some(4 << 60) };
        assert!(accounts.admit(elsewhere, NOW).is_err(), "an address that was never here");
        for _ in 0..3 {
            fail(&accounts, OWNER, NOW);
        }
        assert!(accounts.admit(OWNER, NOW).is_err(), "an address that was here has a quota too");
        let later = NOW + KNOWN_FOR;
        fail(&accounts, STRANGER, later);
        fail(&accounts, STRANGER, later);
        fail(&accounts, OWNER, later);
        assert!(accounts.admit(OWNER, later).is_err(), "it was here too long ago");
    }

    #[test]
    fn what_was_under_way_is_owed_but_for_an_hour_at_most() {
        let accounts = accounts();
        let counted = accounts.admit(STRANGER, NOW).expect("something is left");
        for _ in 0..23 {
            accounts.failed(counted, NOW);
        }
        let minutes = |count: u64| NOW + count * 60 * SECOND;
        assert!(accounts.admit(STRANGER, minutes(10)).is_err());
        assert!(accounts.admit(STRANGER, minutes(11)).is_ok());
        for _ in 0..1_000 {
            accounts.failed(counted, NOW);
        }
        assert!(accounts.admit(STRANGER, minutes(60)).is_err());
        assert!(accounts.admit(STRANGER, minutes(61)).is_ok());
    }
}
