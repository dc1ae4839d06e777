//! Signals that ask a program to end: Ctrl-C, and the SIGTERM and SIGHUP of Unix. Training stops with a
//! checkpoint.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::{fs, process};

use burn_mcl::train::StepReport;

use super::output::say;

/// Set by a signal, and read after each step.
pub(crate) static STOP: AtomicBool = AtomicBool::new(false);

/// From now on a signal sets [`STOP`]; a second one, or one after `STOP` was set otherwise, ends the program
/// at once.
///
/// A program that was started by `nohup` ignores SIGHUP, and has to go on when the terminal is closed.
/// Signals are left as they are then: the run resumes from its last checkpoint, whenever it ends.
pub(crate) fn stop_on_signals() {
    if hangup_is_ignored() {
        return say(
            "started by nohup: SIGTERM and Ctrl-C end the run at once, and it resumes from its last checkpoint",
        );
    }
    let handler = || {
        if STOP.swap(true, Relaxed) {
            process::exit(130);
        }
        say("stopping after this step; Ctrl-C again ends at once");
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        say(&format!("Ctrl-C will end the run at once: {error}"));
    }
}

/// What an observer of the training answers.
pub(crate) fn unless_stopped(stop: &AtomicBool) -> impl Fn(&StepReport) -> ControlFlow<()> {
    |_| if stop.load(Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// Whether the program was started with SIGHUP ignored, where the system tells (Linux).
fn hangup_is_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
