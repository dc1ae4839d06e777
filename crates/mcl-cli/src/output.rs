//! What a program says on standard error, and how it ends.

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use burn_mcl::data::printable;
use burn_mcl::train::TrainError;

/// Writes a line to standard error, names in it made [`printable`]. Where nobody can read it, the program
/// goes on.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{}", printable(line));
}

/// Ends the program: an error is said, unless it is that standard output was closed (`| head -1`). The exit
/// code is 130 after a stop by a signal, else 1 after an error.
pub(crate) fn end(result: Result<(), Box<dyn Error>>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    let closed = |error: &io::Error| error.kind() == ErrorKind::BrokenPipe;
    if error.downcast_ref().is_none_or(|error| !closed(error)) {
        say(&error.to_string());
    }
    match error.downcast_ref() {
        Some(TrainError::Stopped { .. }) => ExitCode::from(130),
        _ => ExitCode::FAILURE,
    }
}
