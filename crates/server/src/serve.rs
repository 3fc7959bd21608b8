//! `firstcome serve`: from the configuration to a drained end.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use firstcome_cache::Caches;
use firstcome_cache::redis::RedisUse;
use firstcome_core::Clock;
use firstcome_identity::FirstAdmin;
use firstcome_issuance::ClaimCall;
use firstcome_ledger::{Ledger, Purpose};
use firstcome_web::{ConnectionThreads, Drained, Fronted, Limits, SystemClock, limited_edge};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::banner::Banner;
use crate::config::{AdminConfig, Settings};
use crate::kafka::{self, Kafka};
use crate::measures::Measures;
use crate::operations::Operations;
use crate::services::Services;
use crate::{document, files, logs, operations, redis, stop, traces};

/// What the lanes and the ledger still get when the connections took the whole deadline.
const LAST_DRAIN: Duration = Duration::from_secs(1);

/// Serves until a signal, then drains. Fails when something had to be cut off at the deadline.
///
/// # Errors
/// When the start fails, or the ledger cannot be closed; a sentence for the operator.
pub(crate) async fn serve(settings: Settings, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    settings.check_secret()?;
    logs::init(&settings.telemetry)?;
    let stopping = stop::on_signal()?;
    let measures = Measures::install()?;
    files::raise_limit(settings.server.connections_max());
    let traces = traces::start(&settings.telemetry)?;
    let listener = bind(&settings.server.listen).await?;
    let threads = ConnectionThreads::start().context("cannot start the connections' threads")?;
    let (ledger, services, kafka) = start(&settings).await?;
    announce(&settings, listener.local_addr()?, &services, out).await?;

    let keeping_up = measures.keep_up();
    let kafka_state = kafka.as_ref().and_then(Kafka::needed);
    let operations = Operations::new(ledger.clone(), measures, kafka_state);
    let limits = Arc::new(Limits::new(&settings.limits)?);
    let app = || app(&settings, &services, operations.clone(), &limits);
    let server = &settings.server;
    let drain_deadline = OnceLock::new();
    let shutdown = async {
        stopping.cancelled().await;
        operations.begin_drain();
        tokio::time::sleep(server.drain_delay()).await;
        drain_deadline.get_or_init(|| Instant::now() + server.drain_deadline());
    };
    let options = server.serve_options();
    let drained = firstcome_web::serve(listener, &threads, app, options, shutdown).await;

    let left = drain_deadline.get().map_or(Duration::ZERO, time_until);
    let services_drained = services.shutdown(left.max(LAST_DRAIN)).await;
    if let Some(traces) = traces {
        let left = drain_deadline.get().map_or(Duration::ZERO, time_until);
        traces.end(left.max(LAST_DRAIN)).await;
    }
    ledger.close().await.context("cannot close the ledger; the next start repairs it")?;
    keeping_up.abort();
    // Not earlier: a change whose client has gone runs on its connection's thread.
    drop(threads);
    Ok(ended(drained, services_drained.is_ok()))
}

/// Opens the ledger and starts the services on it.
async fn start(settings: &Settings) -> anyhow::Result<(Ledger, Services, Option<Kafka>)> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    make_private(&settings.server.data_dir)?;
    let ledger = Ledger::open(settings.ledger_options(Purpose::Serve)?, Arc::clone(&clock)).await?;
    let caches = Caches::start(&settings.redis)?;
    if let Some(redis) = caches.redis() {
        redis::check(redis, RedisUse::Cache).await?;
    }
    let kafka = kafka::start(settings, &ledger).await?;
    let journal = kafka.as_ref().map(|kafka| &kafka.journal);
    let services = Services::start(settings, ledger.clone(), &caches, journal, clock).await?;
    Ok((ledger, services, kafka))
}

/// Sees to it that there is an admin, and says what whoever started the process must know.
async fn announce(
    settings: &Settings,
    address: SocketAddr,
    services: &Services,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let AdminConfig { email, password } = settings.admin.clone();
    // Without the role no password can be checked here: that is for who has it.
    let admin = match services.identity() {
        Some(identity) => &identity.first_admin(email.clone(), password).await?,
        None => &FirstAdmin::Existing,
    };
    let options = settings.ledger_options(Purpose::Serve)?;
    let ledger = options.path().map_or_else(|| options.shown(), absolute);
    let banner = Banner { address, ledger: &ledger, email: &email, admin };
    out.write_all(banner.text().as_bytes())
        .and_then(|()| out.flush())
        .context("cannot say on standard output where it listens")
}

fn time_until(moment: &Instant) -> Duration {
    moment.saturating_duration_since(Instant::now())
}

/// Every route, within the edge and the limits.
fn app(
    settings: &Settings,
    services: &Services,
    operations: Operations,
    limits: &Arc<Limits>,
) -> Fronted<ClaimCall> {
    let roles = settings.server.roles();
    let operations: Router = operations::calls().with_state(operations).into();
    let routes = services.router(&roles).merge(operations).merge(document::router(&roles));
    let options = settings.server.edge_options();
    let routes = limited_edge(routes, options, limits);
    Fronted::new(services.front(&roles), routes, options).limited(limits)
}

async fn bind(address: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}: stop what uses it, or choose another with --listen")
    })
}

/// Makes the data directory, for its owner alone; one that is there stays as it is.
pub(crate) fn make_private(directory: &Path) -> anyhow::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(directory).with_context(|| {
        format!("cannot make the data directory {}; --data-dir names another", directory.display())
    })
}

/// The path as an operator elsewhere can use it.
fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

fn ended(drained: Drained, lanes_drained: bool) -> ExitCode {
    let Drained { cut } = drained;
    if cut > 0 {
        tracing::error!("stopped at the drain's deadline; connections cut: {cut}");
    }
    if !lanes_drained {
        tracing::error!("stopped at the drain's deadline; some claims were answered in_doubt");
    }
    if cut == 0 && lanes_drained {
        tracing::info!("stopped: everything accepted was answered");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
