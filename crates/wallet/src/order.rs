//! What a checkout writes of an order, read by the rules of single values.

use firstcome_core::{Amount, Code, Currency, Label, Order, OrderId, OrderItem, limits};
use firstcome_web::{Checks, Integer, LabelText, Problem, present};
use serde::Deserialize;
use utoipa::ToSchema;

/// An order. Money is in the currency's minor unit.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = Order, examples(json!({
    "order_id": "order-20261127-17", "order_amount": 32000, "currency": "KRW",
    "items": [{"product_id": "shoes-1", "category_ids": ["shoes"], "amount": 32000}],
})))]
#[serde(deny_unknown_fields)]
pub struct OrderBody {
    /// The shop's own id: 1 to 64 visible ASCII characters.
    #[schema(pattern = "^[!-~]{1,64}$")]
    order_id: String,
    /// What the order costs before the discount.
    #[schema(value_type = u64, minimum = 1, maximum = 1_000_000_000_000_u64)]
    order_amount: Integer,
    /// An ISO 4217 code; `KRW` when it is absent.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false, pattern = "^[A-Z]{3}$")]
    currency: Option<String>,
    /// What is in it.
    #[serde(default)]
    #[schema(max_items = 200)]
    items: Vec<ItemBody>,
}

/// An order beside the code of the coupon to use for it.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OrderByCode, examples(json!({
    "code": "7ZK3-0QXM-R4TB", "order_id": "order-20261127-17", "order_amount": 32000,
})))]
#[serde(deny_unknown_fields)]
pub struct OrderByCodeBody {
    /// The code, in either case, with or without its hyphens.
    code: String,
    /// The shop's own id: 1 to 64 visible ASCII characters.
    #[schema(pattern = "^[!-~]{1,64}$")]
    order_id: String,
    /// What the order costs before the discount.
    #[schema(value_type = u64, minimum = 1, maximum = 1_000_000_000_000_u64)]
    order_amount: Integer,
    /// An ISO 4217 code; `KRW` when it is absent.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false, pattern = "^[A-Z]{3}$")]
    currency: Option<String>,
    /// What is in it.
    #[serde(default)]
    #[schema(max_items = 200)]
    items: Vec<ItemBody>,
}

/// One thing in an order.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OrderItem)]
#[serde(deny_unknown_fields)]
struct ItemBody {
    /// The shop's own id of the product.
    #[schema(value_type = LabelText)]
    product_id: String,
    /// The categories that the product is in.
    #[serde(default)]
    #[schema(value_type = Vec<LabelText>, max_items = 100)]
    category_ids: Vec<String>,
    /// What it costs; the order's amount alone decides.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u64>, nullable = false, minimum = 1,
        maximum = 1_000_000_000_000_u64)]
    amount: Option<Integer>,
}

impl OrderByCodeBody {
    /// The code, none where no coupon can have it, and the order.
    pub(crate) fn parse(self) -> Result<(Option<Code>, Order), Problem> {
        let Self { code, order_id, order_amount, currency, items } = self;
        let order = OrderBody { order_id, order_amount, currency, items }.parse()?;
        Ok((Code::parse(&code), order))
    }
}

impl OrderBody {
    /// The order.
    pub(crate) fn parse(&self) -> Result<Order, Problem> {
        let mut checks = Checks::new();
        let Integer(amount) = self.order_amount;
        let id = checks.field("/order_id", OrderId::parse(&self.order_id));
        let amount = checks.field("/order_amount", Amount::parse(amount));
        let currency = self.currency.as_deref().map_or(Ok(Currency::krw()), Currency::parse);
        let currency = checks.field("/currency", currency);
        let items = items(&self.items, &mut checks);
        match (id, amount, currency, items) {
            (Some(id), Some(amount), Some(currency), Some(items)) => {
                Ok(Order { id, amount, currency, items })
            }
            _ => Err(checks.into_problem()),
        }
    }
}

fn items(bodies: &[ItemBody], checks: &mut Checks) -> Option<Vec<OrderItem>> {
    if bodies.len() > limits::ORDER_ITEMS_MAX {
        checks.refuse("/items", format!("must have at most {}", limits::ORDER_ITEMS_MAX));
        return None;
    }
    let parsed = bodies.iter().enumerate().map(|(index, body)| body.parse(index, checks));
    // Every item is read before the first refused one ends the list.
    let parsed: Vec<Option<OrderItem>> = parsed.collect();
    parsed.into_iter().collect()
}

impl ItemBody {
    fn parse(&self, index: usize, checks: &mut Checks) -> Option<OrderItem> {
        let product_id = Label::parse(&self.product_id);
        let product_id = checks.field(format!("/items/{index}/product_id"), product_id);
        let amount = self.amount.map(|Integer(amount)| Amount::parse(amount));
        let amount = checks.optional(format!("/items/{index}/amount"), amount);
        let pointer = format!("/items/{index}/category_ids");
        if self.category_ids.len() > limits::LABELS_MAX {
            checks.refuse(pointer, format!("must have at most {}", limits::LABELS_MAX));
            return None;
        }
        let categories = self.category_ids.iter().enumerate();
        let categories: Vec<Option<Label>> = categories
            .map(|(place, text)| checks.field(format!("{pointer}/{place}"), Label::parse(text)))
            .collect();
        let category_ids = categories.into_iter().collect::<Option<Vec<Label>>>();
        Some(OrderItem { product_id: product_id?, category_ids: category_ids?, amount: amount? })
    }
}
