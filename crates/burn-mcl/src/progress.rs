//! Progress of long work, on standard error: a bar where that is a terminal, a line now and then where it is
//! not.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use mcl_data::printable;

/// Whether long work shows its progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Progress {
    /// Nothing is shown.
    #[default]
    Hidden,
    /// No progress is shown, and warnings are: that a network has hardly learned, say.
    Warnings,
    /// A bar on standard error. Where standard error is a file or a pipe: a line after ten seconds, and then
    /// each time that ten seconds, and a twentieth of the time so far, have passed.
    Terminal,
}

impl Progress {
    /// A bar for work that reports how many of how many items are done, from any thread.
    pub fn observer(self, what: &'static str) -> impl Fn(usize, usize) + Sync {
        let bar = OnceLock::new();
        move |done, len| {
            let bar: &Bar = bar.get_or_init(|| self.bar(what, len, 0));
            bar.inc(1);
            if done == len {
                bar.finish_and_clear();
            }
        }
    }

    /// Warns a person at the terminal; as an event for everyone else. Unlike a bar it is shown even when standard error is a
    /// file.
    pub(crate) fn warn(self, message: &str) {
        let message = printable(message);
        tracing::warn!("{message}");
        if self != Self::Hidden {
            say(&format!("warning: {message}"));
        }
    }

    /// Says how work goes on, to a person at the terminal.
    pub(crate) fn say(self, message: &str) {
        tracing::info!("{message}");
        if self == Self::Terminal {
            say(message);
        }
    }

    /// A bar over `len` items, of which `done` lie behind.
    pub(crate) fn bar(self, what: &'static str, len: usize, done: usize) -> Bar {
        let shown = self == Self::Terminal;
        let bar = if shown { ProgressBar::new(0) } else { ProgressBar::hidden() };
        let style = "{prefix:>10} [{bar:30}] {pos}/{len} {elapsed}<{eta} {msg}";
        bar.set_style(
            ProgressStyle::with_template(style).expect("the template is valid").progress_chars("=> "),
        );
        bar.set_prefix(what);
        bar.set_length(len as u64);
        bar.set_position(done as u64);
        bar.reset_eta();
        let lines = (shown && !io::stderr().is_terminal()).then(|| Mutex::new(Lines::new(what, len, done)));
        Bar { bar, lines }
    }
}

/// Progress of one piece of work.
pub(crate) struct Bar {
    bar: ProgressBar,
    /// For a standard error that is no terminal, on which the bar draws nothing.
    lines: Option<Mutex<Lines>>,
}

impl Bar {
    /// `n` more items are done.
    pub(crate) fn inc(&self, n: u64) {
        self.bar.inc(n);
        if let Some(lines) = &self.lines {
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(line) = lines.inc(n, Instant::now()) {
                say(&line);
            }
        }
    }

    /// Shows `message` beside the numbers, from the next item on.
    pub(crate) fn set_message(&self, message: String) {
        if let Some(lines) = &self.lines {
            lines.lock().unwrap_or_else(PoisonError::into_inner).message.clone_from(&message);
        }
        self.bar.set_message(message);
    }

    /// Does something that may print, with the bar out of the way.
    pub(crate) fn suspend(&self, work: impl FnOnce()) {
        self.bar.suspend(work);
    }

    /// Takes the bar away.
    pub(crate) fn finish_and_clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// When a line is due, and what it says.
struct Lines {
    what: &'static str,
    len: u64,
    first: u64,
    done: u64,
    started: Instant,
    last: Instant,
    message: String,
}

impl Lines {
    fn new(what: &'static str, len: usize, done: usize) -> Self {
        let (now, done) = (Instant::now(), done as u64);
        Self { what, len: len as u64, first: done, done, started: now, last: now, message: String::new() }
    }

    /// A line, if the last one is long enough ago.
    fn inc(&mut self, n: u64, now: Instant) -> Option<String> {
        self.done += n;
        let so_far = now.duration_since(self.started);
        if now.duration_since(self.last) < Duration::from_secs(10).max(so_far / 20) || self.done >= self.len {
            return None;
        }
        self.last = now;
        let seconds = so_far.as_secs_f64();
        let left = seconds / (self.done - self.first).max(1) as f64 * (self.len - self.done) as f64;
        let Self { what, done, len, message, .. } = self;
        Some(
            format!("{what} {done}/{len}, {seconds:.0} s, about {left:.0} s left  {message}")
                .trim_end()
                .into(),
        )
    }
}

/// Writes a line to standard error. Where that is closed or full, nobody reads it, and the work goes on.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_at_times_that_grow() {
        let mut lines = Lines::new("training", 100_000, 10);
        let started = lines.started;
        let mut at = |seconds| lines.inc(1, started + Duration::from_secs(seconds));
        assert_eq!(at(9), None);
        assert_eq!(at(10).unwrap(), "training 12/100000, 10 s, about 499940 s left");
        let count = (11..86_400).filter(|&second| at(second).is_some()).count();
        assert!((100..200).contains(&count), "{count} lines in a day");
    }
}
