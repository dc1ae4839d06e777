//! The rows that can still be among the nearest of a query, while the similarities to all rows pass by.

use super::neighbour::Neighbour;

/// How far a similarity of unit vectors from a device may be from the truth. Rounding both factors to 11 bits
/// moves it by at most 2 * 2^-11 (Cauchy-Schwarz); as much again is left for the sum.
const DEVICE_ERROR: f32 = 1.0 / 512.0;

/// Half the fewest rows that are kept before they are looked through.
const SPARE: usize = 1024;

/// The `k` nearest rows so far, and those that may be nearer.
///
/// Rows whose similarity from the device is too near that of the `k`-th to tell are compared in f64. They may
/// be all rows, as in a collapsed class: so whenever [`limit`](Self::limit) of them have come together, only
/// the `k` nearest stay.
#[derive(Clone)]
pub(super) struct Candidates {
    k: usize,
    /// The nearest of the rows that were compared in f64, nearest first; at most `k`.
    nearest: Vec<Neighbour>,
    /// (similarity from the device, row) of those that were not.
    pending: Vec<(f32, usize)>,
    /// Rows below this cannot be among the nearest.
    bar: f32,
}

impl Candidates {
    pub(super) fn new(k: usize) -> Self {
        Self { k, nearest: Vec::new(), pending: Vec::new(), bar: f32::NEG_INFINITY }
    }

    /// How many rows may be pending.
    fn limit(&self) -> usize {
        self.k.max(SPARE).saturating_mul(2)
    }

    /// Looks at the rows from `start` on; `exact` compares a row in f64.
    pub(super) fn add(&mut self, start: usize, similarities: &[f32], exact: impl Fn(usize) -> Neighbour) {
        if self.k == 0 {
            return;
        }
        for (offset, &similarity) in similarities.iter().enumerate() {
            if similarity >= self.bar {
                self.pending.push((similarity, start + offset));
                if self.pending.len() >= self.limit() {
                    self.prune();
                    // Half the limit is free afterwards: the cost of a row stays constant.
                    if self.pending.len() > self.limit() / 2 {
                        self.compare(&exact);
                    }
                }
            }
        }
        self.prune();
    }

    /// The nearest rows, nearest first; rows of equal similarity in ascending order.
    pub(super) fn finish(mut self, exact: impl Fn(usize) -> Neighbour) -> Vec<Neighbour> {
        self.compare(&exact);
        self.nearest
    }

    /// The k-th nearest is at least the k-th highest similarity less the error, so what is lower by twice the
    /// error is not among the k.
    fn prune(&mut self) {
        if self.pending.len() > self.k {
            let (_, kth, _) = self.pending.select_nth_unstable_by(self.k - 1, |a, b| b.0.total_cmp(&a.0));
            self.bar = self.bar.max(kth.0 - 2.0 * DEVICE_ERROR);
            self.pending.retain(|pending| pending.0 >= self.bar);
        }
    }

    /// Compares the pending rows in f64, and keeps the `k` nearest.
    fn compare(&mut self, exact: &impl Fn(usize) -> Neighbour) {
        self.nearest.extend(self.pending.drain(..).map(|(_, index)| exact(index)));
        self.nearest.sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then(a.index.cmp(&b.index)));
        self.nearest.truncate(self.k);
        if let Some(kth) = self.nearest.get(self.k.wrapping_sub(1)) {
            self.bar = self.bar.max(kth.similarity as f32 - DEVICE_ERROR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A collapsed class: no row is farther than the device can tell, whatever their number.
    #[test]
    fn rows_that_are_equally_near_do_not_pile_up() {
        let exact =
            |index: usize| Neighbour { index, similarity: if index % 1000 == 7 { 1.0 } else { 0.9999 } };
        for k in [1, 50, 3000] {
            let mut candidates = Candidates::new(k);
            for start in (0..1_000_000).step_by(10_000) {
                candidates.add(start, &[1.0; 10_000], exact);
                let kept = candidates.nearest.capacity() + candidates.pending.capacity();
                assert!(kept <= 8 * k.max(SPARE), "{kept} of {start}");
            }
            let found: Vec<usize> = candidates.finish(exact).iter().map(|found| found.index).collect();
            let mut expected: Vec<usize> = (0..1000).map(|i| i * 1000 + 7).collect();
            expected.extend((0..).filter(|index| index % 1000 != 7).take(2000));
            assert_eq!(found, expected[..k]);
        }
    }
}
