//! Files and directories that only their owner may use: keys, the data directory.
//! Knows nothing of what is in them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::Error;
use crate::secret::file;

/// Makes a directory (and missing parents) with mode 0700; says whether it was missing.
/// The mode of one that exists is left alone, with a warning if others may enter it.
///
/// # Errors
/// [`Error::Io`].
pub fn create_dir(path: &Path) -> Result<bool, Error> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            if let Some(mode) = file::exposed(&found.permissions()) {
                tracing::warn!(path = %path.display(), mode = format!("{mode:o}"), "data directory is open to other users");
            }
            return Ok(false);
        }
        Ok(_) => {
            return Err(Error::Io { path: path.to_owned(), source: io::ErrorKind::NotADirectory.into() });
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(Error::io(path)(e)),
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(Error::io(path))?;
    Ok(true)
}

/// Reads a private text file; `None` if there is none.
///
/// # Errors
/// [`Error::Exposed`] if group or others have any right to it, [`Error::Unfit`] if it is no text file of
/// sensible length, [`Error::Io`].
pub fn read(path: &Path) -> Result<Option<Zeroizing<String>>, Error> {
    file::read(path).map_err(|error| match error {
        file::Error::Exposed { mode } => Error::Exposed { path: path.to_owned(), mode },
        file::Error::Unfit(what) => Error::Unfit { path: path.to_owned(), what },
        file::Error::Io(source) => Error::Io { path: path.to_owned(), source },
    })
}

/// Writes a private file, mode 0600 from its first moment, complete or not at all; replaces one that exists.
///
/// # Errors
/// [`Error::Io`].
pub fn write(path: &Path, text: &str) -> Result<(), Error> {
    remove_unfinished(path)?;
    let fresh = beside(path);
    let done = write_new(&fresh, text).and_then(|()| fs::rename(&fresh, path));
    if let Err(e) = done {
        let _ = fs::remove_file(&fresh);
        return Err(Error::io(path)(e));
    }
    // The name itself must survive a power cut too; where directories cannot be synced, it is best effort.
    if let Some(Ok(dir)) = path.parent().map(File::open) {
        let _ = dir.sync_all();
    }
    Ok(())
}

/// Removes what a [`write()`] to this path left behind when the process was killed.
///
/// # Errors
/// [`Error::Io`].
pub fn remove_unfinished(path: &Path) -> Result<(), Error> {
    let fresh = beside(path);
    match fs::remove_file(&fresh) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(&fresh)(e)),
        _ => Ok(()),
    }
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// A name in the same directory, so that the rename stays within one file system.
fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}
