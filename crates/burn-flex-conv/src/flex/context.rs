//! What the loops of a call run on: an instruction set, and memory for activations.

use pulp::Arch;

use super::amx::Amx;
use super::bf16::Bf16;
use super::lanes::lanes;
use super::pool::Pool;

/// Values in a vector where there are products in bf16.
const LANES: usize = 16;

/// Passed from layer to layer, so that the memory of one layer's input serves as the next layer's output.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) arch: Arch,
    /// Where the operands of products are rounded to bf16.
    pub(crate) bf16: Option<InBf16>,
    pub(crate) pool: Pool,
}

/// What multiplies in bf16.
#[derive(Debug, Clone, Copy)]
pub(crate) enum InBf16 {
    Vectors(Bf16),
    Tiles(Amx),
}

impl Context {
    /// For training: memory is kept from one step for the next, by the process.
    pub(crate) fn training() -> Self {
        Self { arch: Arch::new(), bf16: None, pool: Pool::of_training() }
    }

    /// For one call of a network in evaluation: memory is freed with the last of its activations.
    pub(crate) fn evaluation() -> Self {
        Self { arch: Arch::new(), bf16: None, pool: Pool::default() }
    }

    /// Products of operands in bf16, where the CPU has them and the vectors are its widest.
    pub(crate) fn with_bf16(self) -> Self {
        let is_widest = lanes(self.arch) == LANES;
        let vectors = Bf16::try_new().filter(|_| is_widest);
        let bf16 = vectors.map(|vectors| Amx::try_new().map_or(InBf16::Vectors(vectors), InBf16::Tiles));
        Self { bf16, ..self }
    }
}
