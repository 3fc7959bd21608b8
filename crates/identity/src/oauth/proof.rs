//! How a client proves who it is (RFC 6749, section 2.3.1): by HTTP Basic or in the form, never
//! both.

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use firstcome_core::ClientId;
use firstcome_ledger::ClientRecord;
use subtle::ConstantTimeEq;

use super::form::{TokenForm, decode};
use super::{Denial, Denied};
use crate::clients::ClientSecret;
use crate::{Identity, IdentityError};

// Without `Debug`: it holds a secret.
/// An id and a secret, as they were sent.
pub(super) struct Proof {
    id: String,
    secret: ClientSecret,
}

impl Proof {
    /// What the request proves with; none when it says nothing of a client.
    pub(super) fn of(headers: &HeaderMap, form: &mut TokenForm) -> Result<Option<Self>, Denied> {
        let refuse = |description| Err(Denied::new(Denial::InvalidRequest, description));
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let header = values.next().map(basic);
        if values.next().is_some() {
            return refuse("Send one Authorization header.");
        }
        match (header.transpose()?, form.client_id.take(), form.client_secret.take()) {
            (None, None, None) => Ok(None),
            (None, Some(id), Some(secret)) => {
                Ok(Some(Self { id, secret: ClientSecret::sent(secret) }))
            }
            (None, ..) => {
                let description = "A client proves itself with client_id and client_secret.";
                Err(Denied::new(Denial::InvalidClient, description))
            }
            (Some(_), _, Some(_)) => {
                refuse("Send the client's secret in the Authorization header or in the form.")
            }
            (Some(proof), Some(id), None) if id != proof.id => {
                refuse("client_id is another client than the Authorization header's.")
            }
            (Some(proof), _, None) => Ok(Some(proof)),
        }
    }
}

/// Reads `Basic base64(id:secret)`, both encoded as in a form.
fn basic(header: &HeaderValue) -> Result<Proof, Denied> {
    let credentials = header.to_str().ok().and_then(|text| text.split_once(' '));
    let proof = credentials
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, credentials)| STANDARD.decode(credentials.trim_matches(' ')).ok())
        .and_then(|pair| {
            let mut parts = pair.splitn(2, |byte| *byte == b':');
            let (id, secret) = (decode(parts.next()?)?, decode(parts.next()?)?);
            Some(Proof { id, secret: ClientSecret::sent(secret) })
        });
    proof.ok_or_else(|| {
        let description = "Send Authorization: Basic with the client's id and secret.";
        Denied::new(Denial::InvalidClient, description)
    })
}

impl Identity {
    /// The client that this proves; none when nobody says to be one. Whether an id or its secret
    /// was wrong does not show.
    pub(super) async fn proven(
        &self,
        proof: Option<Proof>,
    ) -> Result<Option<ClientRecord>, IdentityError> {
        let Some(proof) = proof else { return Ok(None) };
        let found = match ClientId::parse(&proof.id) {
            Some(id) => self.ledger.client(id).await?,
            None => None,
        };
        let (client, hash) = found.unzip();
        // Nobody's is the hash of no secret that anybody could find.
        let same = proof.secret.hash().ct_eq(&hash.unwrap_or_default());
        match client.filter(|_| same.into()) {
            Some(client) => Ok(Some(client)),
            None => {
                let description = "No client has this id and secret.";
                Err(Denied::new(Denial::InvalidClient, description).into())
            }
        }
    }
}
