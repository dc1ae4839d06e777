//! The program `mcl`: learns what pictures look like, and finds those that look otherwise. The library
//! [`burn_mcl`] does the work.
//!
//! | command | what it does | module |
//! |---|---|---|
//! | `mcl train` | learns normal pictures, and keeps a detector and a report | [`train`] |
//! | `mcl detect` | says which pictures look otherwise | [`detect`] |
//! | `mcl evaluate` | counts false alarms and anomalies found | [`evaluate`] |
//! | `mcl inspect` | says what a saved detector is | [`inspect`] |
//! | `mcl export` | writes a detector as an ONNX graph, or for the Hugging Face Hub | [`export`] |
//! | `mcl shapes` | writes drawn pictures to try the program with | [`shapes`] |
//! | `mcl completions` | prints a script that completes the commands in a shell | |
#![forbid(unsafe_code)]

pub mod detect;
pub mod evaluate;
pub mod export;
mod folder;
pub mod inspect;
mod interrupt;
mod log;
mod output;
mod saved;
pub mod shapes;
pub mod train;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use burn_mcl::{Progress, device};
use clap::{ArgAction, CommandFactory, Parser, Subcommand};

/// The exit code of `mcl detect --fail` when a picture was flagged.
const FLAGGED: u8 = 3;

/// Learns what your pictures look like, and finds those that look otherwise
#[derive(Parser)]
#[command(name = "mcl", version, after_help = EXAMPLES)]
struct Program {
    #[command(subcommand)]
    command: Command,
    /// Show no progress; warnings and errors are shown
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Say what is done and when, in lines instead of bars; -vv says each training step
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
}

const EXAMPLES: &str = "\
Examples:
  mcl shapes pictures                                   write pictures to try this with
  mcl train pictures/train                              learn from normal pictures
  mcl train pictures/train --normal pictures/normal --anomalous pictures/near
                                                        the same, and see how well it works
  mcl detect runs/own pictures/near                     look at new pictures
  mcl evaluate runs/own --normal pictures/normal --anomalous pictures/near
                                                        how well a detector works
  mcl inspect runs/own                                  what the detector is
  mcl export runs/own --onnx detector.onnx              the detector for onnxruntime and others
";

#[derive(Subcommand)]
enum Command {
    /// Learn what normal pictures look like, and keep a detector and a report
    Train(Box<train::Settings>),
    /// Say which pictures look otherwise than those a detector learned from
    Detect(detect::Settings),
    /// Say how well a saved detector tells anomalous pictures from normal ones
    Evaluate(evaluate::Settings),
    /// Say what a saved detector is: classes, size of pictures, threshold, network
    Inspect(inspect::Settings),
    /// Write a saved detector for other programs: as an ONNX graph, or for the Hugging Face Hub
    Export(export::Settings),
    /// Write drawn pictures to try the program with
    Shapes(shapes::Settings),
    /// Print a script that completes the commands in a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// The program from its arguments to its exit code.
pub fn main() -> ExitCode {
    let Program { command, quiet, verbose } = Program::parse();
    let progress = match verbose {
        0 if quiet => Progress::Warnings,
        0 => Progress::Terminal,
        _ => {
            log::to_stderr(verbose > 1);
            Progress::Hidden // the lines hold the warnings
        }
    };
    match run(command, progress) {
        Ok(code) => code,
        Err(error) => output::end(Err(error)),
    }
}

fn run(command: Command, progress: Progress) -> Result<ExitCode, Box<dyn Error>> {
    let out = &mut io::stdout();
    match command {
        Command::Train(settings) => {
            let (device, stop) = (device::from_env()?, &interrupt::STOP);
            train::run(&settings, &device, progress, stop, interrupt::stop_on_signals, out)?;
        }
        Command::Detect(settings) => {
            let found = detect::run(&settings, &device::from_env()?, progress, out)?;
            if settings.fail && found.flagged > 0 {
                return Ok(ExitCode::from(FLAGGED));
            }
            if settings.fail && (found.pictures == 0 || found.skipped > 0) {
                return Err(format!(
                    "{} of {} pictures were judged",
                    found.pictures,
                    found.pictures + found.skipped
                )
                .into());
            }
        }
        Command::Evaluate(settings) => {
            evaluate::run(&settings, &device::from_env()?, progress, out)?;
        }
        Command::Inspect(settings) => inspect::run(&settings, &device::from_env()?, out)?,
        Command::Export(settings) => export::run(&settings, &device::from_env()?, out)?,
        Command::Shapes(settings) => shapes::run(&settings, out)?,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Program::command(), "mcl", &mut script);
            out.write_all(&script)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_fit_together() {
        Program::command().debug_assert();
    }
}
