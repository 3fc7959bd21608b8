//! Fetching a set of public keys, again and again.

use std::convert::Infallible;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use firstcome_tasks::anew;
use firstcome_web::auth::{Algorithm, KeySet, NoKeySet, PublicKey};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use tokio::time::{sleep, timeout};

use crate::metrics;

/// Longest that one fetch may take, from the connection to the last byte.
const FETCH_MAX: Duration = Duration::from_secs(2);
/// Longest key set that is read.
const SET_BYTES_MAX: usize = 256 * 1024;
/// How soon a fetch that failed is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// How often a file is looked at.
const FILE_EVERY: Duration = Duration::from_secs(5);

/// Where keys come from.
#[derive(Debug)]
pub(super) enum Place {
    Url(String),
    File(PathBuf),
}

/// Why there are no new keys.
#[derive(Debug, thiserror::Error)]
enum NotFetched {
    #[error("{0}")]
    Request(#[from] reqwest::Error),
    #[error("it is answered {0}")]
    Status(StatusCode),
    #[error("it is longer than {SET_BYTES_MAX} bytes")]
    TooLong,
    #[error("it does not come within {FETCH_MAX:?}")]
    TooLate,
    #[error("{0}")]
    File(#[from] std::io::Error),
    #[error(transparent)]
    NoSet(#[from] NoKeySet),
}

/// One issuer's keys, and how they are fetched.
pub(super) struct Fetch {
    issuer: String,
    place: Place,
    algorithms: Vec<Algorithm>,
    refresh: Duration,
    client: Client,
    keys: Arc<KeySet>,
}

impl Fetch {
    pub(super) fn new(
        issuer: &str,
        place: Place,
        algorithms: Vec<Algorithm>,
        refresh: Duration,
    ) -> Result<Self, reqwest::Error> {
        let refresh = match place {
            Place::Url(_) => refresh,
            Place::File(_) => FILE_EVERY,
        };
        // A redirect would lead to an address that nobody has configured.
        let client = Client::builder().redirect(Policy::none()).build()?;
        let (issuer, keys) = (issuer.to_owned(), Arc::new(KeySet::fetched()));
        Ok(Self { issuer, place, algorithms, refresh, client, keys })
    }

    /// The keys, as they are at each moment.
    pub(super) fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.keys)
    }

    /// Fetches now, whenever a key is missing, and from time to time; for ever.
    pub(super) async fn keep_up(self) {
        match anew(|| self.keep_on()).await {}
    }

    async fn keep_on(&self) -> Infallible {
        let mut failed: Option<String> = None;
        loop {
            let fetched = timeout(FETCH_MAX, self.fetch()).await;
            let fetched = fetched.unwrap_or(Err(NotFetched::TooLate));
            let wait = if fetched.is_ok() { self.refresh } else { RETRY.min(self.refresh) };
            let outcome = if fetched.is_ok() { "ok" } else { "failed" };
            metrics::key_fetch(&self.issuer, outcome);
            let error = fetched.as_ref().err().map(ToString::to_string);
            self.tell(failed.as_deref(), error.as_deref());
            failed = error;
            self.keys.fetch_ended(fetched.ok());
            tokio::select! {
                () = sleep(wait) => {}
                () = self.keys.asked() => {}
            }
        }
    }

    /// Tells the log what is new of what is wrong.
    fn tell(&self, before: Option<&str>, now: Option<&str>) {
        let issuer = &self.issuer;
        match (before, now) {
            (before, Some(error)) if before != Some(error) => tracing::warn!(
                error.message = %error,
                "the keys of {issuer} cannot be had; those that are known stay"
            ),
            (Some(_), None) => tracing::info!("the keys of {issuer} can be had again"),
            _ => {}
        }
    }

    async fn fetch(&self) -> Result<Vec<PublicKey>, NotFetched> {
        let text = match &self.place {
            Place::Url(url) => self.download(url).await?,
            Place::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read_file(&path)).await;
                read.map_err(std::io::Error::other)??
            }
        };
        let keys = PublicKey::read_set(&text, &self.algorithms)?;
        if keys.is_empty() {
            tracing::warn!("no key of {} fits its algorithms", self.issuer);
        }
        Ok(keys)
    }

    async fn download(&self, url: &str) -> Result<Vec<u8>, NotFetched> {
        let mut response = self.client.get(url).header("accept", "application/json").send().await?;
        if response.status() != StatusCode::OK {
            return Err(NotFetched::Status(response.status()));
        }
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if text.len() + chunk.len() > SET_BYTES_MAX {
                return Err(NotFetched::TooLong);
            }
            text.extend_from_slice(&chunk);
        }
        Ok(text)
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, NotFetched> {
    let mut text = Vec::new();
    let most = u64::try_from(SET_BYTES_MAX).unwrap_or(u64::MAX) + 1;
    std::fs::File::open(path)?.take(most).read_to_end(&mut text)?;
    if text.len() > SET_BYTES_MAX { Err(NotFetched::TooLong) } else { Ok(text) }
}
