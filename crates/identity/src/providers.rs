//! Other identity providers whose tokens are accepted, and where public keys come from.
//!
//! Nothing here is asked while a request is answered, but for a key that is not known: keys are
//! fetched beside the requests, and a provider that is away leaves the keys as they are.

mod fetch;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use firstcome_core::{Clock, Invalid};
use firstcome_web::auth::{Algorithm, Issuer, IssuerKind, KeySet, Provider};
use firstcome_web::{Scopes, SigningAlgorithm, Verifier};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::config::{named, within};
use crate::{IdentityConfig, KeyRing};
use fetch::{Fetch, Place};

/// Most providers.
const PROVIDERS_MAX: usize = 16;
/// Longest prefix of user ids: what is left must hold a `sub`.
const PREFIX_BYTES_MAX: usize = 64;
/// Most words that grant a scope, and most types of tokens.
const WORDS_MAX: usize = 64;
/// Most seconds between two fetches: a day.
const REFRESH_SECONDS_MAX: u32 = 86_400;
/// How often a process without the role identity fetches our own public keys: well within the
/// lead of a new one.
const OWN_REFRESH: Duration = Duration::from_secs(10);

/// An identity provider whose access tokens are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// The `iss` of its tokens, exactly.
    pub issuer: String,
    /// What must be among the `aud` of its tokens: the name that it knows this service by.
    pub audience: String,
    /// Where its public keys are; `jwks_uri` in its discovery document.
    #[serde(default)]
    pub jwks_url: String,
    /// The same as a file.
    #[serde(default)]
    pub jwks_file: PathBuf,
    /// Whether `jwks_url` may be `http` beyond this machine.
    #[serde(default)]
    pub allow_http: bool,
    /// How its tokens may be signed.
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<Algorithm>,
    /// The `typ` of its access tokens.
    #[serde(default = "default_types")]
    pub types: Vec<String>,
    /// The claim with its scope words: a name, or a JSON pointer as `/realm_access/roles`.
    #[serde(default = "default_scope_claim")]
    pub scope_claim: String,
    /// Which of its words permit what here.
    pub scopes: ScopeWords,
    /// What stands before its `sub` in user ids here.
    #[serde(default)]
    pub subject_prefix: String,
    /// How often its keys are fetched, in seconds.
    #[serde(default = "default_refresh_seconds")]
    pub refresh_seconds: u32,
}

/// Words of a provider, by what they permit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScopeWords {
    /// Those that permit what `user` does.
    pub user: Vec<String>,
    /// Those that permit what `admin` does.
    pub admin: Vec<String>,
    /// Those that permit what `redeem` does.
    pub redeem: Vec<String>,
}

fn default_algorithms() -> Vec<Algorithm> {
    vec![Algorithm::Rs256]
}

fn default_types() -> Vec<String> {
    vec!["at+jwt".to_owned()]
}

fn default_scope_claim() -> String {
    "scope".to_owned()
}

const fn default_refresh_seconds() -> u32 {
    300
}

/// Checks providers against their bounds and against one another; `issuer` is our own name.
pub(crate) fn check(providers: &[ProviderConfig], issuer: &str) -> Result<(), Invalid> {
    within("providers", providers.len(), 0, PROVIDERS_MAX)?;
    for (index, provider) in providers.iter().enumerate() {
        provider.check(&format!("providers[{index}]"))?;
        let key = |name: &str| format!("identity.providers[{index}].{name}");
        if provider.issuer == issuer {
            let clash = "is identity.issuer, the name of this deployment; a provider needs another";
            return Err(Invalid::new(format!("{} {clash}", key("issuer"))));
        }
        for other in &providers[..index] {
            if other.issuer == provider.issuer {
                return Err(Invalid::new(format!("{} is there twice", key("issuer"))));
            }
            let (one, two) = (&other.subject_prefix, &provider.subject_prefix);
            if one.starts_with(two.as_str()) || two.starts_with(one.as_str()) {
                return Err(Invalid::new(format!(
                    "{} is {two:?}, and another provider's is {one:?}: with several providers \
                     each needs one, and none may begin with another's, or two users could have \
                     one user id",
                    key("subject_prefix")
                )));
            }
        }
    }
    Ok(())
}

/// Checks the address of a key set; the sentence begins with the key.
pub(crate) fn check_url(key: &str, text: &str, allow_http: bool) -> Result<(), Invalid> {
    let refuse = |sentence: &str| Err(Invalid::new(format!("identity.{key} {sentence}")));
    let Ok(url) = Url::parse(text) else {
        return refuse("must be a URL, as https://login.example.com/jwks.json");
    };
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("must hold no user and no password: keys are public");
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if allow_http || is_of_this_machine(&url) => Ok(()),
        "http" => refuse(
            "must begin with https://: whoever can change what comes over http can make keys; \
             where the network itself is safe, set allow_http = true beside it",
        ),
        _ => refuse("must begin with https://"),
    }
}

fn is_of_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl ProviderConfig {
    fn check(&self, key: &str) -> Result<(), Invalid> {
        named(&format!("{key}.issuer"), &self.issuer)?;
        named(&format!("{key}.audience"), &self.audience)?;
        within(&format!("{key}.refresh_seconds"), self.refresh_seconds, 1, REFRESH_SECONDS_MAX)?;
        let refuse = |name: &str, sentence: &str| {
            Err(Invalid::new(format!("identity.{key}.{name} {sentence}")))
        };
        match (self.jwks_url.as_str(), self.jwks_file.as_os_str().is_empty()) {
            ("", true) => return refuse("jwks_url", "is missing, and jwks_file too: give one"),
            ("", false) => {}
            (_, false) => return refuse("jwks_url", "and jwks_file are both given: leave one out"),
            (url, true) => check_url(&format!("{key}.jwks_url"), url, self.allow_http)?,
        }
        if self.algorithms.is_empty() {
            return refuse("algorithms", "must name at least one");
        }
        if self.types.is_empty() || self.types.len() > WORDS_MAX {
            return refuse("types", "must name at least one type of tokens, as at+jwt or JWT");
        }
        if self.scope_claim.is_empty() {
            return refuse("scope_claim", "must name a claim, as scope");
        }
        let granting = self.grants().len();
        if granting == 0 {
            let sentence = "permit nothing: name the provider's words, as user = [\"shop:claim\"]";
            return refuse("scopes", sentence);
        }
        if granting > WORDS_MAX || self.grants().iter().any(|(word, _)| word.is_empty()) {
            return refuse("scopes", "must be at most 64 words, none of them empty");
        }
        let prefix = &self.subject_prefix;
        if prefix.len() > PREFIX_BYTES_MAX || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
            return refuse("subject_prefix", "must be at most 64 visible ASCII characters");
        }
        Ok(())
    }

    /// Each word with what it permits.
    fn grants(&self) -> Vec<(String, Scopes)> {
        let ScopeWords { user, admin, redeem } = &self.scopes;
        let words = |words: &Vec<String>, scope| {
            words.iter().map(|word| (word.clone(), scope)).collect::<Vec<_>>()
        };
        let of_all =
            [words(user, Scopes::USER), words(admin, Scopes::ADMIN), words(redeem, Scopes::REDEEM)];
        of_all.concat()
    }

    fn issuer(&self, keys: Arc<KeySet>) -> Issuer {
        Issuer {
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            algorithms: self.algorithms.clone(),
            keys,
            kind: IssuerKind::Provider(Provider {
                types: self.types.iter().map(|typ| typ.to_ascii_lowercase()).collect(),
                scope_claim: self.scope_claim.clone(),
                grants: self.grants(),
                subject_prefix: self.subject_prefix.clone(),
            }),
        }
    }

    fn place(&self) -> Place {
        if self.jwks_url.is_empty() {
            Place::File(self.jwks_file.clone())
        } else {
            Place::Url(self.jwks_url.clone())
        }
    }
}

/// Our own keys, as a process has them.
#[derive(Debug)]
pub enum OwnKeys {
    /// From the file.
    Ring(KeyRing),
    /// Public ones, from another process.
    From(String),
}

/// Whom a process trusts: our own keys and those of the providers, with what keeps them up to date.
pub struct Trust {
    /// Checks the tokens of all of them.
    pub verifier: Arc<Verifier>,
    fetches: Vec<Fetch>,
    ring: Option<KeyRing>,
    clock: Arc<dyn Clock>,
}

impl Trust {
    /// Trusts our own keys and the configured providers.
    ///
    /// # Errors
    /// When the system gives no HTTP client.
    pub fn new(
        config: &IdentityConfig,
        own: OwnKeys,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, reqwest::Error> {
        let mut fetches = Vec::new();
        let mut issuers = Vec::new();
        for provider in &config.providers {
            let refresh = Duration::from_secs(provider.refresh_seconds.into());
            let (name, algorithms) = (&provider.issuer, &provider.algorithms);
            let fetch = Fetch::new(name, provider.place(), algorithms.clone(), refresh)?;
            issuers.push(provider.issuer(fetch.keys()));
            fetches.push(fetch);
        }
        let (verifier, ring) = match own {
            OwnKeys::Ring(ring) => {
                (config.verifier(&ring, issuers, Arc::clone(&clock)), Some(ring))
            }
            OwnKeys::From(url) => {
                let algorithms = SigningAlgorithm::PUBLIC.to_vec();
                let place = Place::Url(url);
                let fetch = Fetch::new(&config.issuer, place, algorithms, OWN_REFRESH)?;
                let keys = fetch.keys();
                fetches.push(fetch);
                (config.public_verifier(keys, issuers, Arc::clone(&clock)), None)
            }
        };
        Ok(Self { verifier: Arc::new(verifier), fetches, ring, clock })
    }

    /// Keeps all keys up to date, until the set is dropped.
    #[must_use]
    pub fn keep_up(self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for fetch in self.fetches {
            tasks.spawn(fetch.keep_up());
        }
        if let Some(ring) = self.ring {
            tasks.spawn(ring.keep_up(self.clock));
        }
        tasks
    }
}

#[cfg(test)]
mod tests;
