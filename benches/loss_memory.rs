//! Peak memory of MCL forward and backward beyond its input, from 8192 to 65,536 views of dimension 128.
//!
//! ```text
//! cargo bench --workspace --bench loss_memory -- [views ...]
//! ```
//!
//! Linux only: the operating system keeps the peak of a process in /proc/self/status.

use std::process::Command;
use std::time::Instant;
use std::{env, fs};

use burn::tensor::{Device, Distribution, Int, Tensor};
use burn_mcl::loss::{MclLabels, MclLossConfig};

const DIM: usize = 128;

fn main() {
    let sizes: Vec<usize> = env::args().filter_map(|argument| argument.parse().ok()).collect();
    match sizes[..] {
        [views] => measure(views),
        [] => each_alone(&[8192, 16_384, 32_768, 65_536]),
        _ => each_alone(&sizes),
    }
}

/// A process each: what one leaves behind must not hide the peak of the next.
fn each_alone(sizes: &[usize]) {
    let program = env::current_exe().expect("the path of this program");
    for views in sizes {
        let status = Command::new(&program).arg(views.to_string()).status().expect("a process");
        assert!(status.success(), "{views} views: {status}");
    }
}

fn measure(views: usize) {
    let device = Device::flex().autodiff();
    let loss = MclLossConfig::new().init();
    let shape = [views / 2, 2, DIM];
    let projections = Tensor::<3>::random(shape, Distribution::Default, &device).require_grad();
    let image = Tensor::<1, Int>::arange(0..views as i64 / 2, &device);
    let class = image.clone().remainder_scalar(10);
    let labels = MclLabels::new(class).with_aux(image.div_scalar(10).remainder_scalar(4));
    let before = kibibytes("VmRSS:");
    let started = Instant::now();
    let gradients = loss.forward(projections.clone(), &labels).backward();
    let seconds = started.elapsed().as_secs_f64();
    let extra = kibibytes("VmHWM:").saturating_sub(before) / 1024;
    drop(gradients);
    println!("{views:6} views: {extra:5} MiB beyond the input, {seconds:.2} s");
}

/// A line of what the operating system says of this process.
fn kibibytes(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of the status");
    line.trim().trim_end_matches(" kB").parse().expect("a number of kB")
}
