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
    pub(crate) bf16: Option<Bf16>,
    /// Where these products are of tiles.
    pub(crate) amx: Option<Amx>,
    pub(crate) pool: Pool,
}

impl Context {
    /// For training: memory is kept from one step for the next, by the process.
    pub(crate) fn training() -> Self {
        Self { arch: Arch::new(), bf16: None, amx: None, pool: Pool::of_training() }
    }

    /// For one call of a network in evaluation: memory is freed with the last of its activations.
    pub(crate) fn evaluation() -> Self {
        Self { arch: Arch::new(), bf16: None, amx: None, pool: Pool::default() }
    }

    /// Products of operands in bf16, where the CPU has them and the vectors are its widest.
    pub(crate) fn with_bf16(self) -> Self {
        let is_widest = lanes(self.arch) == LANES;
        let bf16 = Bf16::try_new().filter(|_| is_widest);
        Self { bf16, amx: bf16.and_then(|_| Amx::try_new()), ..self }
    }
}
