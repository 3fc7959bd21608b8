//! The calls of the API, each with marked secrets, well and badly.

use std::collections::BTreeMap;

use firstcome_testkit::api::Call;
use firstcome_testkit::{Answer, coupon_body};
use serde_json::{Value, json};

use crate::shop::Shop;

/// Is in every secret that a test may choose.
pub(super) const MARK: &str = "kanarienvogel";
pub(super) const ADMIN_EMAIL: &str = "kanarienvogel-admin@example.com";
pub(super) const ADMIN_PASSWORD: &str = "kanarienvogel-of-the-admin";
pub(super) const EMAIL: &str = "kanarienvogel-shopper@example.com";
pub(super) const PASSWORD: &str = "kanarienvogel-of-the-shopper";
/// A code that nobody has.
const WRONG_CODE: &str = "KANA-R1EN-V0GE";

/// What was answered, and what nobody else may see of it.
pub(super) struct Heard {
    pub(super) answers: Vec<Answer>,
    /// By name.
    pub(super) secrets: BTreeMap<String, String>,
    /// An event that was claimed of.
    pub(super) event: String,
}

/// An order that is paid with a coupon.
fn order(code: &str, id: &str, amount: &Value) -> Value {
    json!({"code": code, "order_id": id, "order_amount": amount})
}

impl Heard {
    /// Makes every call.
    pub(super) async fn drive(shop: &Shop) -> Self {
        let event = shop.event(1).await;
        let mut heard = Self { answers: Vec::new(), secrets: BTreeMap::new(), event };
        heard.keep("a marked secret", MARK);
        heard.keep("a wrong code", WRONG_CODE);
        heard.keep("a wrong code", &WRONG_CODE.replace('-', ""));
        heard.keep_token("the test's admin token", &shop.admin);
        heard.accounts(shop).await;
        heard.bad_bodies(shop).await;
        heard.bad_tokens(shop).await;
        heard.drop(shop).await;
        heard.services(shop).await;
        heard.administration(shop).await;
        heard.reads(shop).await;
        heard.last_calls(shop).await;
        heard
    }

    pub(super) fn keep(&mut self, name: &str, secret: &str) {
        self.secrets.insert(format!("{name} ({})", self.secrets.len()), secret.to_owned());
    }

    /// The parts of a token; the first says how it is signed.
    pub(super) fn keep_token(&mut self, name: &str, token: &str) {
        for part in token.split('.').skip(1).chain([token]) {
            self.keep(name, part);
        }
    }

    pub(super) async fn hear(&mut self, call: Call) -> Answer {
        let answer = call.await;
        self.answers.push(answer.clone());
        answer
    }

    async fn accounts(&mut self, shop: &Shop) {
        let body = json!({"email": EMAIL, "password": PASSWORD});
        for status in [201, 409] {
            let _ = self.hear(shop.api.post("/v1/users").json(body.clone())).await.expect(status);
        }
        let admin = json!({"email": ADMIN_EMAIL, "password": ADMIN_PASSWORD});
        for (name, body) in [("the admin", admin), ("the shopper", body)] {
            let answer = self.hear(shop.api.post("/v1/sessions").json(body)).await.expect(200);
            self.session(shop, name, &answer).await;
        }
        for (email, password) in
            [(EMAIL, "kanarienvogel-wrong"), ("kanarienvogel-nobody@example.com", PASSWORD)]
        {
            let body = json!({"email": email, "password": password});
            let _ = self.hear(shop.api.post("/v1/sessions").json(body)).await.expect(401);
        }
        for pairs in [
            &[("grant_type", "refresh_token"), ("refresh_token", "kanarienvogel-refresh")][..],
            &[("grant_type", "refresh_token"), ("refresh_token", "")],
            &[("grant_type", "kanarienvogel"), ("refresh_token", "kanarienvogel-refresh")],
            &[("refresh_token", "kanarienvogel-a"), ("refresh_token", "kanarienvogel-b")],
            &[
                ("grant_type", "client_credentials"),
                ("client_id", "kanarienvogel-client"),
                ("client_secret", "kanarienvogel-client-secret"),
            ],
        ] {
            let answer = self.hear(shop.api.post("/oauth/token").form(pairs)).await;
            assert!(matches!(answer.status, 400 | 401), "{answer}");
        }
        let basic = shop.api.post("/oauth/token").form(&[("grant_type", "client_credentials")]);
        // `client:kanarienvogel`
        let basic = basic.header("authorization", "Basic Y2xpZW50OmthbmFyaWVudm9nZWw=");
        let answer = self.hear(basic).await;
        assert!(matches!(answer.status, 400 | 401), "{answer}");
        self.keep("a client's secret", "Y2xpZW50OmthbmFyaWVudm9nZWw=");
    }

    /// Uses what a log-in gave, once well and once again.
    async fn session(&mut self, shop: &Shop, name: &str, answer: &Answer) {
        let access = answer.member_text("/access_token");
        let refresh = answer.member_text("/refresh_token");
        self.keep_token(&format!("{name}'s access token"), &access);
        self.keep(&format!("{name}'s refresh token"), &refresh);
        let _ = self.hear(shop.api.get("/v1/me").token(&access)).await.expect(200);
        for _ in 0..2 {
            let pairs = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
            let answer = self.hear(shop.api.post("/oauth/token").form(&pairs)).await;
            if answer.status == 200 {
                let access = answer.member_text("/access_token");
                self.keep_token(&format!("{name}'s refreshed token"), &access);
                if let Some(refresh) = answer.json()["refresh_token"].as_str() {
                    self.keep(&format!("{name}'s next refresh token"), refresh);
                }
            }
        }
    }

    async fn bad_bodies(&mut self, shop: &Shop) {
        let long = format!("{{\"password\":\"{}\"}}", "kanarienvogel".repeat(6_000));
        let deep = format!("{}\"kanarienvogel\"{}", "[".repeat(100), "]".repeat(100));
        let many = PASSWORD.repeat(10);
        let bodies = [
            "\"kanarienvogel\"".to_owned(),
            "{\"email\":\"a@b.c\",\"password\":\"kanarienvogel".to_owned(),
            "{\"password\":kanarienvogel}".to_owned(),
            "kanarienvogel".to_owned(),
            json!({"email": "kanarienvogel", "password": PASSWORD}).to_string(),
            json!({"email": EMAIL, "password": {"kanarienvogel": 1}}).to_string(),
            json!({"email": EMAIL, "password": [PASSWORD]}).to_string(),
            json!({"email": [EMAIL], "password": PASSWORD}).to_string(),
            json!({"email": EMAIL, "password": "kanari"}).to_string(),
            json!({"email": EMAIL, "password": many}).to_string(),
            json!({"email": format!("{EMAIL}\u{7}"), "password": PASSWORD}).to_string(),
            format!("{{\"password\":\"{PASSWORD}\",\"password\":\"{PASSWORD}\"}}"),
            json!({"email": EMAIL, "password": PASSWORD, "more": PASSWORD}).to_string(),
            deep,
        ];
        let staff = shop.server.token("staff-1", "user admin redeem").await;
        self.keep_token("a token of the staff", &staff);
        for path in ["/v1/users", "/v1/sessions", "/v1/redemptions", "/v1/coupons"] {
            for body in &bodies {
                let call = shop.api.post(path).token(&staff).json_bytes(body.as_bytes());
                let answer = self.hear(call).await;
                assert!((400..500).contains(&answer.status), "{path} {body}: {answer}");
            }
            // A body that is not read to its end ends its connection.
            let call = shop.server.api().post(path).token(&staff).json_bytes(long.as_bytes());
            let _ = self.hear(call).await.expect(413);
            let plain = shop.api.post(path).token(&staff).header("content-type", "text/plain");
            let answer = self.hear(plain.bytes(bodies[4].as_bytes())).await;
            assert!((400..500).contains(&answer.status), "{path}: {answer}");
        }
    }

    async fn bad_tokens(&mut self, shop: &Shop) {
        let forged = format!("{}kanarienvogel", shop.admin);
        for header in [
            "Bearer kanarienvogel".to_owned(),
            "Bearer eyJhbGciOiJub25lIn0.kanarienvogel.kanarienvogel".to_owned(),
            "Basic a2FuYXJpZW52b2dlbDprYW5hcmllbnZvZ2Vs".to_owned(),
            format!("Bearer {forged}"),
            format!("kanarienvogel {}", shop.admin),
        ] {
            for path in ["/v1/me", "/v1/me/coupons"] {
                let call = shop.api.get(path).header("authorization", &header);
                let _ = self.hear(call).await.expect(401);
            }
            let claim = shop.api.post(&format!("/v1/events/{}/claims", self.event));
            let _ = self.hear(claim.header("authorization", &header)).await.expect(401);
        }
        self.keep("a password in a header", "a2FuYXJpZW52b2dlbDprYW5hcmllbnZvZ2Vs");
        for header in ["cookie", "x-api-key", "x-user-id", "idempotency-key", "traceparent"] {
            let _ = self.hear(shop.api.get("/v1/coupons").header(header, MARK)).await.expect(200);
        }
        let call = shop.api.get("/v1/coupons").header("x-long", &MARK.repeat(2_000));
        let _ = self.hear(call).await.expect(431);
        for query in ["cursor", "access_token", "limit"] {
            let _ = self.hear(shop.api.get(&format!("/v1/coupons?{query}={MARK}"))).await;
        }
    }

    /// A coupon that is won, claimed again, used and used again, by its owner and by its code.
    async fn drop(&mut self, shop: &Shop) {
        let shopper = shop.user("shopper").await;
        let checkout = shop.checkout().await;
        self.keep_token("a shopper's token", &shopper);
        self.keep_token("a checkout's token", &checkout);
        let claims = format!("/v1/events/{}/claims", self.event);
        let won = self.hear(shop.api.post(&claims).token(&shopper)).await.expect(201);
        let (id, code) = (won.member_text("/id"), won.member_text("/code"));
        self.keep("a coupon's code", &code);
        self.keep("a coupon's code", &code.replace('-', ""));
        let _ = self.hear(shop.api.post(&claims).token(&shopper)).await.expect(409);
        let late = shop.user("late").await;
        let _ = self.hear(shop.api.post(&claims).token(&late)).await.expect(409);
        let body = json!({"code": code});
        let _ = self.hear(shop.api.post(&claims).token(&late).json(body)).await;

        for (code, number, amount, status) in [
            (WRONG_CODE, "order-1", json!(50_000), 404),
            ("kanarienvogel", "order-1", json!(50_000), 404),
            (code.as_str(), "order-1", json!("50000"), 422),
            (code.as_str(), "order-1", json!(0), 422),
            (code.as_str(), "order-1", json!(50_000), 201),
            (code.as_str(), "order-1", json!(50_000), 200),
            (code.as_str(), "order-1", json!(60_000), 409),
            (code.as_str(), "order-2", json!(50_000), 409),
        ] {
            let call = shop.api.post("/v1/redemptions").token(&checkout);
            let answer = self.hear(call.json(order(code, number, &amount))).await;
            let refused = answer.status >= 400 && status >= 400;
            assert!(answer.status == status || refused, "{status} was expected: {answer}");
        }
        let mine = format!("/v1/me/coupons/{id}/redemptions");
        let body = json!({"order_id": "order-3", "order_amount": 50_000, "code": code});
        let _ = self.hear(shop.api.post(&mine).token(&shopper).json(body)).await;
        let revoke = format!("/v1/issued-coupons/{id}/revoke");
        let body = json!({"reason": "a test"});
        let _ = self.hear(shop.api.post(&revoke).token(&shop.admin).json(body)).await;
    }

    async fn reads(&mut self, shop: &Shop) {
        let shopper = shop.user("shopper").await;
        let event = &self.event.clone();
        for (path, token) in [
            ("/v1/me/coupons".to_owned(), &shopper),
            (format!("/v1/events/{event}/claims/me"), &shopper),
            (format!("/v1/events/{event}/issued-coupons"), &shop.admin),
            (format!("/v1/events/{event}/audit"), &shop.admin),
            ("/v1/events".to_owned(), &shopper),
            ("/v1/coupons".to_owned(), &shopper),
            ("/openapi.json".to_owned(), &shopper),
            ("/readyz".to_owned(), &shopper),
        ] {
            let _ = self.hear(shop.api.get(&path).token(token)).await.expect(200);
        }
        for path in ["/v1/events", "/v1/coupons"] {
            let call = shop.api.post(path).token(&shopper).json(coupon_body());
            let _ = self.hear(call).await.expect(403);
        }
        for action in ["pause", "resume", "close", "close"] {
            let path = format!("/v1/events/{event}/{action}");
            let _ = self.hear(shop.api.post(&path).token(&shop.admin)).await;
        }
        let _ = self.hear(shop.api.call("PUT", "/v1/coupons").token(&shopper)).await.expect(405);
        let _ = self.hear(shop.api.get("/nowhere").token(&shopper)).await.expect(404);
    }
}
