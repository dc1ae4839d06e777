//! What the loops of a call run on: an instruction set, and memory for activations.

use pulp::Arch;

use super::pool::Pool;

/// Passed from layer to layer, so that the memory of one layer's input serves as the next layer's output.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) arch: Arch,
    pub(crate) pool: Pool,
}

impl Context {
    /// For training: memory is kept from one step for the next, by the process.
    pub(crate) fn training() -> Self {
        Self { arch: Arch::new(), pool: Pool::of_training() }
    }

    /// For one call of a network in evaluation: memory is freed with the last of its activations.
    pub(crate) fn evaluation() -> Self {
        Self { arch: Arch::new(), pool: Pool::default() }
    }
}
