//! The numbers of a saved detector: its Gaussians and its calibration scores, as named arrays of f64.

use burn::tensor::Device;
use mcl_infer::{Calibration, Covariance, MahalanobisRecord, MahalanobisScorer};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};

use super::{DetectorConfig, DetectorError};
use crate::artifact::Artifact;

pub(super) const GAUSSIANS: &str = "gaussians.safetensors";
pub(super) const CALIBRATION: &str = "calibration.safetensors";

/// Bytes of the largest header and of the most calibration scores (8 million) that are read.
const SPARE: u64 = 64 << 20;

/// The Gaussians of a saved detector, on `device`.
pub(super) fn load_gaussians(
    artifact: &Artifact,
    [classes, aux_classes, dim]: [usize; 3],
    config: &DetectorConfig,
    device: &Device,
) -> Result<MahalanobisScorer, DetectorError> {
    let numbers = [classes, aux_classes, dim, dim.saturating_add(1), 8];
    let limit = numbers.iter().fold(1u64, |product, &n| product.saturating_mul(n as u64));
    let bytes = artifact.bytes(GAUSSIANS, limit.saturating_add(SPARE))?;
    let damaged = |reason| artifact.unusable(GAUSSIANS, reason);
    let means = from_bytes(&bytes, "means", &[classes, aux_classes, dim]).map_err(damaged)?;
    let config = config.gaussians;
    let covariances =
        read_covariances(&bytes, config.covariance, [classes, aux_classes, dim]).map_err(damaged)?;
    let record = MahalanobisRecord { config, classes, aux_classes, dim, means, covariances };
    Ok(record.into_scorer(device)?)
}

/// One covariance for each (class, rotation), or, where the classes share it, one for each rotation.
fn read_covariances(
    bytes: &[u8],
    covariance: Covariance,
    [classes, aux_classes, dim]: [usize; 3],
) -> Result<Vec<f64>, String> {
    let each = [classes, aux_classes, dim, dim];
    let read = |shape| from_bytes(bytes, "covariances", shape);
    match covariance {
        // Version 0.1.0 repeated a shared covariance for each class.
        Covariance::Tied => read(&each).or_else(|_| read(&each[1..])),
        _ => read(&each),
    }
}

/// The calibration scores of a saved detector.
pub(super) fn load_calibration(artifact: &Artifact) -> Result<Calibration, DetectorError> {
    let bytes = artifact.bytes(CALIBRATION, SPARE)?;
    let damaged = |reason| artifact.unusable(CALIBRATION, reason);
    let file = SafeTensors::deserialize(&bytes).map_err(|error| damaged(error.to_string()))?;
    let count = file.tensor("scores").map_or(0, |scores| scores.data().len() / 8);
    Ok(Calibration::new(from_bytes(&bytes, "scores", &[count]).map_err(damaged)?)?)
}

/// Named arrays of f64 in the safetensors format.
pub(super) fn to_bytes(arrays: &[(&str, Vec<usize>, &[f64])]) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> =
        arrays.iter().map(|(_, _, values)| values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = arrays.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (*name, TensorView::new(Dtype::F64, shape.clone(), bytes).expect("the shape fits"))
    });
    serialize(views, None).expect("named arrays are a valid file")
}

/// An array of [`to_bytes`], which must have this shape.
fn from_bytes(bytes: &[u8], name: &str, shape: &[usize]) -> Result<Vec<f64>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let view = file.tensor(name).map_err(|error| error.to_string())?;
    if view.dtype() != Dtype::F64 || view.shape() != shape {
        let (found, dtype) = (view.shape(), view.dtype());
        return Err(format!("`{name}` is {dtype:?} of shape {found:?}, and should be F64 of {shape:?}"));
    }
    let values = view.data().chunks_exact(8);
    Ok(values.map(|bytes| f64::from_le_bytes(bytes.try_into().expect("8 bytes"))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROTATIONS: usize = 4;

    #[test]
    fn shared_covariances_are_read_once_or_repeated() {
        let values: Vec<f64> = (0..2 * ROTATIONS * 4).map(|i| i as f64).collect();
        let once = to_bytes(&[("covariances", vec![ROTATIONS, 2, 2], &values[..ROTATIONS * 4])]);
        let each = to_bytes(&[("covariances", vec![2, ROTATIONS, 2, 2], &values)]);
        let read = |bytes, covariance| read_covariances(bytes, covariance, [2, ROTATIONS, 2]);
        assert_eq!(read(&once, Covariance::Tied).unwrap(), values[..ROTATIONS * 4]);
        assert_eq!(read(&each, Covariance::Tied).unwrap(), values);
        assert_eq!(read(&each, Covariance::PerClass).unwrap(), values);
        assert!(read(&once, Covariance::PerClass).is_err());
    }
}
