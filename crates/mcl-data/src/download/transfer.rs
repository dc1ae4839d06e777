//! One file over HTTP: resumed where it stopped, verified before it gets its name.
//!
//! Bytes go to `<name>.part`. Only a file of the published size and hash is renamed to `<name>`, so a file of that name
//! is never a piece of one. A broken connection is retried from where it broke; a server that ignores `Range` starts the
//! file anew; a file that is complete and wrong is removed.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::http::StatusCode;

use super::catalog::Resource;
use super::event::{Event, Observer};
use super::part::Part;
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

/// Time between two reports of the bytes received.
const BETWEEN_EVENTS: Duration = Duration::from_millis(100);

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

/// Downloads `resource` into `root`, or waits for another process that does. Returns the path of the verified file.
pub(super) fn download(
    resource: &Resource,
    root: &Path,
    patience: &Patience,
    observer: Observer<'_>,
) -> Result<PathBuf, DataError> {
    let target = root.join(&resource.file);
    let give_up =
        |reason: String| DataError::Download { url: resource.url.clone(), reason, place_at: target.clone() };
    fs::create_dir_all(root).map_err(DataError::io("create", root))?;
    let waiting = || observer(Event::Waiting { file: &resource.file });
    let mut part = Part::open(&root.join(format!("{}.part", resource.file)), waiting)?;
    // Under the lock: whoever had it before has finished, and may have done the work.
    if target.exists() {
        part.remove_if_empty()?;
        let mut found = fs::File::open(&target).map_err(DataError::io("read", &target))?;
        verify::check(&target, &mut found, resource, "remove it and run again to download it anew")?;
        return Ok(target);
    }
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_resolve(Some(patience.silence))
        .timeout_connect(Some(patience.silence))
        .timeout_recv_response(Some(patience.silence))
        .timeout_per_read(Some(patience.silence))
        .user_agent(concat!("mcl-data/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let mut may_be_of_another_file = part.length > 0;
    loop {
        fetch_rest(&agent, resource, &mut part, patience, observer, give_up)?;
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
    Ok(target)
}

/// Attempts until `part` has the published size.
fn fetch_rest(
    agent: &Agent,
    resource: &Resource,
    part: &mut Part,
    patience: &Patience,
    observer: Observer<'_>,
    give_up: impl Fn(String) -> DataError,
) -> Result<(), DataError> {
    if part.length > resource.size {
        part.restart()?;
    }
    let mut failures = 0;
    while part.length < resource.size {
        let before = part.length;
        match attempt(agent, resource, part, observer) {
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
fn attempt(
    agent: &Agent,
    resource: &Resource,
    part: &mut Part,
    observer: Observer<'_>,
) -> Result<(), Failure> {
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
    let mut told = None;
    loop {
        if told.is_none_or(|told: Instant| told.elapsed() >= BETWEEN_EVENTS) || part.length == resource.size {
            observer(Event::Received { file: &resource.file, bytes: part.length, total: resource.size });
            told = Some(Instant::now());
        }
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
