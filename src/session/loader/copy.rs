//! The copy of the instrument list on disk. It starts with a line that says when and from which
//! broker it was downloaded, then come the index lists' entries, an empty line, and the rows as
//! downloaded. Not the decision whether it is still good.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::broker::MasterText;
use crate::clock::UnixNanos;
use crate::market::master::Report;
use crate::market::{Master, MasterBuilder};

/// First line of a copy, up to the time.
const HEADER: &str = "tickgate-master 2";
/// Read at a time.
const CHUNK: usize = 256 * 1024;

/// See the module's text.
#[derive(Clone, Debug)]
pub(super) struct Copy {
    path: PathBuf,
    /// Hashes of what the accounts' tokens are bound to: a copy of another broker is no copy.
    brokers: Vec<String>,
}

/// What a copy held.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) master: Master,
    pub(super) report: Report,
    pub(super) downloaded_at: UnixNanos,
}

impl Copy {
    /// The copy in a directory, for accounts with these bindings.
    pub(super) fn of(data_dir: &Path, bindings: impl Iterator<Item = String>) -> Self {
        Self {
            path: data_dir.join("master.txt"),
            brokers: bindings.map(|binding| short_hash(&binding)).collect(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the copy by what the account with `binding` has downloaded at that time.
    pub(super) fn write(&self, text: &MasterText, downloaded_at: UnixNanos, binding: &str) -> io::Result<()> {
        let fresh = self.path.with_extension("txt.new");
        let mut out = BufWriter::with_capacity(CHUNK, File::create(&fresh)?);
        let (at, broker) = (downloaded_at.as_secs(), short_hash(binding));
        writeln!(out, "{HEADER} {at} {broker} {}", text.rows.len())?;
        for (segment, entry) in &text.indices {
            writeln!(out, "{segment} {}", entry.replace(['\r', '\n'], " "))?;
        }
        writeln!(out)?;
        out.write_all(text.rows.as_bytes())?;
        // The name moves only to a file that is whole on disk.
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&fresh, &self.path)
    }

    /// Reads the copy, if there is one of a time that `is_wanted`.
    pub(super) fn read(&self, is_wanted: impl Fn(UnixNanos) -> bool) -> io::Result<Option<Kept>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut file = BufReader::with_capacity(CHUNK, file);
        let mut line = String::new();
        file.read_line(&mut line)?;
        let Some((downloaded_at, length)) = self.check_header(&line).filter(|(at, _)| is_wanted(*at)) else {
            return Ok(None);
        };
        let mut indices = Vec::new();
        loop {
            line.clear();
            if file.read_line(&mut line)? == 0 {
                return Err(self.truncated());
            }
            let Some((segment, entry)) = line.trim_end_matches('\n').split_once(' ') else { break };
            indices.push((segment.parse().unwrap_or(-1), entry.to_owned()));
        }
        let mut builder = MasterBuilder::new();
        let mut left = length;
        let mut chunk = vec![0; CHUNK];
        while left > 0 {
            let read = file.read(&mut chunk)?;
            if read == 0 {
                return Err(self.truncated());
            }
            builder.add_chunk(&chunk[..read.min(left)]);
            left = left.saturating_sub(read);
        }
        // After the rows, as when they come from the broker: where both name one thing, the rows win.
        for (segment, entry) in indices {
            builder.add_index(segment, &entry);
        }
        let (master, report) = builder.finish();
        Ok(Some(Kept { master, report, downloaded_at }))
    }

    /// The time, and the length of the rows, if the copy is of one of these brokers.
    fn check_header(&self, line: &str) -> Option<(UnixNanos, usize)> {
        let mut words = line.trim_end().strip_prefix(HEADER)?.split_ascii_whitespace();
        let downloaded_at = UnixNanos::from_secs(words.next()?.parse().ok()?);
        let broker = words.next()?;
        let length = words.next()?.parse().ok()?;
        self.brokers.iter().any(|own| own == broker).then_some((downloaded_at, length))
    }

    fn truncated(&self) -> io::Error {
        io::Error::new(io::ErrorKind::UnexpectedEof, format!("{} is cut short", self.path.display()))
    }
}

fn short_hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    format!("{:032x}", u128::from_be_bytes(std::array::from_fn(|at| digest[at])))
}

#[cfg(test)]
mod tests {
    use super::super::read_text;
    use super::*;
    use crate::market::Exchange;

    const AT: UnixNanos = UnixNanos::from_secs(1_770_701_400);

    fn text() -> MasterText {
        MasterText {
            rows: crate::session::tests::broker::MASTER_ROWS.to_owned(),
            indices: vec![(1, "NIFTY 50_26000".to_owned())],
        }
    }

    fn copy(dir: &Path, bindings: &[&str]) -> Copy {
        Copy::of(dir, bindings.iter().map(|&binding| binding.to_owned()))
    }

    #[test]
    fn a_copy_reads_back_what_was_downloaded_and_knows_its_time_and_broker() {
        let dir = tempfile::tempdir().unwrap();
        let both = copy(dir.path(), &["a", "b"]);
        assert!(both.read(|_| true).unwrap().is_none());
        both.write(&text(), AT, "b").unwrap();
        let (direct, _) = read_text(&text());
        let kept = both.read(|at| at == AT).unwrap().unwrap();
        assert!(!direct.is_empty());
        assert_eq!((kept.master.len(), kept.downloaded_at), (direct.len(), AT));
        for (exchange, symbol) in [(Exchange::Nse, "RELIANCE"), (Exchange::NseIndex, "NIFTY")] {
            assert_eq!(kept.master.resolve(exchange, symbol), direct.resolve(exchange, symbol));
        }
        assert!(both.read(|at| at > AT).unwrap().is_none());
        assert!(copy(dir.path(), &["b"]).read(|_| true).unwrap().is_some());
        assert!(copy(dir.path(), &["a", "c"]).read(|_| true).unwrap().is_none(), "another broker's");
    }

    #[test]
    fn where_a_row_and_an_index_contradict_the_copy_means_what_the_download_did() {
        let dir = tempfile::tempdir().unwrap();
        let copy = copy(dir.path(), &["a"]);
        let row = "NSECM|26000|8|FOO|FOO-EQ|EQ|FOO-EQ|1|1|1|1|0.05|1|1|FOO|INE000A01000";
        let text = MasterText { rows: format!("{}\n{row}", text().rows.trim_end()), ..text() };
        copy.write(&text, AT, "a").unwrap();
        let (direct, report) = read_text(&text);
        let kept = copy.read(|_| true).unwrap().unwrap();
        assert_eq!((&kept.report, report.conflicts), (&report, 1));
        assert!(kept.master.iter().eq(direct.iter()));
        assert_eq!(kept.master.resolve(Exchange::NseIndex, "NIFTY"), None);
    }

    #[test]
    fn a_copy_cut_short_is_an_error_and_not_half_a_list() {
        let dir = tempfile::tempdir().unwrap();
        let copy = copy(dir.path(), &["a"]);
        copy.write(&text(), AT, "a").unwrap();
        let bytes = std::fs::read(&copy.path).unwrap();
        std::fs::write(&copy.path, &bytes[..bytes.len() - 10]).unwrap();
        assert!(copy.read(|_| true).is_err());
        std::fs::write(&copy.path, b"anything else\n").unwrap();
        assert!(copy.read(|_| true).unwrap().is_none());
    }
}
