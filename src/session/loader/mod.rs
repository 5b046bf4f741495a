//! Keeps the instrument list current, once for all accounts of the process: from the copy on disk
//! if that is not too old, else downloaded with whichever account can; anew each trading morning.
//! Not the parser (`market::master`), and not what a new list means for consumers (`gateway`).

mod copy;
mod day;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use metrics::Gauge;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use crate::backoff::Backoff;
use crate::broker::{Broker, Class, Error, MasterText};
use crate::clock::{Clock, UnixNanos};
use crate::market::calendar::ist_date;
use crate::market::master::Report;
use crate::market::{Calendar, Master, MasterBuilder, MasterHandle};
use crate::session::loader::copy::{Copy, Kept};
use crate::session::loader::day::next_due;
use crate::session::messages::{Asker, TokenError};
use crate::session::settings::Settings;
use crate::session::status::MasterStatus;
use crate::session::supervise::AbortOnDrop;
use crate::session::{SessionHandle, TokenDesk};
use crate::telemetry::metrics::ACTOR_RESTARTS;
use crate::token::{Product, Token, TokenEpoch};

/// How long one account is waited for before the next one is asked for a token.
const TOKEN_PATIENCE: Duration = Duration::from_secs(5);
/// Downloads in a row that lack a whole exchange, after which that is believed. A broker that
/// refuses one segment for a moment must not cost everybody's subscriptions there.
const BELIEVED_AFTER: u32 = 5;
/// Time between two of them.
const LACKING_PAUSE: Duration = Duration::from_mins(1);
/// A clock may be set back by so much without a download.
const MOST_AHEAD: Duration = Duration::from_hours(1);

/// Keeps the instrument list for as long as a clone of it is held.
#[derive(Clone)]
pub struct MasterKeeper {
    status: watch::Receiver<Option<MasterStatus>>,
    task: Arc<AbortOnDrop<()>>,
}

impl MasterKeeper {
    /// The list in force; `None` until one is loaded.
    pub fn status(&self) -> Option<MasterStatus> {
        *self.status.borrow()
    }

    /// Ends it: the list in force stays.
    pub fn stop(&self) {
        self.task.abort();
    }
}

impl fmt::Debug for MasterKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKeeper").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// Starts to keep the instrument list of these sessions, which share one; must be called inside a
/// Tokio runtime. An account that has no token, or cannot be reached, does not hold the others up.
pub fn keep_master(sessions: &[SessionHandle]) -> MasterKeeper {
    let (status_tx, status) = watch::channel(None);
    let keeper = sessions.first().map(|first| Arc::new(Keeper::new(first, sessions, status_tx)));
    let task = tokio::spawn(async move {
        let Some(keeper) = keeper else { return };
        loop {
            let ended = AbortOnDrop::new(tokio::spawn(Arc::clone(&keeper).run())).await;
            error!(panicked = ended.is_err(), "the keeper of the instrument list has ended unexpectedly");
            metrics::counter!(ACTOR_RESTARTS, "actor" => "master_keeper").increment(1);
            tokio::time::sleep(keeper.settings.backoff_ceiling()).await;
        }
    });
    MasterKeeper { status, task: Arc::new(AbortOnDrop::new(task)) }
}

/// One way to a list. Nothing here keeps the session, or its store, alive.
struct Account {
    name: String,
    broker: Arc<dyn Broker>,
    tokens: TokenDesk,
    instruments: Gauge,
    bad_rows: Gauge,
}

/// What is remembered of one account between two tries.
#[derive(Clone, Default)]
struct Tried {
    /// The token the broker refused.
    refused: Option<TokenEpoch>,
    not_before: Option<Instant>,
    /// Why it brought nothing last time.
    why: String,
}

struct Keeper {
    accounts: Vec<Account>,
    status: watch::Sender<Option<MasterStatus>>,
    master: MasterHandle,
    calendar: Calendar,
    clock: Arc<dyn Clock>,
    data_dir: PathBuf,
    settings: Settings,
    seed: u64,
}

/// Why an account brought no list, and the least time before it is asked again.
type Failure = (String, Duration);

/// What became of a downloaded text.
enum Read {
    Taken,
    Failed(String),
    Lacking(String),
}

impl Keeper {
    fn new(
        first: &SessionHandle,
        sessions: &[SessionHandle],
        status: watch::Sender<Option<MasterStatus>>,
    ) -> Self {
        let deps = &first.shared.deps;
        let account = |session: &SessionHandle| Account {
            name: session.account().to_owned(),
            broker: Arc::clone(&session.shared.deps.broker),
            tokens: session.tokens.clone(),
            instruments: session.shared.meters.master_instruments.clone(),
            bad_rows: session.shared.meters.master_bad_rows.clone(),
        };
        Self {
            accounts: sessions.iter().map(account).collect(),
            status,
            master: deps.master.clone(),
            calendar: deps.calendar,
            clock: Arc::clone(&deps.clock),
            data_dir: deps.data_dir.clone(),
            settings: deps.settings.clone(),
            seed: deps.seed.wrapping_add(303),
        }
    }

    async fn run(self: Arc<Self>) {
        let mut backoff =
            Backoff::new(self.settings.backoff_floor(), self.settings.backoff_ceiling(), self.seed);
        let mut tried = vec![Tried::default(); self.accounts.len()];
        let (mut lacking, mut told, mut not_before) = (0, String::new(), None);
        let mut cleared_on = Date::ZERO;
        if self.status.borrow().is_none() {
            self.take_copy(true).await;
        }
        loop {
            self.drop_expired(&mut cleared_on).await;
            if let Some(rest) = self.rest(not_before) {
                // In steps: the wall clock may jump, and a day may end meanwhile.
                tokio::time::sleep(rest.min(self.settings.clock_check())).await;
                continue;
            }
            let Err(why) = self.download(&mut tried, &mut lacking).await else {
                (told, not_before) = (String::new(), None);
                backoff.reset();
                continue;
            };
            if why == told {
                debug!(error = why, "the instrument list was not downloaded");
            } else {
                warn!(error = why, "the instrument list was not downloaded; tried again until it is");
                told = why;
            }
            if self.status.borrow().is_none() {
                // An old list is better than none; new instruments are missing from it.
                self.take_copy(false).await;
            }
            let now = Instant::now();
            let first = tried.iter().map(|tried| tried.not_before.unwrap_or(now)).min().unwrap_or(now);
            not_before = Some(first.max(now + backoff.next_delay()));
        }
    }

    /// How long nothing need be done, if so.
    fn rest(&self, not_before: Option<Instant>) -> Option<Duration> {
        let list = *self.status.borrow();
        let due = list.map_or(Duration::ZERO, |list| self.good_for(list.downloaded_at));
        let paused = not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
        Some(due.max(paused)).filter(|rest| !rest.is_zero())
    }

    /// How long a list of that time is still good.
    fn good_for(&self, downloaded_at: UnixNanos) -> Duration {
        let now = self.clock.now();
        // It was downloaded under a clock that was wrong.
        if downloaded_at > now.plus(MOST_AHEAD) {
            return Duration::ZERO;
        }
        next_due(&self.settings, self.calendar, downloaded_at).since(now)
    }

    /// Downloads one list with the first account that can.
    async fn download(self: &Arc<Self>, tried: &mut [Tried], lacking: &mut u32) -> Result<(), String> {
        for (at, tried) in tried.iter_mut().enumerate() {
            let now = Instant::now();
            if tried.not_before.is_some_and(|not_before| now < not_before) {
                continue;
            }
            match self.download_with(at, &mut tried.refused, lacking).await {
                Ok(()) => {
                    *tried = Tried::default();
                    return Ok(());
                }
                Err((why, pause)) => {
                    tried.not_before = Some(Instant::now() + pause);
                    tried.why = format!("account {}: {why}", self.accounts[at].name);
                }
            }
        }
        let all: Vec<_> = tried.iter().map(|tried| tried.why.as_str()).collect();
        Err(all.join("; "))
    }

    async fn download_with(
        self: &Arc<Self>,
        at: usize,
        refused: &mut Option<TokenEpoch>,
        lacking: &mut u32,
    ) -> Result<(), Failure> {
        let account = &self.accounts[at];
        let token = self.token(account, *refused).await?;
        let patience = Duration::from_millis(self.settings.master_timeout_ms);
        let text = tokio::time::timeout(patience, account.broker.instruments(&token))
            .await
            .unwrap_or_else(|_| Err(Error::Network("the download was not finished in time".to_owned())))
            .map_err(|error| {
                if error.class() == Class::NeedsToken {
                    *refused = Some(token.epoch);
                }
                (error.to_string(), error.retry_after().unwrap_or_default())
            })?;
        let keeper = Arc::clone(self);
        let believed = *lacking + 1 >= BELIEVED_AFTER;
        let read = tokio::task::spawn_blocking(move || keeper.read(at, text, believed)).await;
        match read.unwrap_or_else(|_| Read::Failed("reading it failed".to_owned())) {
            Read::Taken => {
                *lacking = 0;
                Ok(())
            }
            Read::Failed(why) => Err((why, Duration::ZERO)),
            Read::Lacking(what) => {
                *lacking += 1;
                Err((format!("it lacks all of {what}, which was there before"), LACKING_PAUSE))
            }
        }
    }

    async fn token(&self, account: &Account, refused: Option<TokenEpoch>) -> Result<Token, Failure> {
        // At night it is denied: whoever can wait for the morning does. And one of before the
        // day's cut-off is never granted, so that the list is of the day that it is asked on.
        let asked = account.tokens.get(Product::Market, refused, Asker::Master);
        let ceiling = self.settings.backoff_ceiling();
        match tokio::time::timeout(TOKEN_PATIENCE, asked).await {
            Ok(Ok(granted)) => Ok(granted.token),
            Ok(Err(TokenError::Waiting { retry_in, reason })) => {
                // Asking costs no login, and an operator may bring one sooner.
                Err((format!("no token: {reason}"), retry_in.min(ceiling)))
            }
            Ok(Err(TokenError::Unavailable)) => Err((TokenError::Unavailable.to_string(), Duration::ZERO)),
            Ok(Err(why)) => Err((why.to_string(), ceiling)),
            Err(_) => Err(("its token is still waited for".to_owned(), Duration::ZERO)),
        }
    }

    /// Makes a list of a text and puts it in force. Takes long; not for an async thread.
    fn read(&self, at: usize, text: MasterText, believed: bool) -> Read {
        let (master, report) = read_text(&text);
        if master.is_empty() {
            return Read::Failed("it holds no instrument that can be read".to_owned());
        }
        let missing = self.master.load().map_or_else(Vec::new, |old| old.exchanges_missing_in(&master));
        if !missing.is_empty() {
            let missing: Vec<_> = missing.iter().map(|exchange| exchange.as_str()).collect();
            let missing = missing.join(", ");
            if !believed {
                return Read::Lacking(missing);
            }
            warn!(missing, "the broker has no instruments of an exchange any more");
        }
        let (now, copy) = (self.clock.now(), self.copy());
        let binding = self.accounts[at].broker.binding(Product::Market);
        if let Err(error) = copy.write(&text, now, &binding) {
            warn!(%error, file = %copy.path().display(), "the instrument list could not be kept on disk");
        }
        drop(text);
        self.publish(Kept { master, report, downloaded_at: now }, Some(at));
        Read::Taken
    }

    /// Takes the copy on disk, if there is one; only one that is not due yet, if `current`.
    async fn take_copy(self: &Arc<Self>, current: bool) {
        let keeper = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || {
            let is_wanted = |at| !current || !keeper.good_for(at).is_zero();
            let Some(mut kept) = keeper.copy().read(is_wanted)? else { return Ok(()) };
            let today = ist_date(keeper.clock.now());
            if ist_date(kept.downloaded_at) < today {
                kept.master = kept.master.without_expired(today).unwrap_or(kept.master);
            }
            if !kept.master.is_empty() {
                keeper.publish(kept, None);
            }
            Ok(())
        });
        let read = read.await.unwrap_or_else(|_| Err(io::Error::other("reading it failed")));
        if let Err(error) = read {
            warn!(%error, "the copy of the instrument list cannot be read");
        }
    }

    fn copy(&self) -> Copy {
        let bindings = self.accounts.iter().map(|account| account.broker.binding(Product::Market));
        Copy::of(&self.data_dir, bindings)
    }

    /// Lets go of contracts that have expired since the list's day: their numbers may be others'
    /// from now on, and the next list may be late.
    async fn drop_expired(&self, cleared_on: &mut Date) {
        let (Some(status), Some(master)) = (*self.status.borrow(), self.master.load()) else { return };
        let today = ist_date(self.clock.now());
        if *cleared_on == today || ist_date(status.downloaded_at) >= today {
            return;
        }
        *cleared_on = today;
        let before = master.len();
        let left = tokio::task::spawn_blocking(move || master.without_expired(today)).await;
        match left {
            Ok(None) => {}
            Ok(Some(left)) => {
                let instruments = left.len();
                info!(expired = before - instruments, "contracts that have expired left the instrument list");
                self.master.store(Arc::new(left));
                self.show(MasterStatus { instruments, ..status });
            }
            Err(_) => error!("expired contracts are still in the instrument list"),
        }
    }

    /// Puts a list in force: one that an account has downloaded, or the copy on disk.
    fn publish(&self, kept: Kept, by: Option<usize>) {
        let Kept { master, report, downloaded_at } = kept;
        let instruments = master.len();
        info!(
            instruments,
            bad_rows = report.bad_rows,
            skipped = report.skipped,
            conflicts = report.conflicts,
            downloaded_at = downloaded_at.in_india(),
            account = by.map(|at| self.accounts[at].name.as_str()),
            from_disk = by.is_none(),
            "instrument list loaded"
        );
        for bad in &report.first_bad {
            warn!(line = bad.line, reason = ?bad.reason, "a row of the instrument list was skipped");
        }
        self.master.store(Arc::new(master));
        self.show(MasterStatus {
            instruments,
            loaded_at: self.clock.now(),
            bad_rows: report.bad_rows,
            from_disk: by.is_none(),
            downloaded_at,
        });
    }

    fn show(&self, status: MasterStatus) {
        for account in &self.accounts {
            account.instruments.set(status.instruments as f64);
            account.bad_rows.set(status.bad_rows as f64);
        }
        self.status.send_replace(Some(status));
    }
}

fn read_text(text: &MasterText) -> (Master, Report) {
    let mut builder = MasterBuilder::new();
    builder.add_rows(&text.rows);
    for (segment, entry) in &text.indices {
        builder.add_index(*segment, entry);
    }
    builder.finish()
}
