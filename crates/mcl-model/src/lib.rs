//! The network of masked contrastive learning (MCL; Cho, Seol and Lee, IJCAI 2021) on the Burn framework: a ResNet
//! encoder and a two-layer projection head.
//!
//! ```text
//! images [n, c, h, w] -> ResNet -> features [n, 8 * width * expansion] -> Linear, ReLU, Linear -> projections [n, d]
//! ```
//!
//! The loss and the class-conditional Gaussians of the paper work on the projections; the features are what one
//! would give to a linear classifier.
//!
//! | item | what |
//! |---|---|
//! | [`ResNet`], [`ResNetConfig`] | ResNet-18, -34 and -50 of any width, with the [`Stem`] for small or for large images |
//! | [`ProjectionHead`] | the two layers of the head |
//! | [`MclModel`], [`MclModelConfig`], [`Embedding`] | both together; initial weights that depend on nothing but a seed |
//! | [`MclModel::load_pytorch`], [`MclModel::load_safetensors`], [`MclModel::save_safetensors`] | weights from PyTorch, and to it |
//!
//! # Features
//!
//! - `flex`: convolutions and batch norms of our own on Burn's CPU backend, in f32; several times faster than the generic
//!   ones. Other backends and precisions are not touched, and without the feature Burn's own run everywhere. The memory
//!   of activations is kept from step to step: [`release_memory`] frees it after training.
//!
//! # Example
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use mcl_model::{MclModelConfig, ResNetConfig, ResNetDepth};
//!
//! let device = Device::flex();
//! let config = MclModelConfig::new(ResNetConfig::new(ResNetDepth::ResNet18).with_width(8)).with_hidden(32);
//! let model = config.init_seeded(0, &device);
//! let embedding = model.forward(Tensor::zeros([2, 3, 32, 32], &device));
//! assert_eq!(embedding.features.dims(), [2, 64]);
//! assert_eq!(embedding.projections.dims(), [2, 128]);
//! ```
#![forbid(unsafe_code)]

mod block;
mod conv;
mod error;
mod feature_map;
mod head;
mod model;
mod network;
mod parameters;
mod resnet;
mod seed;
mod variant;
mod weights;

pub use conv::release_memory;
pub use error::ModelError;
pub use head::ProjectionHead;
pub use model::{Embedding, MclModel, MclModelConfig};
pub use network::Network;
pub use resnet::{ResNet, ResNetConfig};
pub use variant::{ResNetDepth, Stem};
pub use weights::{WeightProblem, WeightsError};
