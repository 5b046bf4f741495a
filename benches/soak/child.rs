//! The server as a process of its own, on a clock that its parent moves by lines on standard input.

use std::io::{BufRead as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tickgate::app::{self, Outcome};
use tickgate::clock::{Clock, SystemClock, UnixNanos};
use tickgate::config::{self, ProcessEnv};

/// Makes a process of this program the server; holds the clock's first offset in nanoseconds.
pub(crate) const MARK: &str = "SOAK_SERVER_OFFSET";

/// The machine's clock, moved.
#[derive(Debug, Default)]
pub(crate) struct MovedClock(AtomicI64);

impl MovedClock {
    pub(crate) fn set_offset(&self, nanos: i64) {
        self.0.store(nanos, Ordering::SeqCst);
    }

    pub(crate) fn offset(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Shows `to` now. Returns the offset.
    pub(crate) fn set(&self, to: UnixNanos) -> i64 {
        self.set_offset(to.as_nanos() - SystemClock.now().as_nanos());
        self.offset()
    }
}

impl Clock for MovedClock {
    fn now(&self) -> UnixNanos {
        UnixNanos::from_nanos(SystemClock.now().as_nanos() + self.offset())
    }
}

/// Runs until standard input ends.
pub(crate) fn run() -> ExitCode {
    let clock = Arc::new(MovedClock::default());
    let first = std::env::var(MARK).ok().and_then(|text| text.parse().ok());
    clock.set_offset(first.unwrap_or(0));
    let loaded = match config::load(None, &ProcessEnv) {
        Ok(loaded) => loaded,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    };
    tickgate::telemetry::log::init(&loaded.config.log, clock.clone());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let moved = Arc::clone(&clock);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if let Ok(offset) = line.trim().parse() {
                moved.set_offset(offset);
            }
            // The parent waits for it.
            println!("moved");
            let _ = std::io::stdout().flush();
        }
        drop(stop);
    });
    let system = actix::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("the operating system gives threads")
    });
    let outcome = system.block_on(app::run_on(clock, loaded, async move {
        let _ = stopped.await;
    }));
    match outcome {
        Ok(Outcome::Stopped) => ExitCode::SUCCESS,
        Ok(Outcome::GaveUp) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
