//! Rate limits: so many requests from one address, so many of one user, so many failed log-ins
//! against one account. `docs/operations/limits.md` says what is limited and how to set it,
//! `docs/adr/0025-rate-limits.md` why it is done so.
//!
//! The edge asks for the address before anything else is done. The extractors of tokens ask for
//! the user once a token is proven. The log-in asks for the account. What the later ones need goes
//! along with the request, in `caller`.
//!
//! Modules in reading order: `kind` (which limits there are), `config`, `proxies` (which address a
//! request came from), `quota` (the arithmetic), `table` (the memory), `limit` (one limit),
//! `accounts` (failed log-ins), `caller`, `fields` (what an answer says).

mod accounts;
pub(crate) mod caller;
mod config;
mod fields;
mod kind;
mod limit;
mod proxies;
mod quota;
mod table;

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Request};
use firstcome_core::{Invalid, UserId};
use tokio::time::Instant;

pub use caller::{LogInAttempt, LogInAttempts};
pub use config::LimitsConfig;
pub(crate) use fields::LimitFields;
pub(crate) use kind::Class;
pub use limit::describe_metrics;

use crate::auth::Scopes;
use crate::problem::Problem;
use accounts::Accounts;
use kind::Kind;
use limit::Limit;
use proxies::{Address, TrustedProxies};
use quota::Micros;

/// Every limit of a process. Its memory is taken at the start and never grows.
#[derive(Debug)]
pub struct Limits {
    began: Instant,
    /// Secret: nobody can choose users or addresses that meet in one place of a table.
    secret: RandomState,
    proxies: TrustedProxies,
    /// By [`Kind`]; none where it is off. The account's is in `accounts`.
    limits: [Option<Limit>; Kind::ALL.len()],
    accounts: Option<Accounts>,
}

impl Limits {
    /// The limits of this configuration, with nothing spent as yet. After the recorder of the
    /// metrics was installed: they keep handles.
    ///
    /// # Errors
    /// What [`LimitsConfig::check`] refuses.
    pub fn new(config: &LimitsConfig) -> Result<Self, Invalid> {
        config.check()?;
        let limit = |kind| Some(Limit::new(kind, config.quota(kind)?, config.keys_max));
        Ok(Self {
            began: Instant::now(),
            secret: RandomState::new(),
            proxies: TrustedProxies::parse(&config.trusted_proxies)?,
            limits: Kind::ALL.map(|kind| (kind != Kind::LogInAccount).then(|| limit(kind))?),
            accounts: config
                .quota(Kind::LogInAccount)
                .map(|quota| Accounts::new(quota, config.keys_max)),
        })
    }

    fn limit(&self, kind: Kind) -> Option<&Limit> {
        self.limits[kind as usize].as_ref()
    }

    /// The moment as the limits count it.
    fn micros_at(&self, moment: Instant) -> Micros {
        let since = moment.saturating_duration_since(self.began).as_micros();
        // A state that is zero was never used.
        u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// What stands for this key in the tables.
    fn digest(&self, key: impl Hash) -> u64 {
        self.secret.hash_one(key)
    }

    /// Where a request came from; none in a process without sockets.
    fn address_of(&self, request: &Request) -> Option<Address> {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>()?.0.ip();
        Some(self.proxies.client(peer, request.headers()))
    }

    /// Whether anything is counted by the address of such a request.
    fn counts_address(&self, class: Class) -> bool {
        let by_account = class == Class::LogIn && self.accounts.is_some();
        by_account || class.by_address().is_some_and(|kind| self.limit(kind).is_some())
    }

    /// Counts a request against its address; what its answer says of that.
    fn spend_of_address(
        &self,
        class: Class,
        address: Option<Address>,
        at: Micros,
    ) -> Result<Option<LimitFields>, Problem> {
        let limit = class.by_address().and_then(|kind| self.limit(kind));
        let Some((limit, address)) = limit.zip(address) else { return Ok(None) };
        let standing = limit.spend(self.digest(address), at)?;
        Ok(class.is_strict().then(|| limit.fields(standing)))
    }

    /// Counts a request against its user.
    fn spend_of_user(
        &self,
        class: Class,
        user: &UserId,
        scope: Scopes,
        at: Micros,
    ) -> Result<(), Problem> {
        match self.limit(class.by_user(scope)) {
            Some(limit) => limit.spend(self.digest(user.as_str()), at).map(|_| ()),
            None => Ok(()),
        }
    }
}
