//! temp
use burn::tensor::{Device, Distribution, Int, Tensor};
use burn_mcl::loss::{MclLabels, MclLossConfig};
use std::time::Instant;
fn cpu() -> f64 {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|t| std::fs::read_to_string(t.ok()?.path().join("schedstat")).ok())
        .filter_map(|t| t.split(' ').next()?.parse::<f64>().ok())
        .sum::<f64>()
        * 1e-9
}
fn main() {
    let a: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let (views, n) = (a[0], a[1]);
    let device = Device::flex().autodiff();
    let loss = MclLossConfig::new().init();
    let p = Tensor::<3>::random([views / 2, 2, 128], Distribution::Default, &device).require_grad();
    let image = Tensor::<1, Int>::arange(0..views as i64 / 2, &device);
    let labels =
        MclLabels::new(image.clone().remainder_scalar(10)).with_aux(image.div_scalar(10).remainder_scalar(4));
    let (mut bw, mut bc, mut bf) = (f64::MAX, f64::MAX, f64::MAX);
    for _ in 0..n {
        let (w, c) = (Instant::now(), cpu());
        let l = loss.forward(p.clone(), &labels);
        let f = cpu() - c;
        let g = l.backward();
        std::hint::black_box(p.grad(&g));
        bw = bw.min(w.elapsed().as_secs_f64());
        bc = bc.min(cpu() - c);
        bf = bf.min(f);
    }
    println!("{views}: wall {:.2} ms cpu {:.2} ms (forward {:.2})", bw * 1e3, bc * 1e3, bf * 1e3);
}
