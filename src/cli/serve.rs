//! `tickgate serve`: runs the feed server until it is asked to stop.

use std::sync::Arc;

use super::{SUCCESS, USAGE, say, told};
use crate::app::{self, Outcome};
use crate::clock::SystemClock;
use crate::config::Loaded;
use crate::telemetry::log;

/// The server gave up after repeated internal failures; a service manager should restart it.
const GAVE_UP: u8 = 70;

pub(super) fn run(loaded: Loaded) -> anyhow::Result<u8> {
    log::init(&loaded.config.log, Arc::new(SystemClock));
    // The actors live on this thread; the data plane's tasks on the runtime's workers.
    let system = actix::System::with_tokio_rt(|| {
        #[expect(
            clippy::expect_used,
            reason = "without a runtime there is nothing to run; the message says why"
        )]
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("tickgate")
            .enable_all()
            .build()
            .expect("the operating system gives threads")
    });
    let outcome = system.block_on(app::run(loaded, stop_asked_for()));
    match outcome {
        Ok(Outcome::Stopped) => Ok(SUCCESS),
        Ok(Outcome::GaveUp) => {
            say("tickgate: gave up after repeated internal failures");
            Ok(GAVE_UP)
        }
        Err(error) => {
            let misconfigured = error.is_misconfigured();
            let error = error.into();
            if !misconfigured {
                return Err(error);
            }
            say(&format!("tickgate: {}", told(&error)));
            Ok(USAGE)
        }
    }
}

/// Waits for Ctrl-C or SIGTERM.
pub(super) async fn stop_asked_for() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    // Without a SIGTERM handler the default action ends the process, which is what was asked.
    let _ = interrupt.await;
}
