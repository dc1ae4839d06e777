//! Gradients against PyTorch in double precision, where rounding does not decide which side of zero an
//! activation of the deep networks falls on: the arithmetic itself must agree.

mod common;

use burn::tensor::{Device, FloatDType};
use common::{GRADIENTS_OF_NETWORKS, assert_gradients};

/// Relative to the norm.
const TOLERANCE: f64 = 1e-6;

// One test only: the default type of a device is set once for the whole process.
#[test]
fn gradients_are_pytorchs() {
    let mut device = Device::flex();
    device.configure(FloatDType::F64).unwrap();
    for name in GRADIENTS_OF_NETWORKS {
        assert_gradients(name, &device.clone().autodiff(), TOLERANCE);
    }
}
