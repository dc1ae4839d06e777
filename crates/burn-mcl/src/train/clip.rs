//! Gradient clipping by the norm of all gradients together.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// Scales all gradients of `model` by one factor, so that their norm is at most `limit`.
///
/// Burn's own clipping scales each parameter by a factor of its own, which changes the direction of the step.
pub(super) fn clip<M: Module>(gradients: GradientsParams, model: &M, limit: f64) -> GradientsParams {
    let mut norm = SquaredNorm { gradients: &gradients, sum: None };
    model.visit(&mut norm);
    let Some(squared) = norm.sum else { return gradients };
    // Without this minimum, gradients of zero would become NaN.
    let factor = squared.sqrt().clamp_min(f32::MIN_POSITIVE).recip().mul_scalar(limit).clamp_max(1.0); // [1]
    let mut scale = Scale { gradients, factor };
    model.visit(&mut scale);
    scale.gradients
}

struct SquaredNorm<'a> {
    gradients: &'a GradientsParams,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for SquaredNorm<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            let squared = gradient.square().sum();
            self.sum = Some(match self.sum.take() {
                Some(sum) => sum + squared,
                None => squared,
            });
        }
    }
}

struct Scale {
    gradients: GradientsParams,
    factor: Tensor<1>,
}

impl ModuleVisitor for Scale {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            let factor = self.factor.clone().reshape([1; D]);
            self.gradients.register(param.id, gradient * factor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::LinearConfig;
    use burn::tensor::Device;

    /// Gradients of `scale * sum(weight * input)` of a layer with four weights and two biases.
    fn norm_after(limit: f64, scale: f32) -> (f64, f64) {
        let device = Device::flex().autodiff();
        let layer = LinearConfig::new(2, 2).init(&device);
        let input = Tensor::<2>::from_floats([[3.0, -4.0]], &device);
        let loss = layer.forward(input).sum() * scale;
        let gradients = GradientsParams::from_grads(loss.backward(), &layer);
        let norm = |gradients: &GradientsParams| {
            let weight: Tensor<2> = gradients.get(layer.weight.id).unwrap();
            let bias: Tensor<1> = gradients.get(layer.bias.as_ref().unwrap().id).unwrap();
            (weight.square().sum() + bias.square().sum()).sqrt().into_scalar::<f64>()
        };
        (norm(&gradients), norm(&clip(gradients, &layer, limit)))
    }

    #[test]
    fn the_norm_of_all_gradients_is_at_most_the_limit() {
        // Both columns of the weight have the gradient (3, -4), both biases 1: the norm is sqrt(52).
        let (before, after) = norm_after(2.0, 1.0);
        assert!((before - 52.0_f64.sqrt()).abs() < 1e-5, "{before}");
        assert!((after - 2.0).abs() < 1e-5, "{after}");
    }

    #[test]
    fn smaller_gradients_and_zeros_stay() {
        let (before, after) = norm_after(8.0, 1.0);
        assert_eq!(before.to_bits(), after.to_bits());
        assert_eq!(norm_after(1.0, 0.0).1, 0.0);
    }
}
