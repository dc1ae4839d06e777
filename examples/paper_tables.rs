//! Trains the systems that the paper compares, evaluates them, and writes the paper's tables beside its numbers.
//!
//! ```text
//! cargo run --release --example paper_tables -- --scale tiny                # all tables on the embedded shapes, minutes
//! cargo run --release --example paper_tables -- --scale cpu --data DIR      # CIFAR-10, the network for CPUs, hours
//! cargo run --release --example paper_tables -- --scale full --data DIR     # the paper's network and length: a GPU
//! ```
//!
//! Each training run has a directory of its own below `--runs`, which tables and systems share. Ctrl-C saves a checkpoint; the same
//! command goes on. The tables are `tables.md`, `tables.csv` and `tables.html` beside the runs.

#[path = "../crates/mcl-cli/src/interrupt.rs"]
mod interrupt;
#[path = "../crates/mcl-cli/src/output.rs"]
mod output;
#[path = "paper_tables/page.rs"]
mod page;
#[path = "paper_tables/results.rs"]
mod results;
#[path = "shared/sets.rs"]
mod sets;
#[path = "paper_tables/tables.rs"]
mod tables;

use std::path::PathBuf;
use std::{error::Error, fs, io, io::Write, process::ExitCode};

use burn_mcl::data::batch::Rotations;
use burn_mcl::data::{ImageSet, image_folder, printable, shapes, shapes::ShapesSplit};
use burn_mcl::model::FastNetConfig;
use burn_mcl::systems::SystemTraining;
use burn_mcl::train::TrainConfig;
use clap::{Parser, ValueEnum};
use results::Bench;
use sets::Sets;
use tables::{Measured, TABLES, Table};

#[derive(Parser)]
#[command(version, about = "Writes the paper's tables")]
struct Settings {
    /// Tables to write, 1 to 5; all when none is named
    #[arg(long = "table", value_name = "N", value_parser = clap::value_parser!(u8).range(1..=5))]
    tables: Vec<u8>,
    /// Data and length of the runs
    #[arg(long, value_enum, default_value_t = Scale::Tiny)]
    scale: Scale,
    /// Runs of each system: seeds 0 to K - 1
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Folder with the data sets, as for train_cifar10; for the scales cpu and full
    #[arg(long, required_if_eq_any([("scale", "cpu"), ("scale", "full")]))]
    data: Option<PathBuf>,
    /// Folder of pictures for Outlier Exposure, which must be neither normal nor in the sets that are reported [default: drawn
    /// blocks of colour]
    #[arg(long)]
    outliers: Option<PathBuf>,
    /// Folder of the runs and tables [default: runs/tables-SCALE]
    #[arg(long)]
    runs: Option<PathBuf>,
    /// Length of each run in steps, instead of the scale's
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Scale {
    /// The embedded shapes and a small network: says that everything works
    Tiny,
    /// CIFAR-10 with the network for CPUs of 64, 256 and 256 channels, 292 steps
    Cpu,
    /// CIFAR-10 with the paper's ResNet-34 and 400 epochs
    Full,
}

impl Scale {
    fn name(self) -> &'static str {
        match self {
            Self::Tiny => "tiny",
            Self::Cpu => "cpu",
            Self::Full => "full",
        }
    }

    /// Everything but the objective, which is the system's.
    fn training(self, classes: usize) -> SystemTraining {
        let fast = |widths| {
            let mut config = TrainConfig::fast(classes);
            config.model.encoder = FastNetConfig::new().with_widths(widths).into();
            config
        };
        match self {
            Self::Tiny => {
                let mut base = fast([8, 16, 16]).with_images_per_batch(64).with_steps(Some(60));
                base.model.hidden = 32;
                base.model.projection_dim = 16;
                SystemTraining { base: base.with_warmup_steps(Some(10)), rotations: Rotations::Drawn }
            }
            Self::Cpu => SystemTraining {
                base: fast([64, 256, 256]).with_steps(Some(292)),
                rotations: Rotations::Drawn,
            },
            Self::Full => SystemTraining { base: TrainConfig::new(), rotations: Rotations::All },
        }
    }
}

fn main() -> ExitCode {
    output::end(run())
}

fn run() -> Result<(), Box<dyn Error>> {
    let settings = Settings::parse();
    let device = burn_mcl::device::from_env()?;
    let sets = match (settings.scale, &settings.data) {
        (Scale::Tiny, Some(_)) => {
            return Err(
                "--scale tiny takes the embedded shapes: leave --data out, or take --scale cpu".into()
            );
        }
        (_, Some(root)) => sets::cifar10_sets(root, 0)?,
        (_, None) => shapes_sets(),
    };
    let outliers = match &settings.outliers {
        Some(folder) => image_folder::load(folder, sets.train.size())?,
        None => blocks(5_000, sets.train.size()),
    };
    let root =
        settings.runs.clone().unwrap_or_else(|| format!("runs/tables-{}", settings.scale.name()).into());
    fs::create_dir_all(&root)?;
    let wanted: Vec<&Table> = TABLES
        .iter()
        .filter(|table| settings.tables.is_empty() || settings.tables.contains(&table.number))
        .collect();
    let mut training = settings.scale.training(sets.train.class_names().len());
    if let Some(steps) = settings.steps.map(|steps| steps as usize) {
        training.base.steps = Some(steps);
        training.base.warmup_steps = training.base.warmup_steps.map(|warmup| warmup.min(steps / 3));
    }
    if let Some(folder) = settings.outliers.filter(|_| outliers.len() < training.base.images_per_batch) {
        let (found, least) = (outliers.len(), training.base.images_per_batch);
        return Err(format!(
            "--outliers {} has {found} pictures, but a batch takes {least}",
            printable(folder)
        )
        .into());
    }
    interrupt::stop_on_signals();
    let mut bench = Bench { sets: &sets, outliers: &outliers, root: &root, device: &device, training };
    let mut measured = Vec::new();
    for table in wanted {
        let rows = (table.rows)();
        let mut found = Vec::new();
        for row in &rows {
            let scorings = tables::scorings_of(row.system);
            found.push(
                (0..settings.seeds)
                    .map(|seed| bench.measure(row.system, &scorings, seed)?.of(&row.scoring))
                    .collect::<Result<Vec<_>, Box<dyn Error>>>()?,
            );
        }
        let table = Measured::new(table, rows, found, settings.data.is_some());
        writeln!(io::stdout(), "{}", page::markdown(&table))?;
        measured.push(table);
    }
    let write = |name: &str, text: String| -> Result<(), Box<dyn Error>> {
        let path = root.join(name);
        fs::write(&path, text)?;
        writeln!(io::stdout(), "{}", printable(path))?;
        Ok(())
    };
    write("tables.md", measured.iter().map(page::markdown).collect::<Vec<_>>().join("\n"))?;
    write("tables.csv", page::csv(&measured))?;
    write("tables.html", page::html(&measured))
}

/// The embedded shapes.
fn shapes_sets() -> Sets {
    let generate = |split, per_class| shapes::generate(split, per_class, 0);
    let ood = [("near shapes", ShapesSplit::NearOod), ("far textures", ShapesSplit::FarOod)];
    Sets {
        train: generate(ShapesSplit::Train, 100),
        held_out: shapes::generate(ShapesSplit::Train, 1, 1),
        test: generate(ShapesSplit::Test, 20),
        ood: ood.map(|(name, split)| (name, generate(split, 20))).into(),
        means: Vec::new(),
    }
}

/// Images of 4 x 4 blocks of random colours.
fn blocks(count: usize, (height, width): (usize, usize)) -> ImageSet {
    let mut state = 1_u64;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let mut pixels = Vec::with_capacity(count * 3 * height * width);
    for _ in 0..3 * count {
        let colours: Vec<u8> = (0..16).map(|_| byte()).collect();
        for row in 0..height {
            pixels.extend((0..width).map(|column| colours[4 * (4 * row / height) + 4 * column / width]));
        }
    }
    ImageSet::new(pixels, (height, width), vec![0; count], vec!["blocks".into()])
        .expect("as many pixels as images")
}
