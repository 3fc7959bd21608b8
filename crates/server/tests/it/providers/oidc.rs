//! A real OpenID provider: `oidc-provider` on Node.js.

use std::path::Path;

use firstcome_testkit::{Api, Launch, Program};
use serde_json::{Value, json};

/// The audience that its tokens are for.
pub(crate) const AUDIENCE: &str = "https://shop.example/api";
const PROVIDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oidc");

/// A provider; dropping it ends it.
pub(crate) struct Oidc {
    program: Program,
    pub(crate) issuer: String,
    options: Value,
}

impl Oidc {
    /// Starts one with keys of this id, which signs access tokens so, and types them so.
    pub(crate) async fn start(kid: &str, algorithm: &str, format: &str) -> Self {
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
        Self::with(options).await
    }

    async fn with(options: Value) -> Self {
        let packages = Path::new(PROVIDER).join("node_modules/oidc-provider");
        assert!(packages.exists(), "run `cargo xtask test`, or `npm ci` in {PROVIDER}");
        let script = format!("{PROVIDER}/provider.mjs");
        let launch = Launch::new("node", &[&script, &options.to_string()]);
        let (program, issuer) = Program::start(&launch).await;
        Self { program, issuer, options }
    }

    /// Ends it; at the same address nobody answers any more.
    pub(crate) fn stop(&mut self) {
        self.program.kill9();
    }

    /// After its end: starts it again at the same address, with new keys.
    pub(crate) async fn restart(&mut self, kid: &str) {
        let (_, port) = self.issuer.rsplit_once(':').expect("a port");
        let mut options = self.options.clone();
        options["port"] = port.parse::<u16>().expect("a port").into();
        options["kids"] = json!([kid]);
        *self = Self::with(options).await;
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
