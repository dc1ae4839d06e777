//! A transform of one's own, after SimCLR's.

use rand::Rng;

/// Changes a view after the built-in operations: cutout, noise, a normalisation.
///
/// Closures of the same arguments are transforms. To replace the built-in operations, turn them off in
/// [`SimClrAugmentConfig`](super::SimClrAugmentConfig).
///
/// ```
/// use std::sync::Arc;
/// use mcl_data::augment::{SimClrAugmentConfig, ViewKey, ops::Image};
/// use rand::{Rng, RngExt};
///
/// // Cutout: one black row.
/// let cutout = |pixels: &mut [f32], (height, width): (usize, usize), rng: &mut dyn Rng| {
///     let row = rng.random_range(0..height);
///     for plane in pixels.chunks_exact_mut(height * width) {
///         plane[row * width..][..width].fill(0.0);
///     }
/// };
/// let augment = SimClrAugmentConfig::new().init().with_transform(Arc::new(cutout));
/// let image = Image::from_u8(&[200; 3 * 8 * 8], (8, 8))?;
/// let key = ViewKey { seed: 0, epoch: 0, image: 0, rotation: 0, view: 0 };
/// let view = augment.view(&image, 0, &mut key.rng())?;
/// assert!(view.pixels().chunks(8).any(|row| row == [0.0; 8]));
/// # Ok::<(), mcl_data::DataError>(())
/// ```
pub trait ViewTransform: Send + Sync {
    /// Changes a view in place.
    ///
    /// A transform must draw all its randomness from `rng`: then a view stays a function of its
    /// [`ViewKey`](super::ViewKey), and runs can be resumed and repeated. Views are made on many threads at once.
    ///
    /// # Shapes
    /// - pixels: planar RGB, `[3, height, width]`, in [0, 1]
    /// - size: (height, width)
    fn apply(&self, pixels: &mut [f32], size: (usize, usize), rng: &mut dyn Rng);
}

impl<F> ViewTransform for F
where
    F: Fn(&mut [f32], (usize, usize), &mut dyn Rng) + Send + Sync,
{
    fn apply(&self, pixels: &mut [f32], size: (usize, usize), rng: &mut dyn Rng) {
        self(pixels, size, rng);
    }
}
