//! Training: takes images, returns a network, and writes a log and checkpoints on the way.

mod average;
mod clip;
mod config;
mod draws;
mod error;
mod fingerprint;
mod floats;
mod history;
mod lock;
mod logs;
mod network;
mod objective;
mod optimizer;
mod probe;
mod report;
mod run;
mod run_dir;
mod schedule;
mod start;
mod step;
mod stored;
mod trainer;
mod validation;

pub use config::{ROTATIONS, TrainConfig};
pub use error::TrainError;
pub use history::{read_history, read_loss_parts, read_validations};
pub use network::{load_best, load_best_network, load_network, load_network_into};
pub use objective::{HostLabels, LossInput, LossValue, Objective, TrainingLoss};
pub use optimizer::{MuonScale, Optimizer};
pub use probe::KnnProbe;
pub use report::StepReport;
pub use schedule::{Decay, Schedule, ScheduledRate};
pub(crate) use start::{kind, shapes};
pub use trainer::Trainer;
pub use validation::{Validation, ValidationReport};
