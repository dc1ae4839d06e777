//! The network of masked contrastive learning (MCL; Cho, Seol and Lee, IJCAI 2021) on the Burn framework: a
//! ResNet encoder and a two-layer projection head.
//!
//! ```text
//! images [n, c, h, w] -> ResNet -> features [n, 8 * width * expansion] -> Linear, ReLU, Linear -> projections [n, d]
//! ```
//!
//! The loss and the class-conditional Gaussians of the paper work on the projections; the features are what
//! one would give to a linear classifier.
//!
//! | item | what |
//! |---|---|
//! | [`ResNet`], [`ResNetConfig`] | ResNet-18, -34 and -50 of any width, with the [`Stem`] for small or for large images |
//! | [`ProjectionHead`], [`ProjectionHeadConfig`] | the two layers of the head |
//! | [`MclModel`], [`MclModelConfig`], [`Embedding`] | both together; initial weights that depend on nothing but a seed |
//! | [`MclModel::load_safetensors`], [`MclModel::save_safetensors`], `MclModel::load_pytorch` | weights from PyTorch, and to it |
//! | [`ResNet::load_safetensors`], `ResNet::load_pytorch` | an encoder with torchvision's ImageNet weights |
//!
//! # Features
//!
//! - `flex`: the layers of `burn-flex-conv` on Burn's CPU backend, in f32; several times faster than Burn's
//!   own. Other backends and precisions run Burn's own layers, as do all without the feature. Training keeps
//!   the memory of activations from step to step: [`release_memory`] frees it after training.
//! - `pytorch` (default): reads checkpoints of `torch.save`.
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

mod architecture;
mod block;
mod error;
mod head;
mod layers;
mod model;
mod network;
mod parameters;
mod resnet;
mod seed;
mod variant;
mod weights;

pub use error::ModelError;
pub use head::{ProjectionHead, ProjectionHeadConfig};
pub use layers::release_memory;
pub use model::{Embedding, MclModel, MclModelConfig};
pub use network::Network;
pub use resnet::{ResNet, ResNetConfig};
pub use variant::{ResNetDepth, Stem};
pub use weights::{WeightProblem, WeightsError};
