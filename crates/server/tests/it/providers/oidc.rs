//! A real OpenID provider: `oidc-provider` on Node.js.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use firstcome_testkit::Api;
use serde_json::{Value, json};

/// The audience that its tokens are for.
pub(crate) const AUDIENCE: &str = "https://shop.example/api";
const PROVIDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oidc");

/// A provider; dropping it ends it.
pub(crate) struct Oidc {
    child: Child,
    pub(crate) issuer: String,
    options: Value,
}

impl Oidc {
    /// Starts one with keys of this id, which signs access tokens so, and types them so.
    pub(crate) fn start(kid: &str, algorithm: &str, format: &str) -> Self {
        let client = |id: &str, scope: &str| {
            let secret = "secret";
            json!({"client_id": id, "client_secret": secret, "scope": scope})
        };
        let clients = [
            client("shopper-1", "shop:claim"),
            client("shopper-2", "shop:claim"),
            client("marketer-1", "shop:claim shop:manage"),
            client("stranger-1", "elsewhere"),
        ];
        let options = json!({
            "port": 0, "kids": [kid], "algorithm": algorithm, "audience": AUDIENCE,
            "format": format, "clients": clients,
        });
        Self::with(options)
    }

    fn with(options: Value) -> Self {
        let packages = Path::new(PROVIDER).join("node_modules/oidc-provider");
        assert!(packages.exists(), "run `cargo xtask test`, or `npm ci` in {PROVIDER}");
        let script = Path::new(PROVIDER).join("provider.mjs");
        let mut command = Command::new("node");
        command.arg(script).arg(options.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("node is installed");
        let mut issuer = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        output.read_line(&mut issuer).expect("a line");
        if issuer.is_empty() {
            let mut said = String::new();
            let mut errors = child.stderr.take().expect("a pipe");
            errors.read_to_string(&mut said).expect("text");
            panic!("the provider does not start: {said}");
        }
        Self { child, issuer: issuer.trim().to_owned(), options }
    }

    /// Ends it; at the same address nobody answers any more.
    pub(crate) fn stop(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// After its end: starts it again at the same address, with new keys.
    pub(crate) fn restart(&mut self, kid: &str) {
        let (_, port) = self.issuer.rsplit_once(':').expect("a port");
        let mut options = self.options.clone();
        options["port"] = port.parse::<u16>().expect("a port").into();
        options["kids"] = json!([kid]);
        *self = Self::with(options);
    }

    /// What a configuration says of it, without what its users may do.
    pub(crate) fn section(&self, more: &str) -> String {
        let issuer = &self.issuer;
        format!(
            "[[identity.providers]]\nissuer = \"{issuer}\"\naudience = \"{AUDIENCE}\"\n\
             jwks_url = \"{issuer}/jwks\"\n\
             scopes = {{ user = [\"shop:claim\"], admin = [\"shop:manage\"] }}\n{more}\n"
        )
    }

    /// An access token for this client, by the grant `client_credentials`.
    pub(crate) async fn token(&self, client: &str, scope: &str) -> String {
        let call = Api::new(&self.issuer).post("/token").form(&[
            ("grant_type", "client_credentials"),
            ("client_id", client),
            ("client_secret", "secret"),
            ("scope", scope),
        ]);
        call.await.expect(200).member_text("/access_token")
    }
}

impl Drop for Oidc {
    fn drop(&mut self) {
        // It has ended already, or it is killed: either is what is wanted.
        if self.child.kill().is_ok() {
            let _ = self.child.wait();
        }
    }
}
