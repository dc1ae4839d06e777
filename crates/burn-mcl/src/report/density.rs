//! Score histograms with densities (Fig. 5 of the paper).
//!
//! Distances of anomalies may be a hundred times those of normal images: where all scores are negative the
//! axis is that of log(-score), turned so that more normal stays to the right.

/// Bins of a histogram.
const BINS: usize = 36;
/// Bins below the smoothed density.
const FINE: usize = 216;

/// How scores become places on the axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ScoreScale {
    Linear,
    /// x = -log10(-score)
    Log,
}

impl ScoreScale {
    /// Logarithmic if every score is negative and they differ by more than a factor of ten.
    pub(super) fn of(groups: &[&[f64]]) -> Self {
        let all = || groups.iter().flat_map(|scores| scores.iter());
        let (lowest, highest) = all().fold((f64::MAX, f64::MIN), |(low, high), &s| (low.min(s), high.max(s)));
        if highest < 0.0 && lowest < 10.0 * highest { Self::Log } else { Self::Linear }
    }

    pub(super) fn place(self, score: f64) -> f64 {
        match self {
            Self::Linear => score,
            Self::Log => -(-score).max(f64::MIN_POSITIVE).log10(),
        }
    }

    fn places(self, scores: &[f64]) -> Vec<f64> {
        scores.iter().map(|&score| self.place(score)).collect()
    }
}

/// One group of scores, as shares: `bars` and `line` integrate to 1 over the axis.
#[derive(Debug, Clone)]
pub(super) struct Density {
    pub(super) name: String,
    pub(super) images: usize,
    /// Images in each bin.
    pub(super) counts: Vec<usize>,
    /// (place, density)
    pub(super) line: Vec<(f64, f64)>,
}

/// The axis of scores, which several figures can share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ScoreAxis {
    pub(super) scale: ScoreScale,
    /// The lowest and highest place that is drawn.
    pub(super) range: (f64, f64),
}

impl ScoreAxis {
    /// An axis on which all groups and the threshold have room.
    pub(super) fn of(groups: &[&[f64]], threshold: Option<f64>) -> Self {
        let groups: Vec<_> = groups.iter().copied().filter(|scores| !scores.is_empty()).collect();
        let scale = ScoreScale::of(&groups);
        let places: Vec<_> = groups.iter().map(|scores| scale.places(scores)).collect();
        Self { scale, range: range(&places, threshold.map(|threshold| scale.place(threshold))) }
    }

    /// Left edge and width of bin `i`.
    pub(super) fn bin(&self, i: usize) -> (f64, f64) {
        let width = (self.range.1 - self.range.0) / BINS as f64;
        (self.range.0 + i as f64 * width, width)
    }
}

/// Groups of scores over one axis.
#[derive(Debug, Clone)]
pub(super) struct Densities {
    pub(super) axis: ScoreAxis,
    pub(super) groups: Vec<Density>,
}

impl Densities {
    /// Empty groups are left out.
    pub(super) fn new(axis: ScoreAxis, groups: &[(&str, &[f64])]) -> Self {
        let groups = groups.iter().filter(|(_, scores)| !scores.is_empty()).map(|(name, scores)| {
            let places = axis.scale.places(scores);
            Density {
                name: name.to_string(),
                images: places.len(),
                counts: histogram(&places, axis.range, BINS),
                line: smooth(&places, axis.range),
            }
        });
        Self { axis, groups: groups.collect() }
    }

    /// The density that a count in a bin stands for.
    pub(super) fn height(&self, group: &Density, count: usize) -> f64 {
        count as f64 / group.images as f64 / self.axis.bin(0).1
    }

    /// The highest density of a bar or a line.
    pub(super) fn top(&self) -> f64 {
        let of_group = |group: &Density| {
            let bar = group.counts.iter().max().map_or(0.0, |&count| self.height(group, count));
            group.line.iter().fold(bar, |top, point| top.max(point.1))
        };
        self.groups.iter().map(of_group).fold(0.0, f64::max)
    }
}

/// From the 0.2% to the 99.8% quantile of every group, with the threshold, and some air.
fn range(groups: &[Vec<f64>], threshold: Option<f64>) -> (f64, f64) {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for places in groups {
        let mut sorted = places.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| sorted[(share * (sorted.len() - 1) as f64).round() as usize];
        (low, high) = (low.min(at(0.002)), high.max(at(0.998)));
    }
    for place in threshold.into_iter().filter(|place| place.is_finite()) {
        (low, high) = (low.min(place), high.max(place));
    }
    let air = 0.03 * (high - low);
    match low.is_finite() && air > 0.0 {
        true => (low - air, high + air),
        false if low.is_finite() => (low - 0.5, high + 0.5), // all in one place
        false => (0.0, 1.0),                                 // nothing at all
    }
}

/// Counts; what lies outside goes to the first and the last bin.
fn histogram(places: &[f64], (low, high): (f64, f64), bins: usize) -> Vec<usize> {
    let mut counts = vec![0; bins];
    for place in places {
        let bin = ((place - low) / (high - low) * bins as f64).max(0.0) as usize;
        counts[bin.min(bins - 1)] += 1;
    }
    counts
}

/// A Gaussian kernel density over fine bins. Silverman's width suits one bell; scores of normal images have a
/// peak and a long tail, which half of it follows.
fn smooth(places: &[f64], (low, high): (f64, f64)) -> Vec<(f64, f64)> {
    let counts = histogram(places, (low, high), FINE);
    let step = (high - low) / FINE as f64;
    let n = places.len() as f64;
    let inside: Vec<f64> = places.iter().map(|place| place.clamp(low, high)).collect();
    let mean = inside.iter().sum::<f64>() / n;
    let deviation = (inside.iter().map(|place| (place - mean).powi(2)).sum::<f64>() / n).sqrt();
    let width = (0.45 * deviation * n.powf(-0.2)).max(1.5 * step);
    (0..FINE)
        .map(|i| {
            let kernel = |j: usize| (-0.5 * ((i as f64 - j as f64) * step / width).powi(2)).exp();
            let sum: f64 =
                counts.iter().enumerate().filter(|(_, c)| **c > 0).map(|(j, &c)| c as f64 * kernel(j)).sum();
            let density = sum / (n * width * std::f64::consts::TAU.sqrt());
            (low + (i as f64 + 0.5) * step, density)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_and_lines_integrate_to_one() {
        let scores: Vec<f64> = (0..500).map(|i| -10.0 - (f64::from(i) * 0.618_034).fract() * 5.0).collect();
        let axis = ScoreAxis::of(&[&scores, &[]], Some(-12.0));
        let densities = Densities::new(axis, &[("a", &scores), ("none", &[])]);
        assert_eq!((axis.scale, densities.groups.len()), (ScoreScale::Linear, 1));
        let group = &densities.groups[0];
        assert_eq!(group.counts.iter().sum::<usize>(), 500);
        let bars: f64 = group.counts.iter().map(|&c| densities.height(group, c) * axis.bin(0).1).sum();
        assert!((bars - 1.0).abs() < 1e-12);
        let step = group.line[1].0 - group.line[0].0;
        let line: f64 = group.line.iter().map(|point| point.1 * step).sum();
        assert!((line - 1.0).abs() < 0.05, "{line}"); // a little is smoothed over the edge
    }

    #[test]
    fn far_scores_make_the_axis_logarithmic_with_normal_on_the_right() {
        let scale = ScoreAxis::of(&[&[-10.0, -12.0], &[-5000.0]], None).scale;
        assert_eq!(scale, ScoreScale::Log);
        assert!(scale.place(-10.0) > scale.place(-5000.0));
        assert_eq!(ScoreAxis::of(&[&[-10.0, 1.0], &[-5000.0]], None).scale, ScoreScale::Linear);
    }

    #[test]
    fn the_top_is_that_of_the_highest_bar_or_line() {
        let (narrow, wide) = ([-1.0; 50], [-1.0, -2.0, -3.0, -4.0]);
        let axis = ScoreAxis::of(&[&narrow, &wide], None);
        let densities = Densities::new(axis, &[("narrow", &narrow), ("wide", &wide)]);
        // All scores of a group in one place: the line is a kernel of the least width, 1.5 of six steps in a bin.
        let kernel = 1.0 / (axis.bin(0).1 / 6.0 * 1.5 * std::f64::consts::TAU.sqrt());
        assert!(
            (densities.top() - kernel).abs() < 1e-9 && kernel > densities.height(&densities.groups[0], 50)
        );
        assert!(Densities::new(axis, &[("wide", &wide)]).top() < densities.top());
        assert_eq!(Densities::new(axis, &[]).top(), 0.0);
    }

    #[test]
    fn equal_scores_and_none_at_all_have_a_place() {
        for scores in [&[-3.0, -3.0][..], &[]] {
            let densities = Densities::new(ScoreAxis::of(&[scores], None), &[("a", scores)]);
            assert!(densities.axis.range.1 > densities.axis.range.0);
            assert!(
                densities.groups.iter().flat_map(|g| &g.line).all(|p| p.0.is_finite() && p.1.is_finite())
            );
        }
    }
}
