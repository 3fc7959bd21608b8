//! Metrics that a test reads.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

/// A recorder that counts.
#[derive(Clone, Default)]
pub(crate) struct Measures(Arc<Mutex<HashMap<String, Arc<Measure>>>>);

/// One metric: how often it was counted or recorded; of a gauge, the most it showed.
#[derive(Default)]
pub(crate) struct Measure {
    count: AtomicU64,
    level: AtomicI64,
    level_max: AtomicI64,
}

impl Measure {
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    pub(crate) fn level_max(&self) -> i64 {
        self.level_max.load(Ordering::SeqCst)
    }

    fn step(&self, by: i64) {
        let level = self.level.fetch_add(by, Ordering::SeqCst) + by;
        self.level_max.fetch_max(level, Ordering::SeqCst);
    }
}

impl Measures {
    /// The metric with this name, and the values of its labels behind slashes.
    pub(crate) fn of(&self, name: &str) -> Arc<Measure> {
        let mut measures = self.0.lock().expect("no panic while locked");
        Arc::clone(measures.entry(name.to_owned()).or_default())
    }

    fn register(&self, key: &Key) -> Arc<Measure> {
        let labels = key.labels().map(|label| format!("/{}", label.value()));
        self.of(&format!("{}{}", key.name(), labels.collect::<String>()))
    }
}

impl CounterFn for Measure {
    fn increment(&self, value: u64) {
        self.count.fetch_add(value, Ordering::SeqCst);
    }

    fn absolute(&self, value: u64) {
        self.count.store(value, Ordering::SeqCst);
    }
}

impl GaugeFn for Measure {
    fn increment(&self, _: f64) {
        self.step(1);
    }

    fn decrement(&self, _: f64) {
        self.step(-1);
    }

    fn set(&self, _: f64) {
        panic!("no gauge is set");
    }
}

impl HistogramFn for Measure {
    fn record(&self, _: f64) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }
}

impl Recorder for Measures {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.register(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.register(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.register(key))
    }
}
