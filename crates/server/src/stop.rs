//! Stopping: the first SIGTERM or Ctrl-C asks for a drain, the second ends the process at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code after a second signal, as of a shell whose command Ctrl-C ended.
const EXIT_AT_ONCE: i32 = 130;

/// Listens from here on; the token is cancelled at the first signal.
///
/// # Errors
/// When the system gives no signals.
pub(crate) fn on_signal() -> std::io::Result<CancellationToken> {
    let mut signals = Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
    };
    let stopping = CancellationToken::new();
    let token = stopping.clone();
    tokio::spawn(async move {
        let name = signals.next().await;
        tracing::info!("{name}: stopping when everything accepted is answered");
        token.cancel();
        let name = signals.next().await;
        tracing::warn!("{name} again: stopping at once; claims under way are in doubt");
        std::process::exit(EXIT_AT_ONCE);
    });
    Ok(stopping)
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Waits for a signal; its name.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
