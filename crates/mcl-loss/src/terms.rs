//! The masked contrastive loss with its parts.

use burn::tensor::Tensor;

/// An [`MclLoss`](crate::MclLoss) and its parts, each of shape `[1]`: `total = ccm + spa_weight * spa`.
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

    /// The same with parts that have no gradient.
    pub(crate) fn with_constant_parts(self) -> Self {
        Self { ccm: self.ccm.detach(), spa: self.spa.detach(), total: self.total }
    }
}
