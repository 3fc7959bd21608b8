//! A thin HTTP client: it sends what it is told and shows what it got.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};

use crate::{Answer, Body, Document};

/// Longest that a test waits for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The API of one server.
#[derive(Debug, Clone)]
pub struct Api {
    client: Client,
    base: String,
    document: Option<Arc<Document>>,
    /// Servers with other calls.
    beside: Vec<(String, Arc<Document>)>,
}

/// A call that is sent when it is awaited.
#[must_use]
#[derive(Debug)]
pub struct Call {
    what: String,
    request: RequestBuilder,
    document: Option<Arc<Document>>,
}

impl Api {
    /// The API at `base`, as `http://127.0.0.1:8080`.
    ///
    /// # Panics
    /// When the system gives no HTTP client.
    #[must_use]
    pub fn new(base: &str) -> Self {
        let client = Client::builder().timeout(ANSWER_TIMEOUT).no_proxy().build();
        let client = client.expect("an HTTP client");
        Self { client, base: base.to_owned(), document: None, beside: Vec::new() }
    }

    /// The same, with every answer held against this document.
    #[must_use]
    pub(crate) fn documented(mut self, document: Arc<Document>) -> Self {
        self.document = Some(document);
        self
    }

    /// The same, with the calls that only the other server says it has sent there: for roles that
    /// run apart.
    #[must_use]
    pub fn beside(mut self, other: &Self) -> Self {
        let document = other.document.clone();
        self.beside.extend(document.map(|document| (other.base.clone(), document)));
        self
    }

    /// A call with any method.
    ///
    /// # Panics
    /// When the method is not one.
    pub fn call(&self, method: &str, path: &str) -> Call {
        let parsed = Method::from_bytes(method.as_bytes()).expect("a method");
        let has = |document: &Arc<Document>| document.has(method, path);
        let elsewhere = self.beside.iter().find(|(_, document)| has(document));
        let elsewhere = elsewhere.filter(|_| !self.document.as_ref().is_some_and(has));
        let (base, document) = match elsewhere {
            Some((base, document)) => (base, Some(Arc::clone(document))),
            None => (&self.base, self.document.clone()),
        };
        let request = self.client.request(parsed, format!("{base}{path}"));
        Call { what: format!("{method} {path}"), request, document }
    }

    /// A `GET`.
    pub fn get(&self, path: &str) -> Call {
        self.call("GET", path)
    }

    /// A `POST`, without a body as yet.
    pub fn post(&self, path: &str) -> Call {
        self.call("POST", path)
    }

    /// A `PATCH`, without a body as yet.
    pub fn patch(&self, path: &str) -> Call {
        self.call("PATCH", path)
    }
}

impl Call {
    /// With this access token.
    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// With this header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// With this JSON body.
    pub fn json(self, body: impl Into<Body>) -> Self {
        let text = body.into().json().to_string();
        self.json_bytes(text)
    }

    /// With these bytes, said to be JSON.
    pub fn json_bytes(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.header("content-type", "application/json").bytes(bytes)
    }

    /// With these bytes, said to be nothing.
    pub fn bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.request = self.request.body(bytes.into());
        self
    }

    /// With this form.
    pub fn form(mut self, pairs: &[(&str, &str)]) -> Self {
        self.request = self.request.form(pairs);
        self
    }

    /// Sends it; an error when there is no whole answer.
    ///
    /// # Errors
    /// When the connection cannot be made, or ends before the answer does.
    ///
    /// # Panics
    /// When the server's document does not foresee the answer.
    pub async fn try_send(self) -> Result<Answer, reqwest::Error> {
        let response = self.request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await?.to_vec();
        let answer = Answer { call: self.what, status, headers, bytes };
        if let Some(document) = self.document {
            document.check(&answer);
        }
        Ok(answer)
    }
}

impl IntoFuture for Call {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let what = self.what.clone();
        Box::pin(async move {
            self.try_send().await.unwrap_or_else(|error| panic!("{what} had no answer: {error:?}"))
        })
    }
}
