//! Activations that the loops ask for row by row: as they lie in memory, or computed on the way.

/// Activations that can be had in pieces.
pub(super) trait Rows: Sync {
    /// Writes the values of `[n, height, width, channels]` from `start` on, the first values of a row.
    fn row(&self, start: usize, to: &mut [f32]);

    /// Returns a function that writes a row, given its image and its number.
    fn rows(&self, height: usize) -> impl Fn(usize, usize, &mut [f32]) + Sync {
        move |image, y, to| self.row((image * height + y) * to.len(), to)
    }
}

/// Activations in memory.
pub(super) struct InMemory<'a>(pub(super) &'a [f32]);

impl Rows for InMemory<'_> {
    fn row(&self, start: usize, to: &mut [f32]) {
        to.copy_from_slice(&self.0[start..][..to.len()]);
    }
}
