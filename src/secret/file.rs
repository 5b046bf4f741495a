//! Reads a file that holds a secret, and refuses one that others may use too.
//! Does not write any; `store::private` does.

use std::fs::{File, Permissions};
use std::io::{self, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

/// No file of keys is anywhere near as long.
const MAX_LEN: u64 = 64 * 1024;

/// Why a file was not read. Whoever reports it names the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Group or others have a right to it.
    #[error("can be accessed by others (mode {mode:o})")]
    Exposed {
        /// Its permission bits.
        mode: u32,
    },
    /// It is not what it should be.
    #[error("is {0}")]
    Unfit(&'static str),
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The text of a private file; `None` if there is no file.
///
/// # Errors
/// [`Error::Exposed`] if group or others have any right to it, [`Error::Unfit`] if it is no text file of
/// sensible length, [`Error::Io`].
pub fn read(path: &Path) -> Result<Option<Zeroizing<String>>, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    // Of the open file, so that nothing can be exchanged between look and use.
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(Error::Unfit("not a file"));
    }
    if let Some(mode) = exposed(&found.permissions()) {
        return Err(Error::Exposed { mode });
    }
    if found.len() > MAX_LEN {
        return Err(Error::Unfit("too long to be a secret"));
    }
    // Sized beforehand: growing would leave copies of the contents in freed memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(found.len() as usize + 1));
    file.take(MAX_LEN).read_to_end(&mut bytes)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Error::Unfit("not text"))?;
    Ok(Some(Zeroizing::new(text.to_owned())))
}

/// The permission bits, if they grant anything to group or others.
#[cfg(unix)]
pub(crate) fn exposed(permissions: &Permissions) -> Option<u32> {
    let mode = std::os::unix::fs::PermissionsExt::mode(permissions) & 0o7777;
    (mode & 0o077 != 0).then_some(mode)
}

/// Other systems have no such bits.
#[cfg(not(unix))]
pub(crate) fn exposed(_: &Permissions) -> Option<u32> {
    None
}
