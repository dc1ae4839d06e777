//! Batches for evaluation: every image once, in order, as it is.

use burn::tensor::{Device, Tensor, TensorData};

use crate::augment::ops::Channel;
use crate::{DataError, ImageSet};

/// Goes through a set in order, `batch_size` images at a time; the last batch may be smaller.
///
/// # Errors
/// [`DataError::Setting`] if `batch_size` is zero.
pub fn eval_batches<'a>(
    set: &'a ImageSet,
    batch_size: usize,
    device: &Device,
) -> Result<EvalBatches<'a>, DataError> {
    if batch_size == 0 {
        let value = batch_size.to_string();
        return Err(DataError::Setting { name: "batch_size", value, requirement: "must be at least 1" });
    }
    Ok(EvalBatches { set, batch_size, device: device.clone(), next: 0 })
}

/// Iterator made by [`eval_batches`].
#[derive(Debug)]
pub struct EvalBatches<'a> {
    set: &'a ImageSet,
    batch_size: usize,
    device: Device,
    next: usize,
}

/// Images without augmentation, and their labels.
#[derive(Debug, Clone)]
pub struct EvalBatch {
    /// `[images, 3, height, width]`, in [0, 1].
    pub images: Tensor<4>,
    /// Class of each image.
    pub labels: Vec<usize>,
}

impl Iterator for EvalBatches<'_> {
    type Item = EvalBatch;

    fn next(&mut self) -> Option<EvalBatch> {
        let from = self.next;
        let to = from.saturating_add(self.batch_size).min(self.set.len());
        if from == to {
            return None;
        }
        self.next = to;
        let (height, width) = self.set.size();
        let mut pixels = Vec::with_capacity((to - from) * 3 * height * width);
        for image in from..to {
            pixels.extend(self.set.pixels(image).iter().map(|value| value.unit()));
        }
        let data = TensorData::new(pixels, [to - from, 3, height, width]);
        Some(EvalBatch {
            images: Tensor::from_data(data, &self.device),
            labels: self.set.labels()[from..to].to_vec(),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.set.len() - self.next).div_ceil(self.batch_size);
        (left, Some(left))
    }
}

impl ExactSizeIterator for EvalBatches<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn five() -> ImageSet {
        let pixels = (0..5 * 12).map(|i| (i * 4) as u8).collect();
        ImageSet::new(pixels, (2, 2), vec![1, 0, 1, 1, 0], vec!["a".into(), "b".into()]).unwrap()
    }

    #[test]
    fn every_image_comes_once_in_order() {
        let set = five();
        for batch_size in [1, 2, 5, 7] {
            let batches = eval_batches(&set, batch_size, &Device::flex()).unwrap();
            assert_eq!(batches.len(), 5usize.div_ceil(batch_size));
            let (mut pixels, mut labels) = (Vec::new(), Vec::new());
            for batch in batches {
                assert_eq!(batch.images.dims(), [batch.labels.len(), 3, 2, 2]);
                pixels.extend(batch.images.into_data().try_to_vec::<f32>().unwrap());
                labels.extend(batch.labels);
            }
            assert_eq!(labels, set.labels());
            assert!(pixels.iter().zip(set.iter_pixels().flatten()).all(|(&p, &u)| p == f32::from(u) / 255.0));
        }
    }

    #[test]
    fn odd_sizes_are_handled() {
        assert!(matches!(eval_batches(&five(), 0, &Device::flex()), Err(DataError::Setting { .. })));
        assert_eq!(eval_batches(&five(), usize::MAX, &Device::flex()).unwrap().count(), 1);
        assert_eq!(eval_batches(&five().take(0), 3, &Device::flex()).unwrap().count(), 0);
    }
}
