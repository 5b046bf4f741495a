//! Files and directories that only their owner may use: keys, the data directory.
//! Knows nothing of what is in them.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::Error;

/// No key file is anywhere near as long.
const MAX_LEN: u64 = 64 * 1024;

/// Makes a directory (and missing parents) with mode 0700; says whether it was missing.
/// The mode of one that exists is left alone, with a warning if others may enter it.
///
/// # Errors
/// [`Error::Io`].
pub fn create_dir(path: &Path) -> Result<bool, Error> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            if let Some(mode) = exposed(&found.permissions()) {
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
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(path)(e)),
    };
    // Of the open file, so that nothing can be exchanged between look and use.
    let found = file.metadata().map_err(Error::io(path))?;
    if let Some(mode) = exposed(&found.permissions()) {
        return Err(Error::Exposed { path: path.to_owned(), mode });
    }
    let unfit = |what| Error::Unfit { path: path.to_owned(), what };
    if !found.is_file() || found.len() > MAX_LEN {
        return Err(unfit("not a key file"));
    }
    // Sized beforehand: growing would leave copies of the contents in freed memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(found.len() as usize + 1));
    file.take(MAX_LEN).read_to_end(&mut bytes).map_err(Error::io(path))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| unfit("not text"))?;
    Ok(Some(Zeroizing::new(text.to_owned())))
}

/// Writes a private file, mode 0600 from its first moment, complete or not at all; replaces one that exists.
///
/// # Errors
/// [`Error::Io`].
pub fn write(path: &Path, text: &str) -> Result<(), Error> {
    let fresh = beside(path);
    match fs::remove_file(&fresh) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io(&fresh)(e)),
        _ => {}
    }
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

/// The permission bits, if they grant anything to group or others.
#[cfg(unix)]
fn exposed(permissions: &Permissions) -> Option<u32> {
    let mode = std::os::unix::fs::PermissionsExt::mode(permissions) & 0o7777;
    (mode & 0o077 != 0).then_some(mode)
}

/// Other systems have no such bits.
#[cfg(not(unix))]
fn exposed(_: &Permissions) -> Option<u32> {
    None
}
