//! The calls of services and of admins, and a person's last.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use firstcome_testkit::coupon_body;
use serde_json::{Value, json};

use super::calls::{EMAIL, Heard, MARK, PASSWORD};
use crate::shop::Shop;

impl Heard {
    /// A service that gets its own tokens, well and badly.
    pub(super) async fn services(&mut self, shop: &Shop) {
        let make = |body: Value| shop.api.post("/v1/clients").token(&shop.admin).json(body);
        let bad = json!({"name": "checkout", "scope": MARK, "client_secret": PASSWORD});
        let _ = self.hear(make(bad)).await.expect(400);
        let made = make(json!({"name": "checkout", "scope": "redeem"}));
        let made = self.hear(made).await.expect(201);
        let (id, secret) = (made.member_text("/client_id"), made.member_text("/client_secret"));
        self.keep("a client's secret", &secret);
        let basic = STANDARD.encode(format!("{id}:{secret}"));
        self.keep("a client's header", &basic);

        let grant = ("grant_type", "client_credentials");
        let by_form = [grant, ("client_id", id.as_str()), ("client_secret", secret.as_str())];
        let by_header = shop.api.post("/oauth/token").form(&[grant]);
        let by_header = by_header.header("authorization", &format!("Basic {basic}"));
        for call in [shop.api.post("/oauth/token").form(&by_form), by_header] {
            let answer = self.hear(call).await.expect(200);
            self.keep_token("a client's token", &answer.member_text("/access_token"));
        }
        let path = format!("/v1/clients/{id}");
        for status in [204, 404] {
            let call = shop.api.call("DELETE", &path).token(&shop.admin);
            let _ = self.hear(call).await.expect(status);
        }
        let gone = self.hear(shop.api.post("/oauth/token").form(&by_form)).await;
        assert!(matches!(gone.status, 400 | 401), "{gone}");
    }

    /// What an admin does, and reads of it.
    pub(super) async fn administration(&mut self, shop: &Shop) {
        for name in [json!("New Year"), json!("another")] {
            let call = shop.api.post("/v1/coupons").token(&shop.admin);
            let call = call.header("idempotency-key", MARK);
            let _ = self.hear(call.json(coupon_body().with("/name", name))).await;
        }
        let stale = shop.api.get("/v1/coupons").token(&shop.admin).await.expect(200);
        let path = format!("/v1/coupons/{}", stale.member_text("/items/0/id"));
        let change = shop.api.patch(&path).token(&shop.admin).header("if-match", "\"stale\"");
        let _ = self.hear(change.json(json!({"name": "x"}))).await.expect(412);
        let _ = self.hear(shop.api.get("/v1/admin/changes").token(&shop.admin)).await.expect(200);
        let _ = self.hear(shop.api.get("/v1/clients").token(&shop.admin)).await.expect(200);
        let _ = self.hear(shop.api.get("/.well-known/jwks.json")).await.expect(200);
    }

    /// A shopper who logs out, and one who is erased.
    pub(super) async fn last_calls(&mut self, shop: &Shop) {
        let body = json!({"email": EMAIL, "password": PASSWORD});
        let session = self.hear(shop.api.post("/v1/sessions").json(body.clone())).await.expect(200);
        let (access, refresh) =
            (session.member_text("/access_token"), session.member_text("/refresh_token"));
        self.keep_token("the last access token", &access);
        self.keep("the last refresh token", &refresh);
        let log_out = shop.api.call("DELETE", "/v1/sessions/current").token(&access);
        let _ = self.hear(log_out).await.expect(204);
        let pairs = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
        let _ = self.hear(shop.api.post("/oauth/token").form(&pairs)).await.expect(400);
        for status in [204, 404] {
            let erase = shop.api.call("DELETE", "/v1/me").token(&access);
            let _ = self.hear(erase).await.expect(status);
        }
        let _ = self.hear(shop.api.post("/v1/sessions").json(body)).await.expect(401);
    }
}
