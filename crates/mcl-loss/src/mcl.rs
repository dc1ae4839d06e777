//! The masked contrastive loss (MCL, Eq. 10): CCM with stochastic positive attraction.
//!
//! ```text
//! MCL = CCM + spa_weight * SPA
//! ```

use burn::{module::Module, tensor::Tensor};
use rand::Rng;

use crate::{batch::Batch, formulation::Formulation, labels::MclLabels};

/// The masked contrastive loss, with or without auxiliary labels. Made by [`MclLossConfig`](crate::MclLossConfig).
///
/// Everything is computed on the device of the projections, without loops over samples. Rows need not be
/// normalised: their scale, from 1e-37 to 1e38, does not change the loss. A row of zeros has similarity 0 to all and
/// gets no gradient. Rows with NaN or infinite values make the loss NaN. 16-bit projections are cast to
/// f32 first, and the loss is f32. On CUDA, Burn multiplies f32 matrices as TF32: similarities are then exact to about
/// 1e-3.
///
/// Small batches take one `[2N, 2N]` matrix of similarities through autodiff. From 2048 views on, blocks of rows give
/// the same loss and gradient in memory that grows as N; the gradient is then computed with the loss, in `forward`.
/// With the feature `flex`, f32 projections on Burn's CPU backend take loops of our own at any size, several times
/// faster and in memory that grows as N, unless the temperature is below 1/64 or SPA is the expectation of
/// [`Formulation::Released`].
///
/// ```
/// use burn::tensor::{Device, Distribution, Int, Tensor};
/// use mcl_loss::{MclLabels, MclLossConfig};
///
/// let device = Device::flex().autodiff();
/// let loss = MclLossConfig::new().init();
/// // Four images, two views each, in 16 dimensions.
/// let projections = Tensor::<3>::random([4, 2, 16], Distribution::Default, &device).require_grad();
/// let labels = MclLabels::new(Tensor::<1, Int>::from_ints([0, 0, 1, 1], &device));
/// let gradients = loss.forward(projections.clone(), &labels).backward();
/// assert_eq!(projections.grad(&gradients).unwrap().dims(), [4, 2, 16]);
/// ```
#[derive(Module, Debug)]
pub struct MclLoss {
    pub(crate) temperature: f64,
    pub(crate) alpha: f64,
    pub(crate) beta: f64,
    pub(crate) spa_weight: f64,
    #[module(skip)]
    pub(crate) formulation: Formulation,
}

/// An [`MclLoss`] and its parts, each of shape `[1]` and differentiable: `total = ccm + spa_weight * spa`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MclTerms {
    /// The class-conditional masked contrastive loss (Eq. 6).
    pub ccm: Tensor<1>,
    /// Stochastic positive attraction (Eq. 9), unweighted.
    pub spa: Tensor<1>,
    /// The masked contrastive loss (Eq. 10).
    pub total: Tensor<1>,
}

impl MclTerms {
    pub(crate) fn new(ccm: Tensor<1>, spa: Tensor<1>, spa_weight: f64) -> Self {
        let total = ccm.clone() + spa.clone().mul_scalar(spa_weight);
        Self { ccm, spa, total }
    }
}

impl MclLoss {
    /// The loss with the exact expectation of SPA over the draw of positives: no randomness.
    ///
    /// Under [`Formulation::Released`] that is the expectation over the released draw; it drops SPA from the loss
    /// of a batch in which an image has no partner.
    ///
    /// # Shapes
    ///
    /// - projections: `[images, views = 2, dim]`
    /// - labels: `[images]`, on the same device
    /// - output: `[1]`
    ///
    /// # Panics
    ///
    /// If there are no images, not two views of each, no dimensions, or not as many labels as images.
    pub fn forward(&self, projections: Tensor<3>, labels: &MclLabels) -> Tensor<1> {
        Batch::new(projections, labels, None).total(self)
    }

    /// The loss with SPA at given positives, usually drawn by [`sample_positives`](Self::sample_positives).
    ///
    /// `positives[2 * image + view]` is the index, counted the same way, of the view that attracts this one, or
    /// `None`: then it adds 0 to SPA and still counts in the mean. That positives have the label of their view, and
    /// are a draw of the loss's [`Formulation`], is up to the caller.
    ///
    /// # Shapes
    ///
    /// As in [`forward`](Self::forward), with `2 * images` positives.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward), and if there is not one entry per view, or an entry is no view or a view
    /// of the same image.
    pub fn forward_with_positives(
        &self,
        projections: Tensor<3>,
        labels: &MclLabels,
        positives: &[Option<usize>],
    ) -> Tensor<1> {
        Batch::new(projections, labels, Some(positives)).total(self)
    }

    /// Draws the positives of SPA (Eq. 8) as the loss's [`Formulation`] does, for
    /// [`forward_with_positives`](Self::forward_with_positives). `rng` is a generator of `rand` 0.10.
    ///
    /// `class[image]` and `aux[image]` are the labels of the images; `aux` is given if and only if the
    /// [`MclLabels`] have auxiliary labels. The result has two entries per image: entry `2 * image + view` is the index,
    /// counted the same way, of the positive of that view.
    ///
    /// - [`Formulation::Paper`]: a view of another image with the same label, uniformly; `None` where no other image has
    ///   the label.
    /// - [`Formulation::Released`]: each image takes one partner image with the same label, and its first and second view
    ///   take the first and second view of the partner. If any image has no partner, all entries are `None`, and SPA is 0.
    ///
    /// # Panics
    ///
    /// If `aux` is not as long as `class`.
    ///
    /// ```
    /// # use burn::tensor::{Device, Distribution, Int, Tensor};
    /// # use mcl_loss::{MclLabels, MclLossConfig};
    /// # use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// # let device = Device::flex();
    /// let class = [0, 0, 9];
    /// let loss = MclLossConfig::new().init();
    /// let mut rng = ChaCha8Rng::seed_from_u64(1);
    /// let positives = loss.sample_positives(&class, None, &mut rng);
    /// assert!(matches!(positives[..], [Some(2 | 3), Some(2 | 3), Some(0 | 1), Some(0 | 1), None, None]));
    ///
    /// let projections = Tensor::<3>::random([3, 2, 16], Distribution::Default, &device);
    /// let labels = MclLabels::new(Tensor::<1, Int>::from_ints(class, &device));
    /// let value = loss.forward_with_positives(projections, &labels, &positives);
    /// # let _ = value;
    /// ```
    pub fn sample_positives<R: Rng + ?Sized>(
        &self,
        class: &[i64],
        aux: Option<&[i64]>,
        rng: &mut R,
    ) -> Vec<Option<usize>> {
        self.formulation.sample_positives(class, aux, rng)
    }

    /// The published equations or the released code.
    pub fn formulation(&self) -> Formulation {
        self.formulation
    }

    /// The loss and its parts, for logging: with positives as
    /// [`forward_with_positives`](Self::forward_with_positives), without as [`forward`](Self::forward).
    ///
    /// # Panics
    ///
    /// As those.
    pub fn terms(
        &self,
        projections: Tensor<3>,
        labels: &MclLabels,
        positives: Option<&[Option<usize>]>,
    ) -> MclTerms {
        Batch::new(projections, labels, positives).terms(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MclLossConfig, NtXentLossConfig, blockwise, dense};
    use burn::tensor::{DType, Device, Int, Tensor, Tolerance};

    #[test]
    fn ccm_with_one_weight_for_all_pairs_is_nt_xent() {
        let device = Device::flex().autodiff();
        let projections = Tensor::<1, Int>::arange(0..60, &device).float().mul_scalar(1.3).sin();
        let projections = projections.reshape([6, 2, 5]).detach().require_grad();
        let class = Tensor::from_ints([0, 0, 1, 1, 0, 2], &device);
        let labels = MclLabels::new(class).with_aux(Tensor::from_ints([0, 1, 0, 0, 1, 0], &device));
        for temperature in [0.05, 0.2, 1.0] {
            // Not reachable through the configuration, which keeps alpha < beta.
            let weight = 1.0 / temperature;
            let loss = MclLoss {
                temperature,
                alpha: weight,
                beta: weight,
                spa_weight: 0.0,
                formulation: Formulation::Paper,
            };
            let nt_xent = NtXentLossConfig::new().with_temperature(temperature).init();
            let ccm = loss.terms(projections.clone(), &labels, None).ccm;
            let reference = nt_xent.forward(projections.clone());
            let gradients = [ccm.backward(), reference.backward()].map(|all| projections.grad(&all).unwrap());
            let tolerance = Tolerance::<f32>::rel_abs(1e-5, 1e-6);
            ccm.into_data().assert_approx_eq(&reference.into_data(), tolerance);
            let [gradient, reference] = gradients.map(|gradient| gradient.into_data());
            gradient.assert_approx_eq(&reference, tolerance);
        }
    }

    #[test]
    fn batches_large_enough_for_blocks_give_the_dense_loss() {
        let device = Device::flex();
        let images = blockwise::FROM_VIEWS / 2;
        // f64: in f32 this device has a way of its own.
        let projections = Tensor::<1, Int>::arange(0..images as i64 * 8, &device).float().cast(DType::F64);
        let projections = projections.mul_scalar(0.7).sin().reshape([images, 2, 4]);
        let labels = MclLabels::new(Tensor::arange(0..images as i64, &device).remainder_scalar(10));
        let loss = MclLossConfig::new().init();
        let dense = dense::terms(&loss, &Batch::new(projections.clone(), &labels, None)).total;
        let value = loss.forward(projections, &labels);
        value.into_data().assert_approx_eq(&dense.into_data(), Tolerance::<f64>::relative(1e-10));
    }
}
