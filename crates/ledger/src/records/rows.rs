//! Records as rows again, for whoever keeps them elsewhere for a while.

use sea_orm::{Set, TryIntoModel as _};

use super::{CouponRecord, EventRecord, signed_no};
use crate::coupons::{signed, written};
use crate::entity::{coupon, event};

impl From<CouponRecord> for coupon::Model {
    fn from(coupon: CouponRecord) -> Self {
        let mut row = written(&coupon);
        row.id = Set(coupon.id.as_uuid());
        row.created_at = Set(coupon.created_at.as_micros());
        row.try_into_model().expect("every column is set")
    }
}

impl From<EventRecord> for event::Model {
    /// Of the erased it tells whether there are any.
    fn from(event: EventRecord) -> Self {
        let rule = event.rule;
        Self {
            no: signed_no(event.no),
            id: event.id.as_uuid(),
            coupon_id: event.coupon_id.as_uuid(),
            name: event.name.as_str().to_owned(),
            quantity: rule.quantity.get().into(),
            issued: rule.issued.into(),
            opens_at: rule.window.opens_at().as_micros(),
            closes_at: rule.window.closes_at().as_micros(),
            opened_early: rule.opened_early,
            paused: rule.paused,
            closed: rule.closed,
            strategy: event.strategy.as_str().to_owned(),
            commit_to: event.commit.as_str().to_owned(),
            journal_partition: event.partition,
            epoch: signed(event.epoch),
            fence: signed(event.fence),
            sync_copied: event.sync.map(|sync| sync.copied.into()),
            sync_told_at: event.sync.map(|sync| sync.told_at.as_micros()),
            version: signed(event.version),
            erased: event.has_erased.into(),
            created_at: event.created_at.as_micros(),
            updated_at: event.updated_at.as_micros(),
        }
    }
}

#[cfg(test)]
mod tests {
    use firstcome_core::{
        Amount, Benefit, Commit, Conditions, CouponDraft, CouponId, Currency, Days, EventId,
        EventNo, EventRule, Label, MinOrderAmount, Name, Percent, Quantity, Strategy, Timestamp,
        Validity, Window,
    };
    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use uuid::Uuid;

    use super::*;
    use crate::SyncProgress;

    fn back<T: Serialize + DeserializeOwned>(value: &T) -> T {
        serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
    }

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    fn event() -> EventRecord {
        EventRecord {
            no: EventNo::new(7).unwrap(),
            id: EventId::from_uuid(Uuid::from_u128(1)),
            coupon_id: CouponId::from_uuid(Uuid::from_u128(2)),
            name: Name::parse("선착순 \"100\"").unwrap(),
            rule: EventRule {
                quantity: Quantity::parse(100).unwrap(),
                issued: 40,
                window: Window::new(at(3), at(4)).unwrap(),
                opened_early: true,
                paused: true,
                closed: true,
            },
            strategy: Strategy::RedisLock,
            commit: Commit::RedisStream,
            partition: Some(3),
            epoch: 8,
            fence: 7,
            sync: Some(SyncProgress { copied: 30, told_at: at(8) }),
            has_erased: true,
            version: 5,
            created_at: at(-6),
            updated_at: at(7),
        }
    }

    #[test]
    fn an_event_comes_back_from_its_json() {
        assert_eq!(back(&event()), event());
    }

    #[test]
    fn what_was_told_of_a_rebuilding_is_shown_for_a_while() {
        let shown = |now| event().copied_by_sync(at(now));
        assert_eq!([shown(8), shown(30_000_008), shown(30_000_009)], [Some(30), Some(30), None]);
        assert_eq!(EventRecord { sync: None, ..event() }.copied_by_sync(at(8)), None);
    }

    #[test]
    fn json_that_breaks_the_rules_is_refused() {
        let text = serde_json::to_string(&event()).unwrap();
        assert!(serde_json::from_str::<EventRecord>(&text).is_ok());
        for (from, to) in [
            ("\"quantity\":100", "\"quantity\":0"),
            ("redis_lock", "redis_luck"),
            ("redis_stream", "redis"),
        ] {
            let wrong = text.replace(from, to);
            assert_ne!(wrong, text);
            assert!(serde_json::from_str::<EventRecord>(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_coupon_comes_back_from_its_json() {
        let (currency, amount) = (Currency::krw(), Amount::parse(5_000).unwrap());
        let percent = |max_amount| {
            let percent = Percent::parse(10).unwrap();
            Benefit::Percent { percent, max_amount, currency: Currency::parse("USD").unwrap() }
        };
        let benefits = [Benefit::Amount { amount, currency }, percent(None), percent(Some(amount))];
        let validities =
            [Validity::Days(Days::parse(30).unwrap()), Validity::period(at(8), at(9)).unwrap()];
        for benefit in benefits {
            for validity in validities {
                let label = |text| Label::parse(text).unwrap();
                let conditions = Conditions {
                    min_order_amount: MinOrderAmount::parse(20_000).unwrap(),
                    product_ids: vec![label("a"), label("b")],
                    category_ids: Vec::new(),
                };
                let name = Name::parse("Welcome").unwrap();
                let draft = CouponDraft { name, benefit: benefit.clone(), conditions, validity };
                let id = CouponId::from_uuid(Uuid::from_u128(3));
                let (created_at, updated_at) = (at(10), at(11));
                let coupon = CouponRecord { id, draft, version: 12, created_at, updated_at };
                assert_eq!(back(&coupon), coupon);
            }
        }
    }
}
