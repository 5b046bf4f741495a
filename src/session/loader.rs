//! Loads the instrument master: the copy on disk if it is of today, else a download, else the
//! old copy. Not the parser; that is `market::master`.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use sha2::{Digest as _, Sha256};
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::broker::{Class, Error, MasterText};
use crate::market::calendar::ist_date;
use crate::market::master::Report;
use crate::market::{Master, MasterBuilder};
use crate::session::TokenDesk;
use crate::session::messages::{Asker, TokenError};
use crate::session::shared::Shared;
use crate::session::status::MasterStatus;
use crate::token::{Product, TokenEpoch};

/// First line of a copy, up to the date.
const HEADER: &str = "tickgate-master 1";
/// Read at a time.
const CHUNK: usize = 256 * 1024;

/// Loads a master and ends; a failed download is tried again until one succeeds.
pub(crate) async fn run(shared: Arc<Shared>, tokens: TokenDesk) {
    let deps = &shared.deps;
    let disk = Copy::of(&shared);
    let today = ist_date(shared.now());
    match from_disk(&shared, disk.clone(), Some(today)).await {
        Ok(true) => return,
        Ok(false) => {}
        Err(e) => warn!(error = %e, "the copy of the instrument master cannot be read"),
    }
    let seed = deps.seed.wrapping_add(303);
    let mut backoff = Backoff::new(deps.settings.backoff_floor(), deps.settings.backoff_ceiling(), seed);
    let mut refused: Option<TokenEpoch> = None;
    loop {
        let (why, wait) = match download(&shared, &tokens, &mut refused, &disk).await {
            Ok(()) => return,
            Err(failed) => failed,
        };
        warn!(error = why, "the instrument master was not downloaded");
        if deps.master.load().is_none() {
            // An old list is better than none; new instruments are missing from it.
            if let Err(e) = from_disk(&shared, disk.clone(), None).await {
                warn!(error = %e, "the copy of the instrument master cannot be read");
            }
        }
        tokio::time::sleep(backoff.next_delay().max(wait)).await;
    }
}

/// Downloads, reads and keeps one master. A failure comes with the least time to wait.
async fn download(
    shared: &Arc<Shared>,
    tokens: &TokenDesk,
    refused: &mut Option<TokenEpoch>,
    disk: &Copy,
) -> Result<(), (String, Duration)> {
    let deps = &shared.deps;
    let granted = tokens.get(Product::Market, *refused, Asker::Master).await.map_err(|why| {
        let wait = match &why {
            TokenError::Waiting { retry_in, .. } => *retry_in,
            TokenError::Unavailable => Duration::ZERO,
            _ => deps.settings.backoff_ceiling(),
        };
        (why.to_string(), wait)
    })?;
    let patience = Duration::from_millis(deps.settings.master_timeout_ms);
    let text = tokio::time::timeout(patience, deps.broker.instruments(&granted.token))
        .await
        .unwrap_or_else(|_| Err(Error::Network("the download was not finished in time".to_owned())))
        .map_err(|error| {
            if error.class() == Class::NeedsToken {
                *refused = Some(granted.token.epoch);
            }
            (error.to_string(), error.retry_after().unwrap_or_default())
        })?;
    let date = ist_date(shared.now());
    let (disk, kept) = (disk.clone(), Arc::clone(shared));
    let built = tokio::task::spawn_blocking(move || {
        let (master, report) = read_text(&text);
        if master.is_empty() {
            return None;
        }
        if let Err(e) = disk.write(&text, date) {
            warn!(error = %e, file = %disk.path.display(), "the instrument master could not be kept on disk");
        }
        drop(text);
        publish(&kept, master, &report, false);
        Some(())
    })
    .await;
    match built {
        Ok(Some(())) => Ok(()),
        Ok(None) => Err(("it holds no instrument that can be read".to_owned(), Duration::ZERO)),
        Err(_) => Err(("reading it failed".to_owned(), Duration::ZERO)),
    }
}

/// Takes the copy on disk, if there is one of `date` (any, if `None`). `false`: there is none.
async fn from_disk(shared: &Arc<Shared>, disk: Copy, date: Option<Date>) -> io::Result<bool> {
    let shared = Arc::clone(shared);
    let read = tokio::task::spawn_blocking(move || {
        let Some((master, report)) = disk.read(date)? else { return Ok(false) };
        if master.is_empty() {
            return Ok(false);
        }
        publish(&shared, master, &report, true);
        Ok(true)
    });
    read.await.unwrap_or_else(|_| Err(io::Error::other("reading it failed")))
}

fn read_text(text: &MasterText) -> (Master, Report) {
    let mut builder = MasterBuilder::new();
    builder.add_rows(&text.rows);
    for (segment, entry) in &text.indices {
        builder.add_index(*segment, entry);
    }
    builder.finish()
}

fn publish(shared: &Shared, master: Master, report: &Report, from_disk: bool) {
    info!(
        instruments = report.instruments,
        bad_rows = report.bad_rows,
        skipped = report.skipped,
        conflicts = report.conflicts,
        from_disk,
        "instrument master loaded"
    );
    for bad in &report.first_bad {
        warn!(line = bad.line, reason = ?bad.reason, "a row of the instrument master was skipped");
    }
    shared.meters.master_instruments.set(report.instruments as f64);
    shared.meters.master_bad_rows.set(report.bad_rows as f64);
    shared.deps.master.store(Arc::new(master));
    let status = MasterStatus {
        instruments: report.instruments,
        loaded_at: shared.now(),
        bad_rows: report.bad_rows,
        from_disk,
    };
    shared.status.send_modify(|all| all.master = Some(status));
}

/// The copy on disk. It starts with a line that says of which day and which broker it is, then
/// come the index lists' entries, an empty line, and the rows as downloaded.
#[derive(Clone, Debug)]
struct Copy {
    path: PathBuf,
    /// Hash of what the broker's tokens are bound to: a copy of another broker is no copy.
    broker: String,
}

impl Copy {
    fn of(shared: &Shared) -> Self {
        let deps = &shared.deps;
        let name: String = deps
            .account
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' })
            .collect();
        let digest = Sha256::digest(deps.broker.binding(Product::Market).as_bytes());
        let broker = format!("{:032x}", u128::from_be_bytes(std::array::from_fn(|at| digest[at])));
        Self { path: deps.data_dir.join(format!("master-{name}.txt")), broker }
    }

    fn write(&self, text: &MasterText, date: Date) -> io::Result<()> {
        let fresh = self.path.with_extension("txt.new");
        let mut out = BufWriter::with_capacity(CHUNK, File::create(&fresh)?);
        writeln!(out, "{HEADER} {date} {} {}", self.broker, text.rows.len())?;
        for (segment, entry) in &text.indices {
            writeln!(out, "{segment} {}", entry.replace(['\r', '\n'], " "))?;
        }
        writeln!(out)?;
        out.write_all(text.rows.as_bytes())?;
        // The name moves only to a file that is whole on disk.
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&fresh, &self.path)
    }

    fn read(&self, date: Option<Date>) -> io::Result<Option<(Master, Report)>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut file = BufReader::with_capacity(CHUNK, file);
        let mut line = String::new();
        file.read_line(&mut line)?;
        let Some(length) = self.check_header(&line, date) else { return Ok(None) };
        let mut builder = MasterBuilder::new();
        loop {
            line.clear();
            if file.read_line(&mut line)? == 0 {
                return Err(truncated(&self.path));
            }
            let Some((segment, entry)) = line.trim_end_matches('\n').split_once(' ') else { break };
            builder.add_index(segment.parse().unwrap_or(-1), entry);
        }
        let mut left = length;
        let mut chunk = vec![0; CHUNK];
        while left > 0 {
            let read = file.read(&mut chunk)?;
            if read == 0 {
                return Err(truncated(&self.path));
            }
            builder.add_chunk(&chunk[..read.min(left)]);
            left = left.saturating_sub(read);
        }
        Ok(Some(builder.finish()))
    }

    /// The length of the rows, if the copy is of this broker and of `date`.
    fn check_header(&self, line: &str, date: Option<Date>) -> Option<usize> {
        let mut words = line.trim_end().strip_prefix(HEADER)?.split_ascii_whitespace();
        let written: Date = words.next()?.parse().ok()?;
        let same_broker = words.next()? == self.broker;
        let length = words.next()?.parse().ok()?;
        (same_broker && date.is_none_or(|date| date == written)).then_some(length)
    }
}

fn truncated(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("{} is cut short", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Exchange;

    fn text() -> MasterText {
        MasterText {
            rows: crate::session::tests::broker::MASTER_ROWS.to_owned(),
            indices: vec![(1, "NIFTY 50_26000".to_owned())],
        }
    }

    fn copy(dir: &Path) -> Copy {
        Copy { path: dir.join("master-default.txt"), broker: "abc".to_owned() }
    }

    #[test]
    fn a_copy_reads_back_what_was_downloaded_and_knows_its_day_and_broker() {
        let dir = tempfile::tempdir().unwrap();
        let copy = copy(dir.path());
        let day = jiff::civil::date(2026, 2, 10);
        assert!(copy.read(None).unwrap().is_none());
        copy.write(&text(), day).unwrap();
        let (direct, _) = read_text(&text());
        let (read, _) = copy.read(Some(day)).unwrap().unwrap();
        assert!(!direct.is_empty());
        assert_eq!(read.len(), direct.len());
        assert_eq!(read.resolve(Exchange::Nse, "RELIANCE"), direct.resolve(Exchange::Nse, "RELIANCE"));
        assert_eq!(read.resolve(Exchange::NseIndex, "NIFTY"), direct.resolve(Exchange::NseIndex, "NIFTY"));
        assert!(copy.read(Some(jiff::civil::date(2026, 2, 11))).unwrap().is_none());
        let other = Copy { broker: "def".to_owned(), ..copy };
        assert!(other.read(None).unwrap().is_none());
    }

    #[test]
    fn a_copy_cut_short_is_an_error_and_not_half_a_master() {
        let dir = tempfile::tempdir().unwrap();
        let copy = copy(dir.path());
        copy.write(&text(), jiff::civil::date(2026, 2, 10)).unwrap();
        let bytes = std::fs::read(&copy.path).unwrap();
        std::fs::write(&copy.path, &bytes[..bytes.len() - 10]).unwrap();
        assert!(copy.read(None).is_err());
        std::fs::write(&copy.path, b"anything else\n").unwrap();
        assert!(copy.read(None).unwrap().is_none());
    }
}
