//! The downloader against a server on this machine that misbehaves on purpose.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tar::EntryType;

use super::*;
use crate::files::archive::tests::{gzip, tar};

/// What the server does with one request.
#[derive(Clone, Copy)]
enum Act {
    /// Serves ranges as asked.
    Serve,
    /// Sends the whole file with status 200, whatever was asked.
    IgnoreRange,
    /// Announces all, sends this many bytes and closes.
    BreakAfter(usize),
    /// Answers with this status.
    Status(u16),
    /// Sends this many bytes and never the rest.
    Hang(usize),
    /// Sends these many extra bytes, without announcing a length.
    TooLong(usize),
    /// Announces and sends the first half only, as if that were all.
    Half,
    /// Sends the right number of wrong bytes.
    Corrupt,
    /// Answers 206 with another range than asked.
    OtherRange,
}

struct Server {
    url: String,
    /// The `Range` of each request.
    ranges: Arc<Mutex<Vec<Option<String>>>>,
}

impl Server {
    /// Serves `content`; request i is treated as `acts[i]`, all later ones as the last.
    fn start(content: &[u8], acts: &[Act]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/set.bin", listener.local_addr().unwrap());
        let ranges = Arc::new(Mutex::new(Vec::new()));
        let (content, acts, seen) = (Arc::new(content.to_vec()), acts.to_vec(), Arc::clone(&ranges));
        std::thread::spawn(move || {
            for (i, stream) in listener.incoming().enumerate() {
                let act = acts[i.min(acts.len() - 1)];
                let (content, seen) = (Arc::clone(&content), Arc::clone(&seen));
                std::thread::spawn(move || {
                    let _a_client_may_hang_up = answer(stream.unwrap(), &content, act, &seen);
                });
            }
        });
        Self { url, ranges }
    }

    fn ranges(&self) -> Vec<Option<String>> {
        self.ranges.lock().unwrap().clone()
    }
}

fn answer(
    mut stream: TcpStream,
    content: &[u8],
    act: Act,
    seen: &Mutex<Vec<Option<String>>>,
) -> std::io::Result<()> {
    let mut range = None;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("range: ") {
            range = Some(value.to_string());
        }
    }
    seen.lock().unwrap().push(range.clone());
    let start: usize =
        range.map_or(0, |r| r.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap());
    let partial = |shown: usize| {
        let rest = &content[start..];
        let head = match start {
            0 => "HTTP/1.1 200 OK\r\n".to_string(),
            _ => format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {shown}-{}/{}\r\n",
                content.len() - 1,
                content.len()
            ),
        };
        (format!("{head}Content-Length: {}\r\nConnection: close\r\n\r\n", rest.len()), rest)
    };
    let whole =
        |length: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    match act {
        Act::Serve | Act::BreakAfter(_) | Act::Hang(_) | Act::OtherRange => {
            let (head, rest) = partial(if matches!(act, Act::OtherRange) { start + 1 } else { start });
            stream.write_all(head.as_bytes())?;
            let sent = match act {
                Act::BreakAfter(n) | Act::Hang(n) => n.min(rest.len()),
                _ => rest.len(),
            };
            stream.write_all(&rest[..sent])?;
            stream.flush()?;
            if matches!(act, Act::Hang(_)) {
                let _until_the_client_hangs_up = stream.read(&mut [0]);
            }
        }
        Act::IgnoreRange => {
            stream.write_all(whole(content.len()).as_bytes())?;
            stream.write_all(content)?;
        }
        Act::Half => {
            stream.write_all(whole(content.len() / 2).as_bytes())?;
            stream.write_all(&content[..content.len() / 2])?;
        }
        Act::Corrupt => {
            stream.write_all(whole(content.len()).as_bytes())?;
            stream.write_all(&vec![0x55; content.len()])?;
        }
        Act::TooLong(extra) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            stream.write_all(content)?;
            stream.write_all(&vec![0; extra])?;
        }
        Act::Status(status) => {
            write!(stream, "HTTP/1.1 {status} Because\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        }
    }
    Ok(())
}

fn content() -> Vec<u8> {
    (0..300_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn resource(server: &Server, content: &[u8]) -> Resource {
    Resource {
        url: server.url.clone(),
        file: "set.bin".into(),
        size: content.len() as u64,
        sha256: Sha256::digest(content).iter().map(|b| format!("{b:02x}")).collect(),
        folder: None,
    }
}

const QUICK: Patience =
    Patience { attempts: 3, pause: Duration::from_millis(1), silence: Duration::from_secs(20) };

fn names(root: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(root).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Runs with the acts given and returns the server, the folder and what came out.
fn run(acts: &[Act], before: Option<&[u8]>) -> (Server, tempfile::TempDir, Result<(), DataError>) {
    let (content, root) = (content(), tempfile::tempdir().unwrap());
    let server = Server::start(&content, acts);
    if let Some(bytes) = before {
        fs::write(root.path().join("set.bin.part"), bytes).unwrap();
    }
    let result = ensure_resource(&resource(&server, &content), root.path(), &QUICK, &|_| {});
    if result.is_ok() {
        assert_eq!(names(root.path()), ["set.bin"]);
        assert!(fs::read(root.path().join("set.bin")).unwrap() == content);
    } else {
        assert!(!root.path().join("set.bin").exists(), "an unverified file must not get the name");
    }
    (server, root, result)
}

fn failure(acts: &[Act]) -> (Server, tempfile::TempDir, String) {
    let (server, root, result) = run(acts, None);
    match result {
        Err(DataError::Download { reason, place_at, .. }) => {
            assert_eq!(place_at, root.path().join("set.bin"));
            (server, root, reason)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_is_downloaded_once_and_verified_when_found() {
    let (server, root, result) = run(&[Act::Serve], None);
    result.unwrap();
    let wanted = resource(&server, &content());
    ensure_resource(&wanted, root.path(), &QUICK, &|_| {}).unwrap();
    assert_eq!(server.ranges(), [None], "the second time it is found");

    let mut rotten = content();
    rotten[1000] ^= 1;
    fs::write(root.path().join("set.bin"), &rotten).unwrap();
    assert!(matches!(ensure_resource(&wanted, root.path(), &QUICK, &|_| {}), Err(DataError::Hash { .. })));
    fs::write(root.path().join("set.bin"), &rotten[..500]).unwrap();
    let error = ensure_resource(&wanted, root.path(), &QUICK, &|_| {}).unwrap_err();
    assert!(matches!(error, DataError::FileSize { found: 500, .. }), "{error}");
    assert_eq!(server.ranges().len(), 1);
}

#[test]
fn a_broken_connection_is_resumed() {
    let (server, _root, result) = run(&[Act::BreakAfter(100_000), Act::BreakAfter(50_000), Act::Serve], None);
    result.unwrap();
    let ranges = server.ranges();
    assert_eq!(ranges[0], None);
    // What had arrived when the connection broke is asked for no more.
    let starts: Vec<usize> = ranges[1..]
        .iter()
        .map(|r| r.as_ref().unwrap().trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap())
        .collect();
    assert_eq!(starts, [100_000, 150_000]);
}

#[test]
fn an_earlier_run_is_resumed() {
    let (server, _root, result) = run(&[Act::Serve], Some(&content()[..123_456]));
    result.unwrap();
    assert_eq!(server.ranges(), [Some("bytes=123456-".to_string())]);
    let (server, _root, result) = run(&[Act::Serve], Some(&content()));
    result.unwrap();
    assert!(server.ranges().is_empty(), "a complete part needs no request");
}

#[test]
fn a_server_without_ranges_starts_anew() {
    let (server, _root, result) = run(&[Act::IgnoreRange], Some(&content()[..123_456]));
    result.unwrap();
    assert_eq!(server.ranges().len(), 1);
}

#[test]
fn leftovers_of_another_file_are_replaced() {
    let (server, _root, result) = run(&[Act::Serve], Some(&[7; 1000]));
    result.unwrap();
    assert_eq!(server.ranges(), [Some("bytes=1000-".to_string()), None]);
    run(&[Act::Serve], Some(&vec![7; 400_000])).2.unwrap();
}

#[test]
fn a_silent_server_is_left_and_asked_again() {
    let (content, root) = (content(), tempfile::tempdir().unwrap());
    let server = Server::start(&content, &[Act::Hang(1000), Act::Serve]);
    let impatient = Patience { attempts: 10, silence: Duration::from_millis(200), ..QUICK };
    ensure_resource(&resource(&server, &content), root.path(), &impatient, &|_| {}).unwrap();
    let ranges = server.ranges();
    assert_eq!(ranges[0], None);
    assert!(ranges[1].is_some(), "{ranges:?}");
}

#[test]
fn a_wrong_file_is_removed() {
    let (_server, root, result) = run(&[Act::Corrupt], None);
    assert!(matches!(result, Err(DataError::Hash { algorithm: "SHA-256", .. })), "{result:?}");
    assert!(names(root.path()).is_empty());
}

#[test]
fn what_cannot_be_the_file_is_refused_at_once() {
    let (server, _root, reason) = failure(&[Act::Half]);
    assert!(reason.contains("150000 bytes where 300000"), "{reason}");
    assert_eq!(server.ranges().len(), 1);
    let (_server, root, reason) = failure(&[Act::TooLong(10)]);
    assert!(reason.contains("more than 300000 bytes"), "{reason}");
    assert_eq!(fs::metadata(root.path().join("set.bin.part")).unwrap().len(), 0);
    let (server, _root, reason) = failure(&[Act::Status(404)]);
    assert!(reason.contains("404"), "{reason}");
    assert_eq!(server.ranges().len(), 1, "404 does not pass");
    let (_server, _root, reason) = failure(&[Act::BreakAfter(1000), Act::OtherRange]);
    assert!(reason.contains("bytes 1001-299999/300000"), "{reason}");
}

#[test]
fn errors_that_may_pass_are_tried_again_but_not_for_ever() {
    let (_server, _root, result) = run(&[Act::Status(503), Act::Status(429), Act::Serve], None);
    result.unwrap();
    let (server, _root, reason) = failure(&[Act::Status(503)]);
    assert!(reason.contains("503") && reason.contains("attempt 3"), "{reason}");
    assert_eq!(server.ranges().len(), 3);
    run(&[Act::Status(416), Act::Serve], Some(&content()[..1000])).2.unwrap();
    let (_server, root, reason) = failure(&[Act::BreakAfter(1000), Act::BreakAfter(0)]);
    assert!(reason.contains("1000 bytes are kept"), "{reason}");
    assert_eq!(fs::metadata(root.path().join("set.bin.part")).unwrap().len(), 1000);
}

#[test]
fn offline_says_what_to_put_where() {
    let root = tempfile::tempdir().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(); // closed again by now
    let server = Server { url: format!("http://{closed}/set.bin"), ranges: Arc::default() };
    let error = ensure_resource(&resource(&server, b"x"), root.path(), &QUICK, &|_| {}).unwrap_err();
    let text = error.to_string();
    let path = root.path().join("set.bin");
    assert!(
        text.contains("offline?") && text.contains(&format!("put the file at {}", path.display())),
        "{text}"
    );
}

/// Runs a download while another one holds the lock; `end` ends that one. Returns the ranges that the server was asked
/// for.
fn second_download(end: impl FnOnce(&Path, fs::File)) -> Vec<Option<String>> {
    let (content, root) = (content(), tempfile::tempdir().unwrap());
    let server = Server::start(&content, &[Act::Serve]);
    let part = root.path().join("set.bin.part");
    let held = fs::File::create(&part).unwrap();
    held.lock().unwrap();
    let (sender, waiting) = std::sync::mpsc::channel();
    let sender = Mutex::new(sender);
    let observer = move |event: Event<'_>| {
        if event == (Event::Waiting { file: "set.bin" }) {
            sender.lock().unwrap().send(()).unwrap();
        }
    };
    std::thread::scope(|scope| {
        let wanted = resource(&server, &content);
        let root = root.path();
        let second = scope.spawn(move || ensure_resource(&wanted, root, &QUICK, &observer));
        waiting.recv_timeout(Duration::from_secs(20)).expect("the second download says that it waits");
        assert!(!second.is_finished());
        end(&part, held);
        second.join().unwrap().unwrap();
    });
    assert_eq!(names(root.path()), ["set.bin"]);
    assert!(fs::read(root.path().join("set.bin")).unwrap() == content);
    server.ranges()
}

#[test]
fn a_second_download_waits_and_finds_the_file() {
    let ranges = second_download(|part, mut held| {
        held.write_all(&content()).unwrap();
        fs::rename(part, part.with_extension("")).unwrap();
        drop(held);
    });
    assert!(ranges.is_empty(), "the file was downloaded again");
}

#[test]
fn a_second_download_goes_on_where_the_first_one_stopped() {
    let ranges = second_download(|_, mut held| {
        held.write_all(&content()[..1000]).unwrap();
        drop(held);
    });
    assert_eq!(ranges, [Some("bytes=1000-".to_string())]);
}

#[test]
fn a_second_download_does_not_write_to_the_file_that_the_first_one_removed() {
    let ranges = second_download(|part, held| {
        fs::remove_file(part).unwrap();
        drop(held);
    });
    assert_eq!(ranges, [None]);
}

#[test]
fn the_observer_sees_every_byte_arrive() {
    let (content, root) = (content(), tempfile::tempdir().unwrap());
    let server = Server::start(&content, &[Act::BreakAfter(100_000), Act::Serve]);
    let seen = Mutex::new(Vec::new());
    let observer = |event: Event<'_>| match event {
        Event::Received { file: "set.bin", bytes, total: 300_000 } => seen.lock().unwrap().push(bytes),
        other => panic!("{other:?}"),
    };
    ensure_resource(&resource(&server, &content), root.path(), &QUICK, &observer).unwrap();
    let seen = seen.into_inner().unwrap();
    assert!(seen.is_sorted() && seen.contains(&100_000) && seen.last() == Some(&300_000), "{seen:?}");
}

#[test]
fn archives_are_extracted_and_checked_again() {
    let root = tempfile::tempdir().unwrap();
    let archive = gzip(&tar(&[
        ("batches/one.bin", EntryType::Regular, b"first"),
        ("batches/two.bin", EntryType::Regular, b"second"),
    ]));
    let server = Server::start(&archive, &[Act::Serve]);
    let mut wanted = resource(&server, &archive);
    wanted.file = "set.tar.gz".into();
    wanted.folder =
        Some(catalog::Folder { name: "batches".into(), files: vec!["one.bin".into(), "two.bin".into()] });
    let ensure = || ensure_resource(&wanted, root.path(), &QUICK, &|_| {});
    ensure().unwrap();
    assert_eq!(names(root.path()), ["batches", "set.tar.gz"]);
    assert_eq!(names(&root.path().join("batches")), ["SHA256SUMS", "one.bin", "two.bin"]);
    ensure().unwrap();
    assert_eq!(server.ranges().len(), 1);

    fs::write(root.path().join("batches/two.bin"), b"sec0nd").unwrap();
    let error = ensure().unwrap_err();
    assert!(matches!(&error, DataError::Hash { path, .. } if path.ends_with("two.bin")), "{error}");
    fs::remove_file(root.path().join("batches/two.bin")).unwrap();
    assert!(matches!(ensure(), Err(DataError::Io { .. })));
    fs::remove_dir_all(root.path().join("batches")).unwrap();
    ensure().unwrap();
    assert_eq!(server.ranges().len(), 1, "extracted again from the archive that is there");
    let list = root.path().join("batches/SHA256SUMS");
    let first = fs::read_to_string(&list).unwrap().lines().next().unwrap().to_string();
    for cut in ["nonsense\n", "", &first] {
        fs::write(&list, cut).unwrap();
        match ensure() {
            Err(DataError::Corrupt { path, reason, .. }) => {
                assert!(path == list && reason.contains("remove its folder"), "{reason}");
            }
            other => panic!("{cut:?}: {other:?}"),
        }
    }
    fs::remove_file(list).unwrap();
    ensure().unwrap();
}
