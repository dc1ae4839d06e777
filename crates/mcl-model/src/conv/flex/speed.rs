//! temporary
use super::convolve::*;
use super::geometry::*;
fn cpu() -> f64 {
    let mut total = 0.0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path().join("schedstat");
        if let Ok(text) = std::fs::read_to_string(path) {
            total += text.split(' ').next().unwrap().parse::<f64>().unwrap() * 1e-9;
        }
    }
    total
}
#[test]
#[ignore]
fn speed() {
    let var = |n: &str, d: usize| std::env::var(n).map_or(d, |s| s.parse().unwrap());
    let (w, n) = (var("W", 16), var("N", 128));
    let mut tot = [0.0; 4];
    let mut fl_tot = 0.0;
    for (ci, co, hw, k, s, times) in [
        (3, w, 32, 3, 1, 1.),
        (w, w, 32, 3, 1, 4.),
        (w, 2 * w, 32, 3, 2, 1.),
        (w, 2 * w, 32, 1, 2, 1.),
        (2 * w, 2 * w, 16, 3, 1, 3.),
        (2 * w, 4 * w, 16, 3, 2, 1.),
        (2 * w, 4 * w, 16, 1, 2, 1.),
        (4 * w, 4 * w, 8, 3, 1, 3.),
        (4 * w, 8 * w, 8, 3, 2, 1.),
        (4 * w, 8 * w, 8, 1, 2, 1.),
        (8 * w, 8 * w, 4, 3, 1, 3.),
    ] {
        let g = Geometry::new([n, hw, hw, ci], [co, ci, k, k], s, k / 2);
        let x = vec![0.5f32; n * g.image_in()];
        let wt = vec![0.5f32; g.weight_len()];
        let dy = vec![0.5f32; n * g.image_out()];
        let fl = 2.0 * (n * g.size_out[0] * g.size_out[1] * ci * co * k * k) as f64 * 1e-9;
        let mut t = [f64::MAX; 4];
        for _ in 0..5 {
            let c = cpu();
            drop(forward(&g, &x, &wt, |_, _| ()));
            t[0] = t[0].min(cpu() - c);
            let c = cpu();
            drop(input_gradient(&g, &wt, &Given(&dy)));
            t[1] = t[1].min(cpu() - c);
            let c = cpu();
            drop(weight_gradient(&g, &x, &Given(&dy)));
            t[2] = t[2].min(cpu() - c);
        }
        t[3] = if ci == 3 { t[2] } else { t[1] + t[2] };
        for i in 0..4 {
            tot[i] += times * t[i];
        }
        fl_tot += fl * times;
        println!(
            "{ci:4} -> {co:4} {hw:2} k{k} s{s}: fwd {:6.2} ms {:4.0} GF/s   dx {:6.2} ms {:4.0}   dw {:6.2} ms {:4.0}   both {:6.2} ms {:4.0}",
            t[0] * 1e3,
            fl / t[0],
            t[1] * 1e3,
            fl / t[1],
            t[2] * 1e3,
            fl / t[2],
            t[3] * 1e3,
            2. * fl / t[3]
        );
    }
    println!(
        "total fwd {:.1} ms {:.0} GF/s, both {:.1} ms {:.0} GF/s: {:.0} images/s",
        tot[0] * 1e3,
        fl_tot / tot[0],
        tot[3] * 1e3,
        2. * fl_tot / tot[3],
        n as f64 / (tot[0] + tot[3])
    );
}
