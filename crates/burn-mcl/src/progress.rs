//! Progress bars of long work, on standard error and only when it is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// Whether long work shows a progress bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Progress {
    /// Nothing is shown.
    #[default]
    Hidden,
    /// A bar on standard error; nothing when it is not a terminal.
    Terminal,
}

impl Progress {
    /// A bar for work that reports how many of how many items are done, from any thread.
    pub fn observer(self, what: &'static str) -> impl Fn(usize, usize) + Sync {
        let bar = std::sync::OnceLock::new();
        move |done, len| {
            let bar: &ProgressBar = bar.get_or_init(|| self.bar(what, len, 0));
            bar.inc(1);
            if done == len {
                bar.finish_and_clear();
            }
        }
    }

    /// Says what a person at the terminal should know; as an event for everyone else. Unlike a bar it is shown even
    /// when standard error is a file.
    pub(crate) fn warn(self, message: &str) {
        tracing::warn!("{message}");
        if self == Self::Terminal {
            eprintln!("warning: {message}");
        }
    }

    /// Says how work goes on, to a person at the terminal.
    pub(crate) fn say(self, message: &str) {
        tracing::info!("{message}");
        if self == Self::Terminal {
            eprintln!("{message}");
        }
    }

    /// A bar over `len` items, of which `done` lie behind.
    pub(crate) fn bar(self, what: &'static str, len: usize, done: usize) -> ProgressBar {
        let bar = match self {
            Self::Hidden => ProgressBar::hidden(),
            Self::Terminal => ProgressBar::new(0),
        };
        let style = "{prefix:>10} [{bar:30}] {pos}/{len} {elapsed}<{eta} {msg}";
        bar.set_style(
            ProgressStyle::with_template(style).expect("the template is valid").progress_chars("=> "),
        );
        bar.set_prefix(what);
        bar.set_length(len as u64);
        bar.set_position(done as u64);
        bar.reset_eta();
        bar
    }
}
