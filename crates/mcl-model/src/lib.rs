//! The network of masked contrastive learning (MCL; Cho, Seol and Lee, IJCAI 2021) on the Burn framework: a
//! encoder, a two-layer projection head, and a linear classifier if one is wanted.
//!
//! ```text
//! images [n, c, h, w] -> encoder -> features [n, feature_dim] -> Linear, ReLU, Linear -> projections [n, d]
//!                                                             -> Linear               -> logits [n, classes]
//! ```
//!
//! The loss and the class-conditional Gaussians of the paper work on the projections; the features are what
//! one would give to a linear classifier.
//!
//! | item | what |
//! |---|---|
//! | [`ResNet`], [`ResNetConfig`] | the paper's encoder: ResNet-18, -34 and -50 of any width, with the [`Stem`] for small or for large images |
//! | [`FastNet`], [`FastNetConfig`] | an encoder for small images on CPUs: a whitening stem and three groups of convolutions (airbench's shape) |
//! | [`Encoder`], [`EncoderConfig`] | either of them |
//! | [`ProjectionHead`], [`ProjectionHeadConfig`] | the two layers of the head |
//! | [`MclModel`], [`MclModelConfig`], [`Embedding`] | both together; initial weights that depend on nothing but a seed |
//! | [`MclModel::load_safetensors`], [`MclModel::save_safetensors`], `MclModel::load_pytorch` | weights from PyTorch, and to it |
//! | [`MclModel::pytorch_weights`], [`PytorchWeight`] | the same weights as plain numbers |
//! | [`ResNet::load_safetensors`], `ResNet::load_pytorch` | an encoder with torchvision's ImageNet weights |
//! | [`Precision`] | products of convolutions in bf16 on CPUs that have them |
//! | [`MclModel::whiten`] | the stem of a [`FastNet`] made to fit the training images |
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
mod config;
mod encoder;
mod error;
mod fast_net;
mod flop;
mod group;
mod head;
mod layers;
mod model;
mod network;
mod parameters;
mod precision;
mod resnet;
mod seed;
mod stem;
mod symmetric_eigen;
mod variant;
mod weights;
mod whitening;

pub use config::MclModelConfig;
pub use encoder::{Encoder, EncoderConfig};
pub use error::ModelError;
pub use fast_net::{FastNet, FastNetConfig};
pub use head::{ProjectionHead, ProjectionHeadConfig};
pub use layers::release_memory;
pub use model::{Embedding, MclModel};
pub use network::Network;
pub use precision::Precision;
pub use resnet::{ResNet, ResNetConfig};
pub use variant::{ResNetDepth, Stem};
pub use weights::{PytorchWeight, WeightProblem, WeightsError};
