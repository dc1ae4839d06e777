//! Eigenvalues and eigenvectors of a small symmetric matrix, by Jacobi's method (Golub and Van Loan, Matrix
//! Computations, Section 8.5): rotations in planes of two coordinates, one plane after the other, each of which makes
//! one pair of elements zero.

/// The most sweeps over all planes. Matrices of twelve rows take about eight.
const MAX_SWEEPS: usize = 64;

/// Eigenvalues in decreasing order, and the eigenvectors (orthonormal) as rows in the same order. Of equal eigenvalues
/// the one of the earlier coordinate comes first.
///
/// `matrix` is row-major, `dim` rows of `dim` finite values, and symmetric.
pub(crate) fn symmetric_eigen(mut matrix: Vec<f64>, dim: usize) -> (Vec<f64>, Vec<f64>) {
    assert_eq!(matrix.len(), dim * dim);
    let mut vectors = vec![0.0; dim * dim];
    for i in 0..dim {
        vectors[i * dim + i] = 1.0;
    }
    // An element below this changes the eigenvalues by less than rounding does.
    let negligible = f64::EPSILON / dim as f64 * matrix.iter().map(|x| x * x).sum::<f64>().sqrt();
    for _ in 0..MAX_SWEEPS {
        let mut rotated = false;
        for p in 0..dim {
            for q in p + 1..dim {
                if matrix[p * dim + q].abs() > negligible {
                    rotate(&mut matrix, &mut vectors, dim, [p, q]);
                    rotated = true;
                }
            }
        }
        if !rotated {
            break;
        }
    }
    let value = |i: usize| matrix[i * dim + i];
    let mut order: Vec<usize> = (0..dim).collect();
    order.sort_by(|&i, &j| value(j).total_cmp(&value(i)));
    let values = order.iter().map(|&i| value(i)).collect();
    let rows = order.iter().flat_map(|&i| vectors[i * dim..][..dim].to_vec()).collect();
    (values, rows)
}

/// Makes the elements (p, q) and (q, p) zero, which are not zero before.
fn rotate(matrix: &mut [f64], vectors: &mut [f64], dim: usize, [p, q]: [usize; 2]) {
    let at = |i: usize, j: usize| i * dim + j;
    let (own, other, between) = (matrix[at(p, p)], matrix[at(q, q)], matrix[at(p, q)]);
    // The smaller of the two angles that do it: tan = t.
    let theta = (other - own) / (2.0 * between);
    let t = 1.0_f64.copysign(theta) / (theta.abs() + theta.hypot(1.0));
    let cos = 1.0 / t.hypot(1.0);
    let sin = t * cos;
    for k in (0..dim).filter(|&k| k != p && k != q) {
        let (a, b) = (matrix[at(p, k)], matrix[at(q, k)]);
        for (i, value) in [(p, cos * a - sin * b), (q, sin * a + cos * b)] {
            matrix[at(i, k)] = value;
            matrix[at(k, i)] = value;
        }
    }
    matrix[at(p, p)] = own - t * between;
    matrix[at(q, q)] = other + t * between;
    matrix[at(p, q)] = 0.0;
    matrix[at(q, p)] = 0.0;
    for k in 0..dim {
        let (a, b) = (vectors[at(p, k)], vectors[at(q, k)]);
        vectors[at(p, k)] = cos * a - sin * b;
        vectors[at(q, k)] = sin * a + cos * b;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(matrix: &[f64], dim: usize) -> Vec<f64> {
        let scale = matrix.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
        let (values, vectors) = symmetric_eigen(matrix.to_vec(), dim);
        assert!(values.windows(2).all(|pair| pair[0] >= pair[1]), "{values:?}");
        for i in 0..dim {
            for j in 0..dim {
                let product: f64 = (0..dim).map(|k| vectors[i * dim + k] * vectors[j * dim + k]).sum();
                let expected = if i == j { 1.0 } else { 0.0 };
                assert!((product - expected).abs() < 1e-14, "rows {i} and {j}: {product}");
                let again: f64 =
                    (0..dim).map(|k| values[k] * vectors[k * dim + i] * vectors[k * dim + j]).sum();
                let error = (again - matrix[i * dim + j]).abs();
                assert!(error <= 1e-14 * scale * dim as f64, "({i}, {j}): off by {error}");
            }
        }
        values
    }

    /// `A A^T` of a matrix of waves, `rank` columns.
    fn product(dim: usize, rank: usize) -> Vec<f64> {
        let a = |i: usize, k: usize| ((i * 7 + k * 3 + i * k) as f64 * 0.61).sin();
        let element = |n: usize| (0..rank).map(|k| a(n / dim, k) * a(n % dim, k)).sum();
        (0..dim * dim).map(element).collect()
    }

    #[test]
    fn any_symmetric_matrix_is_taken_apart_and_put_together() {
        for dim in [1, 2, 3, 12, 20] {
            check(&product(dim, dim), dim);
            let mixed: Vec<f64> = product(dim, dim)
                .iter()
                .enumerate()
                .map(|(n, x)| {
                    // Negative eigenvalues too.
                    if n % (dim + 1) == 0 { x - 1.0 } else { *x }
                })
                .collect();
            check(&mixed, dim);
        }
        let scaled: Vec<f64> = product(12, 12).iter().map(|x| x * 1e-12).collect();
        check(&scaled, 12);
    }

    #[test]
    fn matrices_without_full_rank_are_too() {
        let values = check(&product(12, 4), 12);
        assert!(values[4..].iter().all(|x| x.abs() < 1e-12), "{values:?}");
        assert_eq!(check(&[0.0; 144], 12), [0.0; 12]);
        assert_eq!(check(&[2.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 2.0], 3), [3.0, 2.0, 2.0]);
        let ones = check(&[1.0; 16], 4);
        assert!((ones[0] - 4.0).abs() < 1e-14 && ones[1..].iter().all(|x| x.abs() < 1e-14), "{ones:?}");
    }

    #[test]
    fn known_values_are_found() {
        // Second differences: 2 - 2 cos(k pi / (dim + 1)).
        let dim = 8;
        let element = |n: usize| match (n / dim).abs_diff(n % dim) {
            0 => 2.0,
            1 => -1.0,
            _ => 0.0,
        };
        let matrix: Vec<f64> = (0..dim * dim).map(element).collect();
        for (k, value) in check(&matrix, dim).iter().rev().enumerate() {
            let expected = 2.0 - 2.0 * ((k + 1) as f64 * std::f64::consts::PI / (dim + 1) as f64).cos();
            assert!((value - expected).abs() < 1e-14, "{value} {expected}");
        }
    }
}
