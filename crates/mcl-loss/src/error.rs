//! Errors of the loss configurations.

/// A loss parameter outside the range in which the loss is defined.
///
/// Returned by `try_init` of the configurations; nothing is clamped silently.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LossError {
    /// The temperature does not divide similarities into finite logits.
    #[error(
        "temperature is {temperature}: it must be finite and above 0, with a finite reciprocal (the paper \
         uses 0.2)"
    )]
    Temperature {
        /// The value given.
        temperature: f64,
    },
    /// The weight of same-label pairs does not lie in `0 < alpha < beta`.
    #[error(
        "alpha is {alpha} with beta {beta}: it must be finite with 0 < alpha < beta, so that views of one \
         label repel each other least (the paper uses alpha 0.05, beta 2.5)"
    )]
    Alpha {
        /// The value given.
        alpha: f64,
        /// The `beta` given beside it.
        beta: f64,
    },
    /// The weight of same-class pairs with another auxiliary label exceeds that of other classes.
    #[error(
        "beta is {beta} with temperature {temperature}: it must be finite and at most 1 / temperature = \
         {limit}, the weight of views of other classes; lower beta or the temperature"
    )]
    Beta {
        /// The value given.
        beta: f64,
        /// The temperature given beside it.
        temperature: f64,
        /// `1 / temperature`.
        limit: f64,
    },
    /// The weight of the SPA term is not a finite number of at least 0.
    #[error(
        "spa_weight is {spa_weight}: it must be finite and at least 0 (0 leaves CCM alone, the paper uses 1)"
    )]
    SpaWeight {
        /// The value given.
        spa_weight: f64,
    },
}

/// Checks that `temperature` and its reciprocal, the logit of identical views, are finite and positive.
pub(crate) fn check_temperature(temperature: f64) -> Result<(), LossError> {
    // A reciprocal above the f32 range would overflow the logits on the device.
    let limit = temperature.recip();
    if temperature > 0.0 && temperature.is_finite() && limit <= f64::from(f32::MAX) {
        Ok(())
    } else {
        Err(LossError::Temperature { temperature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperatures_without_finite_logits_are_refused() {
        for bad in [0.0, -0.2, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-310, 1e-39] {
            assert!(check_temperature(bad).is_err(), "{bad}");
        }
        for good in [0.01, 0.2, 1.0, 100.0] {
            assert_eq!(check_temperature(good), Ok(()));
        }
    }
}
