//! Share of right labels.

use super::error::MetricError;

/// The share of images whose predicted class is the true one, 0 to 1.
///
/// # Errors
///
/// No labels, or not as many predicted as true ones.
pub fn accuracy(predicted: &[usize], truth: &[usize]) -> Result<f64, MetricError> {
    if predicted.len() != truth.len() {
        return Err(MetricError::LabelCount { predicted: predicted.len(), truth: truth.len() });
    }
    if truth.is_empty() {
        return Err(MetricError::NoLabels);
    }
    let right = predicted.iter().zip(truth).filter(|(predicted, truth)| predicted == truth).count();
    Ok(right as f64 / truth.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_over_all() {
        assert_eq!(accuracy(&[0, 1, 2, 2], &[0, 1, 2, 0]), Ok(0.75));
        assert_eq!(accuracy(&[0], &[0, 1]), Err(MetricError::LabelCount { predicted: 1, truth: 2 }));
        assert_eq!(accuracy(&[], &[]), Err(MetricError::NoLabels));
    }
}
