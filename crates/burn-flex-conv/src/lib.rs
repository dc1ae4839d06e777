#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod feature_map;
mod flex;
mod gelu;
mod layer;

pub use feature_map::{FeatureMap, Precision};
pub use gelu::gelu;
pub use layer::{
    conv, conv_gelu, conv_norm, conv_norm_add, conv_norm_add_relu, conv_norm_gelu, conv_norm_relu,
    conv_pool_norm_gelu,
};

/// Frees the memory that this crate keeps: of activations from one training step for the next, and of the
/// weights that are packed for evaluation.
///
/// That memory belongs to the process, not to a network. The activations take gigabytes for large batches:
/// call this after training. Packed weights take up to 16/9 of the memory of the weights. Those of a network
/// that was dropped are freed when another network is evaluated, or by this function.
///
/// Tensors in use are not touched, and networks still run: the next step takes memory anew, and the next
/// evaluation packs the weights again.
pub fn release_memory() {
    flex::release_memory();
}
