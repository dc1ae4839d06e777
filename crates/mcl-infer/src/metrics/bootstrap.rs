//! How far the AUROC may be off because there are only so many images: bootstrap intervals (Efron, 1979).

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::error::MetricError;
use super::ranking::{Positive, Ranking};
use super::scores::Scores;

/// Resamples that [`auroc_interval`] draws.
const RESAMPLES: usize = 1000;

/// The interval that holds the AUROC of new images of the same kinds with probability `level`, such as 0.95: the percentiles of the
/// AUROC over 1000 resamples of both sets, with replacement. The seed decides the draws.
///
/// The interval covers the choice of the test images. It does not cover the training of the network: other seeds of training show
/// that.
///
/// ```
/// use mcl_infer::metrics::{auroc, auroc_interval};
///
/// let normal: Vec<f64> = (0..200).map(|i| f64::from(i % 20) + 5.0).collect();
/// let anomalous: Vec<f64> = (0..200).map(|i| f64::from(i % 20)).collect();
/// let (low, high) = auroc_interval(&normal, &anomalous, 0.95, 0)?;
/// assert!(low < auroc(&normal, &anomalous)? && auroc(&normal, &anomalous)? < high);
/// # Ok::<(), mcl_infer::metrics::MetricError>(())
/// ```
///
/// # Errors
///
/// An empty side, NaN, a device that cannot return its scores, or a level that is not between 0 and 1.
pub fn auroc_interval(
    ind: impl Scores,
    ood: impl Scores,
    level: f64,
    seed: u64,
) -> Result<(f64, f64), MetricError> {
    Ranking::new(ind, ood)?.auroc_interval(level, seed)
}

impl Ranking {
    /// [`auroc_interval`] of the two sets.
    ///
    /// # Errors
    ///
    /// [`MetricError::InvalidLevel`] when the level is not between 0 and 1.
    pub fn auroc_interval(&self, level: f64, seed: u64) -> Result<(f64, f64), MetricError> {
        if !(level > 0.0 && level < 1.0) {
            return Err(MetricError::InvalidLevel { level });
        }
        let [ind, ood] = self.ranks();
        let groups = ind.last().max(ood.last()).map_or(0, |last| last + 1);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut found = Vec::with_capacity(RESAMPLES);
        let (mut of_ind, mut of_ood) = (vec![0u64; groups], vec![0u64; groups]);
        for _ in 0..RESAMPLES {
            draw(&mut rng, &ind, &mut of_ind);
            draw(&mut rng, &ood, &mut of_ood);
            let (mut half_pairs, mut below) = (0u128, 0);
            for (&ind, &ood) in of_ind.iter().zip(&of_ood) {
                half_pairs += u128::from(ind) * u128::from(2 * below + ood);
                below += ood;
            }
            found.push(half_pairs as f64 / (2.0 * ind.len() as f64 * ood.len() as f64));
        }
        found.sort_unstable_by(f64::total_cmp);
        let percentile = |share: f64| found[((RESAMPLES - 1) as f64 * share).round() as usize];
        let tail = (1.0 - level) / 2.0;
        Ok((percentile(tail), percentile(1.0 - tail)))
    }

    /// For each score of both sets the number of its distinct value, counted from the lowest value.
    fn ranks(&self) -> [Vec<usize>; 2] {
        let mut ranks = [Vec::new(), Vec::new()];
        let mut before = (0, 0);
        // From the lowest score up.
        for (rank, cut) in self.cuts(Positive::OutOfDistribution).enumerate() {
            let (ood, ind) = (cut.true_positives, cut.false_positives);
            ranks[0].extend((before.1..ind).map(|_| rank));
            ranks[1].extend((before.0..ood).map(|_| rank));
            before = (ood, ind);
        }
        ranks
    }
}

/// Counts the ranks of as many draws with replacement as there are ranks.
fn draw(rng: &mut ChaCha8Rng, ranks: &[usize], counts: &mut [u64]) {
    counts.fill(0);
    for _ in ranks {
        // An unbiased draw to within 2^-32 of a count: the high half of a product.
        let at = (u128::from(rng.next_u64()) * ranks.len() as u128) >> 64;
        counts[ranks[at as usize]] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::auroc;

    /// Scores that overlap: `count` from 0 to 1, moved up by `by`.
    fn scores(rng: &mut ChaCha8Rng, count: usize, by: f64) -> Vec<f64> {
        (0..count).map(|_| f64::from(rng.next_u32() % 100) / 100.0 + by).collect()
    }

    #[test]
    fn intervals_cover_the_true_value_as_often_as_they_say() {
        // P(X + 0.3 > Y), ties half, for X and Y uniform on 0, 0.01, .. 0.99.
        let steps = || 0..100;
        let pairs = steps().flat_map(|x| steps().map(move |y| (x + 30, y)));
        let chance = |(x, y): (i32, i32)| f64::from(x.cmp(&y) as i32 + 1) / 2.0;
        let truth = pairs.map(chance).sum::<f64>() / 1e4;
        let rng = &mut ChaCha8Rng::seed_from_u64(4);
        let covered = (0..200)
            .filter(|&seed| {
                let (ind, ood) = (scores(rng, 60, 0.3), scores(rng, 80, 0.0));
                let (low, high) = auroc_interval(&ind, &ood, 0.8, seed).unwrap();
                assert!(low < high);
                low <= truth && truth <= high
            })
            .count();
        // 160 of 200 are expected, with a standard deviation of 5.7.
        assert!((140..=180).contains(&covered), "{covered}");
    }

    #[test]
    fn a_resample_is_the_metric_of_the_drawn_scores() {
        // All scores of a side are equal, so every resample is the set itself.
        for (ind, ood, expected) in [(1.0, 0.0, 1.0), (0.0, 0.0, 0.5), (0.0, 1.0, 0.0)] {
            let (ind, ood) = (vec![ind; 7], vec![ood; 9]);
            assert_eq!(auroc(&ind, &ood), Ok(expected));
            assert_eq!(auroc_interval(&ind, &ood, 0.9, 3), Ok((expected, expected)));
        }
    }

    #[test]
    fn the_seed_decides_and_more_level_is_wider() {
        let rng = &mut ChaCha8Rng::seed_from_u64(5);
        let (ind, ood) = (scores(rng, 300, 0.2), scores(rng, 200, 0.0));
        let of = |level, seed| auroc_interval(&ind, &ood, level, seed).unwrap();
        assert_eq!(of(0.9, 1), of(0.9, 1));
        assert_ne!(of(0.9, 1), of(0.9, 2));
        let (narrow, wide) = (of(0.5, 1), of(0.99, 1));
        assert!(wide.0 < narrow.0 && narrow.1 < wide.1);
    }

    #[test]
    fn levels_out_of_range_are_refused() {
        for level in [0.0, 1.0, -0.5, f64::NAN] {
            let error = auroc_interval(&[1.0], &[0.0], level, 0).unwrap_err();
            assert!(matches!(error, MetricError::InvalidLevel { .. }), "{error}");
        }
    }
}
