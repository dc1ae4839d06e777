//! The masked contrastive loss (MCL, Eq. 10): CCM with stochastic positive attraction.
//!
//! ```text
//! MCL = CCM + spa_weight * SPA
//! ```

use burn::{module::Module, tensor::Tensor};
use rand::Rng;

#[cfg(feature = "flex")]
use crate::fused;
use crate::{
    attraction::Attraction, batch::Batch, blockwise, formulation::Formulation, labels::MclLabels,
    masked::Masked, parameters::Parameters, terms::MclTerms, views::stack,
};

/// The masked contrastive loss, with or without auxiliary labels. Made by
/// [`MclLossConfig`](crate::MclLossConfig).
///
/// The loss is computed on the device of the projections, without loops over samples. Rows need no
/// normalisation: their scale, from 1e-37 to 1e38, does not change the loss. A row of zeros has similarity 0
/// to all rows and gets no gradient. Rows with NaN or infinite values make the loss NaN. 16-bit projections
/// are cast to f32 first, and the loss is f32. On CUDA, Burn multiplies f32 matrices as TF32: similarities
/// are then exact to about 1e-3.
///
/// # How the loss is computed, and how memory grows
///
/// - In one `[2N, 2N]` matrix of all pairs, while the matrices of autodiff need less than 512 MiB: below 2897
///   views in f32, below 2048 views in f64.
/// - In blocks of rows of that matrix for larger batches, or as
///   [`with_rows_per_block`](Self::with_rows_per_block) asks: the same loss and gradient in memory that grows
///   as N. The gradient is then computed in `forward`, and only if the projections are tracked by autodiff.
/// - With the feature `flex`, f32 projections on Burn's CPU backend take loops of our own at any size,
///   several times faster and in memory that grows as N, unless the temperature is below 1/64 or SPA is the
///   expectation of [`Formulation::Released`].
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
    #[module(skip)]
    pub(crate) parameters: Parameters,
    #[module(skip)]
    attraction: Attraction,
    #[module(skip)]
    rows_per_block: Option<usize>,
}

/// How the loss of a batch is computed.
enum Method {
    /// In loops of our own over pairs, on flex.
    #[cfg(feature = "flex")]
    Fused,
    /// In one matrix of all pairs.
    Dense,
    /// In blocks of this many rows of that matrix.
    Blockwise(usize),
}

/// What the caller differentiates.
#[derive(Clone, Copy)]
enum Differentiated {
    Total,
    TotalAndParts,
}

impl MclLoss {
    pub(crate) fn new(parameters: Parameters, attraction: Attraction) -> Self {
        Self { parameters, attraction, rows_per_block: None }
    }

    /// The same loss in blocks of this many views, whatever the batch and the device: smaller blocks take
    /// less memory and more time. The number is rounded up to an even one of at least 2.
    pub fn with_rows_per_block(self, rows: usize) -> Self {
        Self { rows_per_block: Some(rows), ..self }
    }

    /// The loss with the exact expectation of SPA over the draw of positives: no randomness.
    ///
    /// Under [`Formulation::Released`] that is the expectation over the released draw; it drops SPA from the
    /// loss of a batch in which an image has no partner.
    ///
    /// Entry `[image, view]` of `projections` is the projection of that view of that image. From the first
    /// views `z1` and the second views `z2`, `[images, dim]` each, make them by `Tensor::stack([z1, z2], 1)`,
    /// never by `cat` and `reshape`, which pairs views of different images;
    /// [`forward_views`](Self::forward_views) takes `z1` and `z2`.
    ///
    /// # Shapes
    ///
    /// - projections: `[images, views = 2, dim]`
    /// - labels: `[images]`
    /// - output: `[1]`
    ///
    /// # Panics
    ///
    /// If there are no images, not two views of each, no dimensions, or not as many labels as images.
    pub fn forward(&self, projections: Tensor<3>, labels: &MclLabels) -> Tensor<1> {
        self.forward_with_parts(projections, labels, None).total
    }

    /// [`forward`](Self::forward) of first and second views: row `i` of both is the projection of image `i`.
    ///
    /// # Shapes
    ///
    /// - first, second: `[images, dim]`
    /// - labels: `[images]`
    /// - output: `[1]`
    ///
    /// # Panics
    ///
    /// If the views differ in shape, and as [`forward`](Self::forward).
    ///
    /// ```
    /// # use burn::tensor::{Device, Distribution, Int, Tensor};
    /// # use mcl_loss::{MclLabels, MclLossConfig};
    /// # let device = Device::flex();
    /// # let [z1, z2] = [(); 2].map(|()| Tensor::<2>::random([4, 16], Distribution::Default, &device));
    /// let labels = MclLabels::new(Tensor::<1, Int>::from_ints([0, 0, 1, 1], &device));
    /// let loss = MclLossConfig::new().init();
    /// let value = loss.forward_views(z1.clone(), z2.clone(), &labels).into_scalar::<f32>();
    /// assert_eq!(value, loss.forward(Tensor::stack(vec![z1, z2], 1), &labels).into_scalar::<f32>());
    /// ```
    pub fn forward_views(&self, first: Tensor<2>, second: Tensor<2>, labels: &MclLabels) -> Tensor<1> {
        self.forward(stack(first, second), labels)
    }

    /// The loss with SPA at given positives, usually drawn by [`sample_positives`](Self::sample_positives).
    ///
    /// `positives[2 * image + view]` is the index, counted the same way, of the view that attracts this one,
    /// or `None`: then it adds 0 to SPA and still counts in the mean. That positives have the label of their
    /// view, and are a draw of the loss's [`Formulation`], is up to the caller.
    ///
    /// # Shapes
    ///
    /// As in [`forward`](Self::forward), with `2 * images` positives.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward), and if there is not one entry per view, or an entry is no view or a
    /// view of the same image.
    pub fn forward_with_positives(
        &self,
        projections: Tensor<3>,
        labels: &MclLabels,
        positives: &[Option<usize>],
    ) -> Tensor<1> {
        self.forward_with_parts(projections, labels, Some(positives)).total
    }

    /// The loss with its parts for a log: `total` has a gradient, `ccm` and `spa` are constants.
    ///
    /// With positives, the loss is that of [`forward_with_positives`](Self::forward_with_positives), without
    /// that of [`forward`](Self::forward), at the same cost. [`terms`](Self::terms) differentiates the parts
    /// too.
    ///
    /// # Panics
    ///
    /// As those.
    pub fn forward_with_parts(
        &self,
        projections: Tensor<3>,
        labels: &MclLabels,
        positives: Option<&[Option<usize>]>,
    ) -> MclTerms {
        let batch = Batch::new(projections, labels, positives);
        self.evaluate(&batch, Differentiated::Total).with_constant_parts()
    }

    /// The loss and its parts, each with a gradient of its own: with positives as
    /// [`forward_with_positives`](Self::forward_with_positives), without as [`forward`](Self::forward).
    ///
    /// In blocks, the gradients of the parts take more time than
    /// [`forward_with_parts`](Self::forward_with_parts).
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
        self.evaluate(&Batch::new(projections, labels, positives), Differentiated::TotalAndParts)
    }

    /// Draws the positives of SPA (Eq. 8) as the loss's [`Formulation`] does, for
    /// [`forward_with_positives`](Self::forward_with_positives). `rng` is a generator of `rand` 0.10.
    ///
    /// `class[image]` and `aux[image]` are the labels of the images on the host: nothing is read off the
    /// device. Give `aux` if and only if the [`MclLabels`] have auxiliary labels. The result has two entries
    /// per image: entry `2 * image + view` is the index, counted the same way, of the positive of that view.
    /// Equal labels and equal states of `rng` give equal positives.
    ///
    /// - [`Formulation::Paper`]: a view of another image with the same label, uniformly; `None` where no
    ///   other image has the label.
    /// - [`Formulation::Released`]: each image takes one partner image with the same label, and its first and
    ///   second view take the first and second view of the partner. If any image has no partner, all entries
    ///   are `None`, and SPA is 0.
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
        self.parameters.formulation.sample_positives(class, aux, rng)
    }

    /// Divides the similarities of positives and of views of other classes.
    pub fn temperature(&self) -> f64 {
        self.parameters.temperature
    }

    /// Mask weight of views with the same class and auxiliary label.
    pub fn alpha(&self) -> f64 {
        self.parameters.alpha
    }

    /// Mask weight of views with the same class and another auxiliary label.
    pub fn beta(&self) -> f64 {
        self.parameters.beta
    }

    /// Weight of SPA in the total.
    pub fn spa_weight(&self) -> f64 {
        self.parameters.spa_weight
    }

    /// The published equations or the released code.
    pub fn formulation(&self) -> Formulation {
        self.parameters.formulation
    }

    /// Whether a training loop is to draw positives.
    pub fn attraction(&self) -> Attraction {
        self.attraction
    }

    fn evaluate(&self, batch: &Batch, differentiated: Differentiated) -> MclTerms {
        let loss = Masked::new(&self.parameters, batch);
        match self.method(batch) {
            #[cfg(feature = "flex")]
            Method::Fused => fused::terms(&self.parameters, batch),
            Method::Dense => loss.dense(),
            Method::Blockwise(rows) => match differentiated {
                Differentiated::Total => loss.total_by_blocks(rows),
                Differentiated::TotalAndParts => loss.terms_by_blocks(rows),
            },
        }
    }

    fn method(&self, batch: &Batch) -> Method {
        #[cfg(feature = "flex")]
        if self.rows_per_block.is_none() && fused::supports(&self.parameters, batch) {
            return Method::Fused;
        }
        match blockwise::rows_per_block(&batch.views, self.rows_per_block) {
            None => Method::Dense,
            Some(rows) => Method::Blockwise(rows),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MclLossConfig, NtXentLossConfig};
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
            let formulation = Formulation::Paper;
            let parameters =
                Parameters { temperature, alpha: weight, beta: weight, spa_weight: 0.0, formulation };
            let loss = MclLoss::new(parameters, Attraction::Expected);
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
        let images = 1024_usize;
        // f64: in f32 this device has a way of its own.
        let projections = Tensor::<1, Int>::arange(0..images as i64 * 8, &device).float().cast(DType::F64);
        let projections = projections.mul_scalar(0.7).sin().reshape([images, 2, 4]);
        let labels = MclLabels::new(Tensor::arange(0..images as i64, &device).remainder_scalar(10));
        let loss = MclLossConfig::new().init();
        let batch = Batch::new(projections.clone(), &labels, None);
        assert!(matches!(loss.method(&batch), Method::Blockwise(512)));
        let dense = Masked::new(&loss.parameters, &batch).dense().total;
        let value = loss.forward(projections, &labels);
        value.into_data().assert_approx_eq(&dense.into_data(), Tolerance::<f64>::relative(1e-10));
    }
    #[test]
    fn parts_for_a_log_have_no_gradient_and_the_same_values() {
        let device = Device::flex().autodiff();
        let projections = Tensor::<1, Int>::arange(0..60, &device).float().mul_scalar(1.3).sin();
        let projections = projections.reshape([6, 2, 5]).detach().require_grad();
        let labels = MclLabels::new(Tensor::from_ints([0, 0, 1, 1, 0, 2], &device));
        let loss = MclLossConfig::new().init();
        for loss in [loss.clone(), loss.with_rows_per_block(4)] {
            let parts = loss.forward_with_parts(projections.clone(), &labels, None);
            let terms = loss.terms(projections.clone(), &labels, None);
            assert!(parts.total.is_tracked() && !parts.ccm.is_tracked() && !parts.spa.is_tracked());
            assert!(terms.total.is_tracked() && terms.ccm.is_tracked() && terms.spa.is_tracked());
            let tolerance = Tolerance::<f32>::relative(1e-6);
            for (part, term) in [(parts.ccm, terms.ccm), (parts.spa, terms.spa), (parts.total, terms.total)] {
                part.into_data().assert_approx_eq(&term.into_data(), tolerance);
            }
        }
    }
}
