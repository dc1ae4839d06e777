//! A weighted sum of losses.

use serde::{Deserialize, Serialize};

use super::{LossInput, LossValue, Objective, TrainError, TrainingLoss};

/// A term of [`Objective::Sum`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Term {
    /// Factor of the loss, above 0.
    pub weight: f64,
    /// The loss.
    pub objective: Objective,
}

impl Term {
    /// A loss that counts `weight` times.
    pub fn new(weight: f64, objective: Objective) -> Self {
        Self { weight, objective }
    }
}

/// The sum of the terms, each multiplied by its weight.
pub(super) struct Sum(Vec<WeightedLoss>);

struct WeightedLoss {
    name: &'static str,
    weight: f64,
    loss: Box<dyn TrainingLoss>,
}

impl Sum {
    /// # Errors
    ///
    /// [`TrainError::Config`] when there is no term, when a weight is not positive, when a term is a sum, or when more than one
    /// term reads the logits: a network has one classifier.
    pub(super) fn try_new(terms: &[Term]) -> Result<Self, TrainError> {
        let refuse =
            |value: String, expected| Err(TrainError::Config { setting: "objective.Sum", value, expected });
        let mut losses = Vec::new();
        for Term { weight, objective } in terms {
            if !(weight.is_finite() && *weight > 0.0) {
                return refuse(format!("a term of weight {weight}"), "terms with positive weights");
            }
            if matches!(objective, Objective::Sum(_)) {
                return refuse("a sum within a sum".into(), "terms that are no sums");
            }
            losses.push(WeightedLoss { name: objective.name(), weight: *weight, loss: objective.init()? });
        }
        match losses.iter().filter(|term| term.loss.logits(1, 1).is_some()).count() {
            _ if losses.is_empty() => refuse("empty".into(), "at least one term"),
            0 | 1 => Ok(Self(losses)),
            found => refuse(format!("{found} losses of logits"), "at most one loss of logits"),
        }
    }
}

impl TrainingLoss for Sum {
    fn value(&self, input: &LossInput) -> LossValue {
        let mut terms = self.0.iter().map(|WeightedLoss { name, weight, loss }| {
            let LossValue { total, mut parts } = loss.value(input);
            // The parts of MCL add up to its total.
            if parts.is_empty() {
                parts.push((name, total.clone()));
            }
            LossValue { total: total.mul_scalar(*weight), parts }
        });
        let first = terms.next().expect("at least one term, as try_new has checked");
        terms.fold(first, |mut sum, term| {
            sum.parts.extend(term.parts);
            LossValue { total: sum.total + term.total, parts: sum.parts }
        })
    }

    fn logits(&self, classes: usize, aux_classes: usize) -> Option<usize> {
        self.0.iter().find_map(|term| term.loss.logits(classes, aux_classes))
    }

    fn shapes_projections(&self) -> bool {
        self.0.iter().any(|term| term.loss.shapes_projections())
    }

    fn needs_outliers(&self) -> bool {
        self.0.iter().any(|term| term.loss.needs_outliers())
    }
}
