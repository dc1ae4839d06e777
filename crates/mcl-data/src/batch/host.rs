//! A training batch, in memory and on a device.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::Position;
use super::samples::Samples;

/// A batch in memory. A *sample* is one image in one rotation; a sample has a class, an auxiliary label and two views.
///
/// The samples of an image are neighbours: sample `s` shows image `indices[s / rotations.per_image()]`, turned
/// counterclockwise by `aux[s]` quarter turns (with [`Rotations::Augmentation`](super::Rotations::Augmentation) each view by a number
/// that is not told). `pixels` holds the two views of sample `s` as numbers `2 * s` and `2 * s + 1`.
/// With [`Rotations::All`](super::Rotations::All) sample `4 * i + r` shows image `indices[i]` turned by `r` quarter turns.
#[derive(Debug, Clone, PartialEq)]
pub struct HostBatch {
    /// Where in the data this batch stands.
    pub position: Position,
    /// Height and width of the views.
    pub size: (usize, usize),
    /// Index of each image in its set, `[images]`.
    pub indices: Vec<usize>,
    /// Views `[samples, 2, 3, height, width]`, in [0, 1].
    pub pixels: Vec<f32>,
    /// Class of each sample, `[samples]`.
    pub class: Vec<i64>,
    /// Rotation of each sample in quarter turns, `[samples]`.
    pub aux: Vec<i64>,
}

/// A batch on a device, as the network and the loss take it.
#[derive(Debug, Clone)]
pub struct TwoViewBatch {
    /// Views `[2 * samples, 3, height, width]` in [0, 1]; the two views of a sample are neighbours. What the network makes of
    /// them, `[2 * samples, dim]`, reshapes to `[samples, 2, dim]`.
    pub images: Tensor<4>,
    /// Class of each sample, `[samples]`.
    pub class: Tensor<1, Int>,
    /// Rotation of each sample in quarter turns, `[samples]`.
    pub aux: Tensor<1, Int>,
}

impl HostBatch {
    pub(super) fn new(position: Position, indices: Vec<usize>, samples: Samples) -> Self {
        let Samples { pixels, size, class, aux } = samples;
        Self { position, size, indices, pixels, class, aux }
    }

    /// Number of samples: images times [`Rotations::per_image`](super::Rotations::per_image).
    #[must_use]
    pub fn samples(&self) -> usize {
        self.class.len()
    }

    /// Moves the batch to a device.
    #[must_use]
    pub fn to_device(self, device: &Device) -> TwoViewBatch {
        let Self { pixels, size, class, aux, .. } = self;
        TwoViewBatch::new(Samples { pixels, size, class, aux }, device)
    }
}

impl TwoViewBatch {
    pub(super) fn new(samples: Samples, device: &Device) -> Self {
        let (count, (height, width)) = (samples.class.len(), samples.size);
        let images = TensorData::new(samples.pixels, [2 * count, 3, height, width]);
        let labels = |labels| Tensor::from_data(TensorData::new(labels, [count]), device);
        Self {
            images: Tensor::from_data(images, device),
            class: labels(samples.class),
            aux: labels(samples.aux),
        }
    }
}
