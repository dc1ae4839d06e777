//! The device that a program runs on, from the environment.

use std::env::{self, VarError};

use burn::tensor::Device;

/// Backends that Burn knows by name in `BURN_DEVICE`, and whether this build has them.
const BACKENDS: [(&str, bool); 6] = [
    ("flex", cfg!(feature = "flex")),
    ("cuda", cfg!(feature = "cuda")),
    ("rocm", cfg!(feature = "rocm")),
    ("wgpu", cfg!(feature = "wgpu")),
    ("vulkan", cfg!(feature = "vulkan")),
    ("metal", cfg!(feature = "metal")),
];

/// The value of `BURN_DEVICE` names no backend of this build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("BURN_DEVICE is {value:?}, but this build has {}: set one of these, or build with the feature of the other", .available.join(", "))]
pub struct DeviceError {
    /// The value.
    pub value: String,
    /// The backends of this build.
    pub available: Vec<&'static str>,
}

/// Returns the device that `BURN_DEVICE` names, or Burn's default device where the variable is not set: a GPU
/// if a feature for one is on, else the CPU.
///
/// `Device::default()` does the same and panics where this function returns an error.
///
/// # Errors
///
/// [`DeviceError`] when the variable names a backend that does not exist or is not part of this build.
///
/// ```
/// let device = burn_mcl::device::from_env()?;
/// println!("on {device:?}");
/// # Ok::<(), burn_mcl::device::DeviceError>(())
/// ```
pub fn from_env() -> Result<Device, DeviceError> {
    match env::var("BURN_DEVICE") {
        Ok(value) => check(&value)?,
        Err(VarError::NotUnicode(value)) => check(&value.to_string_lossy())?,
        Err(VarError::NotPresent) => {}
    }
    Ok(Device::default())
}

/// Whether Burn would take this value; Burn ignores case.
fn check(value: &str) -> Result<(), DeviceError> {
    let available: Vec<_> =
        BACKENDS.into_iter().filter(|backend| backend.1).map(|backend| backend.0).collect();
    if available.contains(&value.to_lowercase().as_str()) {
        return Ok(());
    }
    Err(DeviceError { value: value.to_string(), available })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_not_there_is_an_error() {
        assert_eq!(check("Flex"), Ok(()));
        for value in ["nonsense", "", "ndarray"] {
            let error = check(value).unwrap_err().to_string();
            assert!(error.contains(&format!("{value:?}")) && error.contains("flex"), "{error}");
        }
    }
}
