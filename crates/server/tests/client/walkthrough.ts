// The walk-through of README.md by a client that openapi-typescript made of the document: it
// compiles only while the types say what the server does, and runs against a real one.

import createClient from "openapi-fetch";
import type { components, paths } from "./document";

declare const process: { env: Record<string, string | undefined> };
declare const console: { log(line: string): void };

type Problem = components["schemas"]["AlreadyClaimedProblem"];

const setting = (name: string): string => {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set`);
  return value;
};

function check(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(what);
}

const baseUrl = setting("FIRSTCOME_TEST_URL");
const anybody = createClient<paths>({ baseUrl });
const bearer = (token: string) =>
  createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });

const logIn = async (email: string, password: string) => {
  const { data, error } = await anybody.POST("/v1/sessions", { body: { email, password } });
  check(data !== undefined, `no session: ${error?.code}`);
  return data;
};

// 1. Log in as the admin.
const admin = bearer((await logIn("admin@localhost", setting("FIRSTCOME_TEST_PASSWORD"))).access_token);

// 2. Make a coupon.
const coupon = await admin.POST("/v1/coupons", {
  body: {
    name: "Welcome 5,000",
    benefit: { type: "amount", amount: 5000, currency: "KRW" },
    conditions: { min_order_amount: 20000 },
    validity: { type: "days", days: 30 },
  },
});
check(coupon.data !== undefined, `no coupon: ${coupon.error?.code}`);
const { benefit, validity } = coupon.data;
check(benefit.type === "amount" && benefit.amount === 5000, "another benefit");
check(validity.type === "days" && validity.days === 30, "another validity");
check(coupon.response.headers.get("Location") === `/v1/coupons/${coupon.data.id}`, "no location");

// A change of it carries the ETag that was read.
const changed = await admin.PATCH("/v1/coupons/{id}", {
  params: {
    path: { id: coupon.data.id },
    header: { "If-Match": coupon.response.headers.get("ETag") ?? "" },
  },
  body: { benefit: { type: "percent", percent: 10, max_amount: 5000 } },
});
check(changed.data?.benefit.type === "percent", `not changed: ${changed.error?.code}`);
check(changed.data.benefit.max_amount === 5000, "another cap");

// 3. Make an event, that is scheduled as yet, and open it early.
const event = await admin.POST("/v1/events", {
  body: {
    coupon_id: coupon.data.id,
    name: "Ten o'clock drop",
    quantity: 100,
    opens_at: "2098-01-01T10:00:00+09:00",
    closes_at: "2099-12-31T23:59:59+09:00",
  },
});
check(event.data?.state === "scheduled", `no event: ${event.error?.code}`);
const path = { id: event.data.id };

// 4. Sign up and log in as a shopper.
const account = await anybody.POST("/v1/users", {
  body: { email: "shopper@example.com", password: "a long password" },
});
check(account.data?.email === "shopper@example.com", `no account: ${account.error?.code}`);
const session = await logIn("shopper@example.com", "a long password");
check(session.refresh_token !== undefined, "no refresh token");
const shopper = bearer(session.access_token);
const me = await shopper.GET("/v1/me");
check(me.data?.id === account.data.id && me.data.scope === "user", "another bearer");

// 5. Claim: too early, then the coupon, then the same coupon again.
const early = await shopper.POST("/v1/events/{id}/claims", { params: { path } });
check(early.error?.code === "not_open", "open already");
check(Date.parse(early.error.opens_at) === Date.parse(event.data.opens_at), "another opening");
check(early.error.retryable && early.response.headers.has("Retry-After"), "no word of a retry");
const opened = await admin.POST("/v1/events/{id}/open", { params: { path } });
check(opened.data?.state === "open", `not opened: ${opened.error?.code}`);
const won = await shopper.POST("/v1/events/{id}/claims", { params: { path } });
check(won.data?.sequence === 1, `no coupon: ${won.error?.code}`);
check(won.data.used_at === null, "used already");
const { id: issuedId, code } = won.data;
const again = await shopper.POST("/v1/events/{id}/claims", { params: { path }, body: {} });
check(again.error?.code === "already_claimed", "a second coupon");
const refusal: Problem = again.error;
check(refusal.issued_coupon.code === code, "another coupon");
const mine = await shopper.GET("/v1/me/coupons", {
  params: { query: { state: "issued", limit: 10 } },
});
check(mine.data?.items.length === 1 && mine.data.next_cursor === null, "other coupons");

// 6. Use it for an order: refused, new, the same again, refused for another.
const redeem = (order_id: string, order_amount: number) =>
  shopper.POST("/v1/me/coupons/{id}/redemptions", {
    params: { path: { id: issuedId } },
    body: { order_id, order_amount, currency: "KRW", items: [{ product_id: "shoes-1" }] },
  });
const small = await redeem("order-0", 12000);
check(small.error?.code === "conditions_not_met", "a small order");
check(small.error.unmet[0]?.condition === "min_order_amount", "another condition");
const used = await redeem("order-1", 32000);
check(used.response.status === 201 && used.data?.discount_amount === 3200, "another discount");
const same = await redeem("order-1", 32000);
check(same.response.status === 200 && same.data?.id === used.data.id, "another redemption");
const other = await redeem("order-2", 32000);
check(other.error?.code === "already_used", "used twice");
check(other.error.redemption.order_id === "order-1", "another order");
const cancelled = await admin.POST("/v1/redemptions/{id}/cancel", {
  params: { path: { id: used.data.id } },
});
check(cancelled.data?.state === "cancelled", `not cancelled: ${cancelled.error?.code}`);

// What is wrong is told by its pointer, and a token without the scope by its code.
const wrong = await admin.PATCH("/v1/events/{id}", {
  params: { path, header: { "If-Match": opened.response.headers.get("ETag") ?? "" } },
  body: { quantity: 0 },
});
check(wrong.error?.code === "invalid", "a quantity of none");
check(wrong.error.errors[0]?.pointer === "/quantity", "another member");
const forbidden = await shopper.GET("/v1/events/{id}/audit", { params: { path } });
check(forbidden.error?.code === "forbidden", "audited by a shopper");

// 7. Audit, and read it all as a file.
const audit = await admin.GET("/v1/events/{id}/audit", { params: { path } });
check(audit.data?.verdict === "pass" && audit.data.issued === 1, "the audit fails");
const file = await admin.GET("/v1/events/{id}/issued-coupons", {
  params: { path },
  headers: { Accept: "text/csv" },
  parseAs: "text",
});
check(typeof file.data === "string" && file.data.includes(code), "not in the file");

// 8. Refresh the token.
const refreshed = await anybody.POST("/oauth/token", {
  body: { grant_type: "refresh_token", refresh_token: session.refresh_token },
  headers: { "Content-Type": "application/x-www-form-urlencoded" },
});
check(refreshed.data?.token_type === "Bearer", "not refreshed");

console.log("the walk-through is done");
