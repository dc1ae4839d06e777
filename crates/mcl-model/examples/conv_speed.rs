//! Burn's own convolution beside ours.
use burn::tensor::{Device, Distribution, Tensor, module, ops::ConvOptions};
use std::time::Instant;
fn main() {
    let n: usize = std::env::args().nth(1).map_or(64, |s| s.parse().unwrap());
    let w: usize = std::env::args().nth(2).map_or(16, |s| s.parse().unwrap());
    let theirs = std::env::args().nth(3).is_none();
    let device = Device::flex().autodiff();
    for (ci, co, hw, k, s) in [
        (3, w, 32, 3, 1),
        (w, w, 32, 3, 1),
        (w, 2 * w, 32, 3, 2),
        (w, 2 * w, 32, 1, 2),
        (2 * w, 2 * w, 16, 3, 1),
        (2 * w, 4 * w, 16, 3, 2),
        (4 * w, 4 * w, 8, 3, 1),
        (8 * w, 8 * w, 4, 3, 1),
    ] {
        let x = Tensor::<4>::random([n, ci, hw, hw], Distribution::Normal(0., 1.), &device).require_grad();
        let wt = Tensor::<4>::random([co, ci, k, k], Distribution::Normal(0., 1.), &device).require_grad();
        let options = ConvOptions::new([s, s], [k / 2, k / 2], [1, 1], 1);
        let fl = 2.0 * (n * (hw / s) * (hw / s) * ci * co * k * k) as f64 * 1e-9;
        let mut line = format!("{ci}->{co} {hw}x{hw} k{k} s{s}: ");
        for ours in [true, false] {
            if !ours && !theirs {
                continue;
            }
            let (mut f, mut b) = (f64::MAX, f64::MAX);
            for _ in 0..3 {
                let t = Instant::now();
                let y = if ours {
                    mcl_model::flex::conv2d(x.clone(), wt.clone(), s, k / 2)
                } else {
                    module::conv2d(x.clone(), wt.clone(), None, options.clone())
                };
                f = f.min(t.elapsed().as_secs_f64());
                let l = y.sum();
                let t = Instant::now();
                let g = l.backward();
                b = b.min(t.elapsed().as_secs_f64());
                drop(g);
            }
            line += &format!(
                "{} fwd {:.2} ms ({:.0} GF/s) bwd {:.2} ms ({:.0} GF/s)   ",
                if ours { "ours" } else { "burn" },
                f * 1e3,
                fl / f,
                b * 1e3,
                2. * fl / b
            );
        }
        println!("{line}");
    }
}
