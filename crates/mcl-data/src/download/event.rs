//! What an observer of a download is told.

/// What a download is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Another process is downloading the file.
    Waiting {
        /// Name of the file.
        file: &'a str,
    },
    /// So much of the file is on disk, what an earlier run left included. Sent several times a second.
    Received {
        /// Name of the file.
        file: &'a str,
        /// Bytes on disk.
        bytes: u64,
        /// Bytes of the whole file.
        total: u64,
    },
}

/// Is told how the download goes on.
pub(super) type Observer<'a> = &'a (dyn Fn(Event<'_>) + Sync);
