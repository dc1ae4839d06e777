//! CIFAR-style ResNets with a projection head for masked contrastive learning, on the Burn framework
#![forbid(unsafe_code)]
#[cfg(feature = "flex")]
#[path = "conv/flex/mod.rs"]
#[doc(hidden)]
pub mod flex;
