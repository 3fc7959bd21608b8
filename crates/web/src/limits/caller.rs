//! Who sent the request at work, so far as it is known: what the edge has learned, and what the
//! extractors of tokens and the log-in go on with.
//!
//! A thread-local that holds while a request's future is polled, and not an extension of the
//! request: that would cost every claim an allocation and a look-up.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use firstcome_core::{Email, UserId};
use tokio::time::Instant;

use super::accounts::AccountKeys;
use super::quota::Micros;
use super::{Class, LimitFields, Limits};
use crate::auth::Scopes;
use crate::problem::Problem;

thread_local! {
    static CURRENT: RefCell<Option<Caller>> = const { RefCell::new(None) };
}

/// The process's limits at one edge. Requests count references to this and not to the limits, whose
/// count all threads would pass to and fro: each thread has an edge of its own.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    held: Arc<Held>,
    /// The class of every request here, where it is known beforehand.
    class: Option<Class>,
}

#[derive(Debug)]
struct Held(Arc<Limits>);

/// Who sent a request that was let in.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    held: Arc<Held>,
    class: Class,
    /// The digest of its address, where that is counted.
    address: Option<u64>,
    at: Micros,
}

impl Gate {
    pub(crate) fn new(limits: &Arc<Limits>, class: Option<Class>) -> Self {
        Self { held: Arc::new(Held(Arc::clone(limits))), class }
    }

    /// Counts a request that came at `began` against its address; and what its answer says of that.
    ///
    /// # Errors
    /// 429 `rate_limited`.
    pub(crate) fn admit(
        &self,
        request: &Request,
        began: Instant,
    ) -> Result<(Caller, Option<LimitFields>), Problem> {
        let Held(limits) = &*self.held;
        let class = self.class.unwrap_or_else(|| Class::of(request));
        let at = limits.micros_at(began);
        let address = limits.address_of(request, class);
        let fields = limits.spend_of_address(class, address, at)?;
        Ok((Caller { held: Arc::clone(&self.held), class, address, at }, fields))
    }
}

/// Runs some work on a request of this caller.
pub(crate) fn scope<T>(caller: &mut Option<Caller>, work: impl FnOnce() -> T) -> T {
    let outside = CURRENT.replace(caller.take());
    let done = work();
    *caller = CURRENT.replace(outside);
    done
}

/// Counts the request at work against its user, whose token is proven. Outside of an edge with
/// limits nothing is counted.
///
/// # Errors
/// 429 `rate_limited`.
pub(crate) fn spend_of_user(user: &UserId, scope: Scopes) -> Result<(), Problem> {
    CURRENT.with_borrow(|caller| match caller {
        Some(Caller { held, class, at, .. }) => held.0.spend_of_user(*class, user, scope, *at),
        None => Ok(()),
    })
}

/// As an extractor: the log-in that a request is, to be counted when it fails.
pub struct LogInAttempts(Option<Caller>);

/// A log-in that was let in. Dropped without a verdict it counts as nothing: who goes away has
/// learned nothing.
#[must_use]
pub struct LogInAttempt(Option<Counted>);

struct Counted {
    caller: Caller,
    keys: AccountKeys,
    /// Whose failures this one joins.
    key: u64,
}

impl<S: Sync> FromRequestParts<S> for LogInAttempts {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(CURRENT.with_borrow(Clone::clone)))
    }
}

impl LogInAttempts {
    /// Lets a log-in with this e-mail address be tried.
    ///
    /// # Errors
    /// 429 `rate_limited` when too many have failed, whether or not the address has an account.
    pub fn begin(self, email: &Email) -> Result<LogInAttempt, Problem> {
        let Some(caller) = self.0 else { return Ok(LogInAttempt(None)) };
        let limits = &caller.held.0;
        let Some(accounts) = &limits.accounts else { return Ok(LogInAttempt(None)) };
        let email = email.as_str();
        let at_address = caller.address.map(|address| limits.digest((email, address)));
        let keys = AccountKeys { account: limits.digest(email), at_address };
        let key = accounts.admit(keys, caller.at)?;
        Ok(LogInAttempt(Some(Counted { caller, keys, key })))
    }
}

impl LogInAttempt {
    /// The verdict on the password.
    pub fn end(self, proven: bool) {
        let Some(Counted { caller, keys, key }) = self.0 else { return };
        let limits = &caller.held.0;
        let now = limits.micros_at(Instant::now());
        match &limits.accounts {
            Some(accounts) if proven => accounts.succeeded(keys, now),
            Some(accounts) => accounts.failed(key, now),
            None => {}
        }
    }
}

impl fmt::Debug for LogInAttempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogInAttempts")
    }
}

impl fmt::Debug for LogInAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogInAttempt")
    }
}
