//! Training: batches in, a network out, with a log and checkpoints on the way.

mod config;
mod error;
mod fingerprint;
mod history;
mod lock;
mod network;
mod objective;
mod optimizer;
mod report;
mod run_dir;
mod schedule;
mod stored;
mod trainer;

pub use config::{ROTATIONS, TrainConfig};
pub use error::TrainError;
pub use history::read_history;
pub use network::load_network;
pub use objective::Objective;
pub use report::StepReport;
pub use schedule::Schedule;
pub use trainer::Trainer;
