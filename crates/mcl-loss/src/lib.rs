//! Masked contrastive losses for the [Burn](https://burn.dev) framework, after "Masked Contrastive Learning
//! for Anomaly Detection" (Cho, Seol, Lee; IJCAI 2021).
//!
//! | loss | equation | type |
//! |---|---|---|
//! | NT-Xent | 1-2 | [`NtXentLoss`] |
//! | CCM, class-conditional mask | 3-6, with auxiliary labels 11 | [`MclTerms::ccm`], or [`MclLoss`] with `spa_weight` 0 |
//! | SPA, stochastic positive attraction | 7-9 | [`MclTerms::spa`], sampled or as its exact expectation |
//! | MCL | 10 | [`MclLoss`] |
//! | `SupCon` | Khosla et al. 2020 | [`SupConLoss`] |
//!
//! Each takes projections `[images, 2, dim]`, two augmented views of each image, from any Burn backend, and
//! returns a differentiable `[1]` tensor. From first views `z1` and second views `z2`, `[images, dim]` each,
//! make them by `Tensor::stack([z1, z2], 1)`, never by `cat` and `reshape`: that pairs views of different
//! images without an error. `forward_views` takes `z1` and `z2` as they are. [`Formulation`] selects the
//! published equations or the arithmetic of the code that was released with the paper.
//!
//! ```
//! use burn::tensor::{Device, Distribution, Int, Tensor};
//! use mcl_loss::{MclLabels, MclLossConfig};
//!
//! let device = Device::flex().autodiff();
//! // What a network made of 2 images in 4 rotations, two views each.
//! let projections = Tensor::<3>::random([8, 2, 32], Distribution::Default, &device).require_grad();
//! let class = Tensor::<1, Int>::from_ints([0, 0, 0, 0, 7, 7, 7, 7], &device);
//! let rotation = Tensor::<1, Int>::from_ints([0, 1, 2, 3, 0, 1, 2, 3], &device);
//!
//! let loss = MclLossConfig::new().init();
//! let value = loss.forward(projections, &MclLabels::new(class).with_aux(rotation));
//! let gradients = value.backward();
//! # let _ = gradients;
//! ```
//!
//! # Features
//!
//! - `flex`: MCL in loops of our own on Burn's CPU backend, in f32; several times faster than tensor
//!   operations. Other backends and precisions are not touched.
#![forbid(unsafe_code)]

mod attraction;
mod batch;
mod blockwise;
mod ccm;
mod config;
mod dense;
mod error;
#[cfg(feature = "flex")]
mod flex;
mod formulation;
#[cfg(feature = "flex")]
mod fused;
mod labels;
mod log_sum_exp;
mod mask;
mod masked;
mod mcl;
mod nt_xent;
mod pair_loss;
mod pairs;
mod parameters;
mod positives;
mod similarity;
mod spa;
mod sup_con;
mod terms;
mod views;

pub use attraction::Attraction;
pub use config::MclLossConfig;
pub use error::LossError;
pub use formulation::Formulation;
pub use labels::MclLabels;
pub use mcl::MclLoss;
pub use nt_xent::{NtXentLoss, NtXentLossConfig};
pub use sup_con::{SupConLoss, SupConLossConfig};
pub use terms::MclTerms;
