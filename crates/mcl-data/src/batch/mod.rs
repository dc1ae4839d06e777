//! Batches: for training, each image in its rotations with two random views of each; for evaluation, images as they are.
//!
//! A training batch is a function of the settings and its [`Position`] alone. That makes a resumed run continue with the
//! very batches that the uninterrupted one would have had, on any number of threads.
//!
//! For Burn's own loaders there are the batchers [`TwoViewBatcher`] and [`EvalBatcher`].

mod batcher;
mod config;
mod eval;
mod host;
mod indexed;
mod order;
mod position;
mod prefetch;
mod rotations;
mod samples;
mod two_view;

pub use batcher::{EvalBatcher, TwoViewBatcher};
pub use config::BatchConfig;
pub use eval::{EvalBatch, EvalBatches, eval_batches};
pub use host::{HostBatch, TwoViewBatch};
pub use indexed::{Indexed, IndexedDataset};
pub use position::Position;
pub use rotations::Rotations;
pub use two_view::{BatchStream, TwoViewBatches};
