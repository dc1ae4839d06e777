//! Projections in two dimensions (Fig. 1 of the paper): t-SNE from a start on the two principal axes, so that
//! the same projections give the same map.

use bhtsne::tSNE;

/// Most points of a map: t-SNE takes some seconds for these, and more would hide each other.
pub(super) const MAX_POINTS: usize = 1200;
/// Fewer points than this have no neighbourhoods to keep: their principal axes are the map.
const MIN_POINTS: usize = 16;
const EPOCHS: usize = 600;
/// Share of a cell's distance up to which its points count as one (Barnes-Hut).
const THETA: f32 = 0.5;

/// A map of `rows` (`[n, dim]`, scaled to unit length here): a place in [0, 1]² for each.
pub(super) fn embed(rows: &[f32], dim: usize) -> Vec<[f64; 2]> {
    let unit: Vec<Vec<f32>> = rows.chunks_exact(dim).map(unit_length).collect();
    let principal = principal_axes(&unit, dim);
    let places = if unit.len() < MIN_POINTS { principal } else { tsne(&unit, &principal) };
    into_unit_square(&places)
}

fn unit_length(row: &[f32]) -> Vec<f32> {
    let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    row.iter().map(|x| x / norm).collect()
}

fn tsne(unit: &[Vec<f32>], principal: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let largest = principal.iter().flatten().fold(f64::MIN_POSITIVE, |most, x| most.max(x.abs()));
    let start: Vec<f32> = principal.iter().flatten().map(|x| (1e-4 * x / largest) as f32).collect();
    // One thread: with more, the order in which forces are summed, and so the map, differs from run to run.
    let Ok(thread) = rayon::ThreadPoolBuilder::new().num_threads(1).build() else {
        return principal.to_vec();
    };
    let perplexity = (30.0f32).min((unit.len() - 1) as f32 / 4.0);
    let places = thread.install(|| {
        let mut fit = tSNE::<f32, Vec<f32>, 2>::new(unit);
        fit.perplexity(perplexity)
            .epochs(EPOCHS)
            .initial_embedding(start)
            .barnes_hut(THETA, |a, b| a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum::<f32>().sqrt());
        fit.embedding()
    });
    if places.iter().any(|x| !x.is_finite()) {
        return principal.to_vec();
    }
    places.chunks_exact(2).map(|p| [f64::from(p[0]), f64::from(p[1])]).collect()
}

/// The coordinates of the rows on their two principal axes, found by power iteration.
fn principal_axes(rows: &[Vec<f32>], dim: usize) -> Vec<[f64; 2]> {
    let n = rows.len().max(1) as f64;
    let mean: Vec<f64> =
        (0..dim).map(|d| rows.iter().map(|row| f64::from(row[d])).sum::<f64>() / n).collect();
    let centred: Vec<Vec<f64>> =
        rows.iter().map(|row| row.iter().zip(&mean).map(|(x, m)| f64::from(*x) - m).collect()).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let mut axes: Vec<Vec<f64>> = Vec::new();
    for k in 0..2 {
        // Any start that is not orthogonal to the axis will do; this one is the same every time.
        let mut axis: Vec<f64> = (0..dim).map(|d| ((d * (k + 1)) as f64 + 1.0).sin()).collect();
        for _ in 0..60 {
            let mut next = vec![0.0; dim];
            for row in &centred {
                let weight = dot(row, &axis);
                next.iter_mut().zip(row).for_each(|(sum, x)| *sum += weight * x);
            }
            for other in &axes {
                let along = dot(&next, other);
                next.iter_mut().zip(other).for_each(|(x, o)| *x -= along * o);
            }
            let norm = dot(&next, &next).sqrt();
            if norm < 1e-12 {
                break; // no spread left in this direction
            }
            axis = next.into_iter().map(|x| x / norm).collect();
        }
        axes.push(axis);
    }
    centred.iter().map(|row| [dot(row, &axes[0]), dot(row, &axes[1])]).collect()
}

/// Shifted and scaled, the same in both directions, to fill [0, 1]².
fn into_unit_square(places: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let bounds =
        |d: usize| places.iter().fold((f64::MAX, f64::MIN), |(low, high), p| (low.min(p[d]), high.max(p[d])));
    let ((left, right), (bottom, top)) = (bounds(0), bounds(1));
    let side = (right - left).max(top - bottom);
    if !(side.is_finite() && side > 0.0) {
        return vec![[0.5; 2]; places.len()];
    }
    let centre = [(left + right) / 2.0, (bottom + top) / 2.0];
    places.iter().map(|p| [0.5 + (p[0] - centre[0]) / side, 0.5 + (p[1] - centre[1]) / side]).collect()
}

/// At most `limit` of `n` indices, evenly spread.
pub(super) fn spread(n: usize, limit: usize) -> Vec<usize> {
    if n <= limit { (0..n).collect() } else { (0..limit).map(|i| i * n / limit).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `n` rows around each of three corners of a cube in five dimensions.
    fn clusters(n: usize) -> Vec<f32> {
        let noise = |i: usize| ((i as f32 * 0.618_034).fract() - 0.5) * 0.2;
        (0..3 * n)
            .flat_map(|i| (0..5).map(move |d| noise(7 * i + d) + if d == i % 3 { 1.0 } else { 0.0 }))
            .collect()
    }

    #[test]
    fn clusters_stay_apart_and_the_map_is_the_same_every_time() {
        let rows = clusters(40);
        let map = embed(&rows, 5);
        assert_eq!(map, embed(&rows, 5));
        assert!(map.iter().flatten().all(|x| (0.0..=1.0).contains(x)));
        let distance = |a: [f64; 2], b: [f64; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
        for (i, &place) in map.iter().enumerate() {
            let nearest = (0..map.len()).filter(|&j| j != i);
            let nearest =
                nearest.min_by(|&a, &b| distance(place, map[a]).total_cmp(&distance(place, map[b])));
            assert_eq!(nearest.unwrap() % 3, i % 3, "point {i} lies among others");
        }
    }

    #[test]
    fn few_points_and_equal_points_have_a_map() {
        assert_eq!(embed(&[], 5), Vec::<[f64; 2]>::new());
        assert_eq!(embed(&[1.0, 2.0], 2), [[0.5; 2]]);
        for n in [2, 15, 16, 40] {
            assert!(embed(&vec![1.0; 3 * n], 3).iter().flatten().all(|x| x.is_finite()), "{n} equal points");
            let apart: Vec<f32> = (0..3 * n).map(|i| (i as f32).sin()).collect();
            assert!(embed(&apart, 3).iter().flatten().all(|x| (0.0..=1.0).contains(x)), "{n} points");
        }
        assert_eq!(spread(10, 4), [0, 2, 5, 7]);
    }
}
