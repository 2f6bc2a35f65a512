//! Files that only the server's own user may read: the database, the keys, the secret.
//!
//! New ones are made so ([`crate::keyring`], [`crate::db`]). One that exists already, such as a restored backup, may be open to
//! others: it is closed to them, and the log says so. Where that is not possible (a mounted volume, or another owner), the start
//! is refused, unless only the group of the file's owner can read it, as a platform sets up for a program that runs as another user.

use std::{io, path::Path};

/// The bits of a mode that let others in: all of the group's and everyone's.
#[cfg(unix)]
const OPEN: u32 = 0o077;
/// Of these, the bits that are refused where the mode can't be changed: all but the group's to read and to enter.
#[cfg(unix)]
const REFUSED: u32 = 0o027;

/// Closes a file or a directory to others. A path that does not exist is none of anybody's.
#[cfg(unix)]
pub fn close_to_others(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = match path.metadata() {
        Ok(metadata) => metadata.permissions().mode() & 0o7777,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if mode & OPEN == 0 {
        return Ok(());
    }
    match std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & !OPEN)) {
        Ok(()) => {
            tracing::warn!(path = %path.display(), "other users of this machine could access this; its mode was {mode:o} and is {:o} now", mode & !OPEN);
            Ok(())
        }
        Err(_) if mode & REFUSED == 0 => Ok(()),
        Err(error) => {
            let why = format!(
                "other users of this machine can access this (mode {mode:o}), and the mode can't be changed: {error}. Run `chmod go-rwx` on it as its owner, or mount it with a mode such as 0400"
            );
            Err(io::Error::new(error.kind(), why))
        }
    }
}

/// Whether everybody on this machine can read a file, or somebody besides its owner can change it.
#[cfg(unix)]
pub fn everybody_may_access(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & REFUSED != 0)
}

/// Unknown: such a system has no modes.
#[cfg(not(unix))]
pub fn everybody_may_access(_: &Path) -> bool {
    false
}

/// Nothing: such a system has no modes.
#[cfg(not(unix))]
pub fn close_to_others(_: &Path) -> io::Result<()> {
    Ok(())
}
