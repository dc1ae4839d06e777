//! One file over HTTP: resumed where it stopped, verified before it gets its name.
//!
//! Bytes go to `<name>.part`. Only a file of the published size and hash is renamed to `<name>`, so a file of that name
//! is never a piece of one. A broken connection is retried from where it broke; a server that ignores `Range` starts the
//! file anew; a file that is complete and wrong is removed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use ureq::Agent;
use ureq::http::StatusCode;

use super::catalog::Resource;
use super::verify;
use crate::DataError;

/// How to behave towards a server.
pub(super) struct Patience {
    /// Attempts that may fail in a row without a byte of progress.
    pub(super) attempts: u32,
    /// Pause after the first failure; doubles with each.
    pub(super) pause: Duration,
    /// Longest silence while connecting or reading.
    pub(super) silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { attempts: 4, pause: Duration::from_secs(1), silence: Duration::from_secs(30) }
    }
}

/// Why an attempt ended before the file was complete.
enum Failure {
    /// Worth another attempt.
    Passing(String),
    /// Not.
    Lasting(String),
    /// On this side.
    Local(DataError),
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        Self::Local(error)
    }
}

/// Downloads `resource` into `root`. Returns the path of the verified file.
pub(super) fn download(resource: &Resource, root: &Path, patience: &Patience) -> Result<PathBuf, DataError> {
    let target = root.join(&resource.file);
    let give_up =
        |reason: String| DataError::Download { url: resource.url.clone(), reason, place_at: target.clone() };
    fs::create_dir_all(root).map_err(DataError::io("create", root))?;
    let mut part = Part::open(&root.join(format!("{}.part", resource.file)), give_up)?;
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_resolve(Some(patience.silence))
        .timeout_connect(Some(patience.silence))
        .timeout_recv_response(Some(patience.silence))
        .timeout_per_read(Some(patience.silence))
        .user_agent(concat!("mcl-data/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let bar = progress_bar(resource);
    let mut may_be_of_another_file = part.length > 0;
    loop {
        fetch_rest(&agent, resource, &mut part, patience, &bar, give_up)?;
        part.file.sync_all().map_err(DataError::io("write", &part.path))?;
        let hint = "it has been removed; if this persists, the publisher changed it";
        // Through the handle that holds the lock: where locks are mandatory, another could not read.
        match verify::check(&part.path, &mut part.file, resource, hint) {
            Ok(()) => break,
            // What an earlier run left may not have been a piece of this file: once more from the start.
            Err(_) if may_be_of_another_file => part.restart()?,
            Err(error) => {
                fs::remove_file(&part.path).map_err(DataError::io("remove", &part.path))?;
                return Err(error);
            }
        }
        may_be_of_another_file = false;
    }
    fs::rename(&part.path, &target).map_err(DataError::io("create", &target))?;
    bar.finish_and_clear();
    Ok(target)
}

/// Attempts until `part` has the published size.
fn fetch_rest(
    agent: &Agent,
    resource: &Resource,
    part: &mut Part,
    patience: &Patience,
    bar: &ProgressBar,
    give_up: impl Fn(String) -> DataError,
) -> Result<(), DataError> {
    if part.length > resource.size {
        part.restart()?;
    }
    let mut failures = 0;
    while part.length < resource.size {
        let before = part.length;
        match attempt(agent, resource, part, bar) {
            Ok(()) => {}
            Err(Failure::Local(error)) => return Err(error),
            Err(Failure::Lasting(reason)) => return Err(give_up(reason)),
            Err(Failure::Passing(reason)) => {
                failures = if part.length > before { 1 } else { failures + 1 };
                if failures >= patience.attempts {
                    return Err(give_up(format!(
                        "{reason} (attempt {failures}; {} bytes are kept)",
                        part.length
                    )));
                }
                std::thread::sleep(patience.pause * 2u32.pow(failures - 1));
            }
        }
    }
    Ok(())
}

/// One request for what is missing.
fn attempt(agent: &Agent, resource: &Resource, part: &mut Part, bar: &ProgressBar) -> Result<(), Failure> {
    let mut request = agent.get(&resource.url);
    if part.length > 0 {
        request = request.header("Range", format!("bytes={}-", part.length));
    }
    let response = request.call().map_err(|error| match error {
        ureq::Error::HostNotFound => {
            Failure::Lasting("the host was not found; is this machine offline?".to_string())
        }
        ureq::Error::Io(_)
        | ureq::Error::Timeout(_)
        | ureq::Error::ConnectionFailed
        | ureq::Error::BodyStalled => Failure::Passing(format!("{error}; is this machine offline?")),
        other => Failure::Lasting(other.to_string()),
    })?;
    match response.status() {
        StatusCode::OK => part.restart()?, // the whole file, whatever was asked for
        StatusCode::PARTIAL_CONTENT => {
            let range = response.headers().get("content-range").and_then(|value| value.to_str().ok());
            let expected = format!("bytes {}-{}/{}", part.length, resource.size - 1, resource.size);
            if range != Some(&expected) {
                return Err(Failure::Lasting(format!(
                    "the server sent range {range:?} instead of {expected:?}"
                )));
            }
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            part.restart()?;
            return Err(Failure::Passing("the server has fewer bytes than are here".to_string()));
        }
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            return Err(Failure::Passing(format!("the server answered {status}")));
        }
        status => return Err(Failure::Lasting(format!("the server answered {status}"))),
    }
    let missing = resource.size - part.length;
    if let Some(length) = response.body().content_length().filter(|&length| length != missing) {
        return Err(Failure::Lasting(format!("the server has {length} bytes where {missing} are missing")));
    }
    // One byte more than is missing tells a file that is too long.
    let mut body = response.into_body().into_reader().take(missing + 1);
    let mut buffer = vec![0; 1 << 16];
    loop {
        bar.set_position(part.length);
        match body.read(&mut buffer) {
            Ok(0) if part.length < resource.size => {
                return Err(Failure::Passing(format!("the connection ended after {} bytes", part.length)));
            }
            Ok(0) => return Ok(()),
            Ok(n) if part.length + n as u64 > resource.size => {
                part.restart()?;
                return Err(Failure::Lasting(format!("the server sent more than {} bytes", resource.size)));
            }
            Ok(n) => part.append(&buffer[..n])?,
            Err(error) => return Err(Failure::Passing(error.to_string())),
        }
    }
}

/// The unfinished file, locked against other processes that download it.
struct Part {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Part {
    fn open(path: &Path, give_up: impl Fn(String) -> DataError) -> Result<Self, DataError> {
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = open.map_err(DataError::io("create", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(give_up(format!("another process is downloading it to {}", path.display())));
            }
            // A file system without locks: go on without.
            Err(TryLockError::Error(error)) if is_without_locks(&error) => {}
            Err(TryLockError::Error(error)) => return Err(DataError::io("lock", path)(error)),
        }
        let length = file.seek(SeekFrom::End(0)).map_err(DataError::io("read", path))?;
        Ok(Self { path: path.to_path_buf(), file, length })
    }

    fn restart(&mut self) -> Result<(), DataError> {
        self.file.set_len(0).map_err(DataError::io("truncate", &self.path))?;
        self.file.rewind().map_err(DataError::io("truncate", &self.path))?;
        self.length = 0;
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.file.write_all(bytes).map_err(DataError::io("write", &self.path))?;
        self.length += bytes.len() as u64;
        Ok(())
    }
}

/// Whether a file system has no locks, rather than that one is held. NFS without its lock daemon answers ENOLCK, which
/// has no kind of its own.
fn is_without_locks(error: &io::Error) -> bool {
    // The second is that of macOS and the BSDs.
    const ENOLCK: i32 = if cfg!(any(target_os = "linux", target_os = "android")) { 37 } else { 77 };
    error.kind() == io::ErrorKind::Unsupported || (cfg!(unix) && error.raw_os_error() == Some(ENOLCK))
}

/// On standard error, and only if that is a terminal.
fn progress_bar(resource: &Resource) -> ProgressBar {
    let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(resource.size).with_style(style).with_message(resource.file.clone())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn file_systems_without_locks_are_told_from_locked_files() {
        let by = |code| is_without_locks(&io::Error::from_raw_os_error(code));
        let (enolck, enosys, eopnotsupp, eacces, ewouldblock) = (37, 38, 95, 13, 11);
        assert!(by(enolck) && by(enosys) && by(eopnotsupp));
        assert!(!by(eacces) && !by(ewouldblock));
    }
}
