//! Short criterion runs that end with ratios: how often `here` fits into the time of each other function of its group.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use std::{env, fs};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};

/// The function of a group that all others are compared with.
pub const HERE: &str = "here";

/// The benches of one program.
pub struct Bench {
    criterion: Criterion,
    groups: Vec<&'static str>,
    started: SystemTime,
}

impl Bench {
    /// Reads the command line: `--test` runs everything once, a word runs what has it in its name.
    pub fn from_args() -> Self {
        let criterion = Criterion::default()
            .sample_size(10)
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(2))
            .configure_from_args();
        Self { criterion, groups: Vec::new(), started: SystemTime::now() }
    }

    /// A group of functions, one of them [`HERE`].
    pub fn group(&mut self, name: &'static str) -> BenchmarkGroup<'_, WallTime> {
        self.groups.push(name);
        self.criterion.benchmark_group(name)
    }

    /// Prints the medians of what was measured, and the ratios.
    pub fn finish(self) {
        self.criterion.final_summary();
        for group in &self.groups {
            // Criterion makes one folder name of a group's.
            let medians = self.medians(&group.replace('/', "_"));
            let here = medians.iter().find(|(name, _)| name == HERE).map(|(_, seconds)| *seconds);
            for (name, seconds) in &medians {
                print!("{group:24} {name:10} {:10.3} ms", seconds * 1e3);
                match here {
                    Some(here) if name != HERE => println!("   {:.2} x {HERE}", seconds / here),
                    _ => println!(),
                }
            }
        }
    }

    /// Median seconds of the functions of a group that ran now, not in an earlier run.
    fn medians(&self, group: &str) -> Vec<(String, f64)> {
        let Ok(functions) = fs::read_dir(results().join(group)) else { return Vec::new() };
        let mut medians: Vec<(String, f64)> = functions
            .flatten()
            .filter_map(|function| {
                let path = function.path().join("new/estimates.json");
                let fresh = fs::metadata(&path).and_then(|file| file.modified()).ok()? >= self.started;
                let estimates: serde_json::Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
                let nanoseconds = estimates["median"]["point_estimate"].as_f64()?;
                fresh.then(|| (function.file_name().to_string_lossy().into_owned(), nanoseconds * 1e-9))
            })
            .collect();
        medians.sort_by_key(|(name, _)| name != HERE);
        medians
    }
}

/// Where criterion writes: cargo starts a bench in the folder of its package, two below that of the workspace.
fn results() -> PathBuf {
    if let Some(path) = env::var_os("CRITERION_HOME") {
        return path.into();
    }
    let target = env::var_os("CARGO_TARGET_DIR");
    target.map_or_else(|| PathBuf::from("../target"), PathBuf::from).join("criterion")
}

/// Numbers in [0, 1) that look random: the same ones in `tools/bench/common.py`.
pub fn number(index: u64) -> f64 {
    let mut x = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 11) as f64 * 2f64.powi(-53)
}
