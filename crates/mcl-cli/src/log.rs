//! What the library does, in lines: `-v`.

use std::io;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::layer;
use tracing_subscriber::prelude::*;

/// From now on writes the events of the library to standard error, a line with the time for each; with `steps` those of single training
/// steps as well.
pub(crate) fn to_stderr(steps: bool) {
    let level = if steps { LevelFilter::DEBUG } else { LevelFilter::INFO };
    let ours = Targets::new().with_targets([("burn_mcl", level), ("mcl", level)]);
    let lines = layer().with_writer(io::stderr).with_target(false).with_filter(ours);
    tracing_subscriber::registry().with(lines).init();
}
