//! Metrics: the recorder behind the `metrics` facade, and what the process tells of itself.
//! `docs/metrics.md` explains every name.

use std::time::Duration;

use firstcome_ledger::Ledger;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use tokio::task::JoinHandle;
use tokio_metrics::RuntimeMetricsReporterBuilder;

/// How often samples are folded into their histograms: memory grows between two folds.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Upper bounds of the buckets of every time, in seconds.
const SECONDS_BUCKETS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
/// Upper bounds of the buckets of a number of claims.
const CLAIMS_BUCKETS: [f64; 11] =
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 400.0, 700.0, 1_000.0];

/// The process's metrics.
#[derive(Clone)]
pub(crate) struct Measures {
    recorder: PrometheusHandle,
    process: Collector,
}

impl Measures {
    /// Installs the recorder. Handles that were made before stay silent, so that this comes first.
    ///
    /// # Errors
    /// When there is a recorder already.
    pub(crate) fn install() -> anyhow::Result<Self> {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)?
            .set_buckets_for_metric(Matcher::Suffix("_claims".to_owned()), &CLAIMS_BUCKETS)?
            .install_recorder()?;
        let process = Collector::default();
        process.describe();
        firstcome_web::auth::describe_metrics();
        firstcome_web::middleware::describe_metrics();
        firstcome_web::limits::describe_metrics();
        firstcome_web::serve::describe_metrics();
        firstcome_web::thread::describe_metrics();
        firstcome_ledger::describe_metrics();
        firstcome_identity::describe_metrics();
        Ok(Self { recorder, process })
    }

    /// Keeps the histograms folded and tells of the runtime, until the handle is aborted.
    pub(crate) fn keep_up(&self) -> JoinHandle<()> {
        let recorder = self.recorder.clone();
        let runtime = RuntimeMetricsReporterBuilder::default().with_interval(UPKEEP_INTERVAL);
        tokio::spawn(async move {
            let fold = async {
                let mut interval = tokio::time::interval(UPKEEP_INTERVAL);
                loop {
                    interval.tick().await;
                    recorder.run_upkeep();
                }
            };
            tokio::join!(fold, runtime.describe_and_run());
        })
    }

    /// Everything in the text format of Prometheus.
    pub(crate) fn render(&self, ledger: &Ledger) -> String {
        self.process.collect();
        ledger.tell_connections();
        self.recorder.render()
    }
}
