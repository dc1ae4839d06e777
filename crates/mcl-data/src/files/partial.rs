//! Files that get their name only once they are whole.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

const ENDING: &str = ".partial";

/// Writes the file at `path` by `write`: first beside it, under a name of its own, then renamed. Also removes what writers
/// of the same file left behind that did not survive.
pub(crate) fn write_whole(path: &Path, write: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let prefix = prefix(path);
    remove_abandoned(path, &prefix);
    let (partial, file) = create(path, &prefix)?;
    let written = write(&file).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        let _nothing_half_written_stays = fs::remove_file(&partial);
    }
    written
}

/// A hidden name beside `path` starts with this.
fn prefix(path: &Path) -> String {
    format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy())
}

/// A new file, locked for as long as it is open: a lock tells a writer at work from one that died.
fn create(path: &Path, prefix: &str) -> io::Result<(PathBuf, File)> {
    for number in 0u64.. {
        let partial = path.with_file_name(format!("{prefix}{number}{ENDING}"));
        match OpenOptions::new().write(true).create_new(true).open(&partial) {
            Ok(file) => {
                // Without locks nothing is ever removed: see below.
                let _where_there_are_locks = file.try_lock();
                return Ok((partial, file));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Removes partial files that nobody holds a lock on. A file may be there and not yet be locked: one second of age tells.
fn remove_abandoned(path: &Path, prefix: &str) {
    let Some(Ok(entries)) = path.parent().map(fs::read_dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let number = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(ENDING));
        if number.is_some_and(|number| number.parse::<u64>().is_ok()) && is_abandoned(&entry.path()) {
            let _another_may_have_removed_it = fs::remove_file(entry.path());
        }
    }
}

fn is_abandoned(partial: &Path) -> bool {
    let Ok(file) = OpenOptions::new().write(true).open(partial) else { return false };
    let changed = file.metadata().and_then(|metadata| metadata.modified());
    let age = changed.ok().and_then(|changed| changed.elapsed().ok());
    age.is_some_and(|age| age.as_secs() >= 1) && file.try_lock().is_ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::{Duration, SystemTime};

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn writers_at_the_same_time_do_not_mix() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pixels");
        let write = |byte: u8| {
            write_whole(&path, |mut file| {
                for _ in 0..200 {
                    file.write_all(&[byte; 100])?;
                    std::thread::yield_now();
                }
                Ok(())
            })
        };
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4).map(|byte| scope.spawn(move || write(byte))).collect();
            writers.into_iter().for_each(|writer| writer.join().unwrap().unwrap());
        });
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.len() == 20_000 && bytes.iter().all(|byte| *byte == bytes[0]));
        assert_eq!(names(folder.path()), ["a.pixels"]);
    }

    #[test]
    fn what_a_dead_writer_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
        let old = |name: &str| {
            let file = File::create(at(name)).unwrap();
            file.set_modified(an_hour_ago).unwrap();
            file
        };
        drop(old(".a.pixels.0.partial")); // dead
        let at_work = old(".a.pixels.1.partial");
        at_work.lock().unwrap();
        drop(File::create(at(".a.pixels.2.partial")).unwrap()); // about to be locked
        drop(old(".b.pixels.0.partial")); // of another file
        drop(old(".a.pixels.x.partial"));
        write_whole(&at("a.pixels"), |mut file| file.write_all(b"whole")).unwrap();
        let left =
            [".a.pixels.1.partial", ".a.pixels.2.partial", ".a.pixels.x.partial", ".b.pixels.0.partial"];
        assert_eq!(names(folder.path()), [&left[..], &["a.pixels"]].concat());
        drop(at_work);
    }

    #[test]
    fn a_failure_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "old").unwrap();
        let failed = write_whole(&path, |mut file| {
            file.write_all(b"new")?;
            Err(io::Error::other("the disk is full"))
        });
        assert!(failed.is_err());
        assert_eq!(
            (fs::read(&path).unwrap(), names(folder.path())),
            (b"old".to_vec(), vec!["a".to_string()])
        );
    }
}
