//! Which systems and ways of scoring stand in which table, and what the paper says of them.

use burn_mcl::infer::{Aggregation, ScorerConfig, TestTimeViews};
use burn_mcl::systems::{Scoring, System};

use super::results::Cells;

/// A table of the paper, or what stands for one.
pub(crate) struct Table {
    pub(crate) number: u8,
    pub(crate) title: &'static str,
    pub(crate) rows: fn() -> Vec<Row>,
}

/// A row: a system and a way of scoring.
pub(crate) struct Row {
    pub(crate) label: String,
    pub(crate) system: System,
    pub(crate) scoring: Scoring,
    /// Of the paper in percent: accuracy, then the AUROC of each set by its name.
    pub(crate) paper: Option<(f64, &'static [(&'static str, f64)])>,
}

/// A table and what was found for its rows, one entry for each seed.
pub(crate) struct Measured {
    pub(crate) number: u8,
    pub(crate) title: &'static str,
    pub(crate) rows: Vec<(Row, Vec<Cells>)>,
}

impl Measured {
    /// `on_cifar10` says whether the paper's numbers belong beside what was found.
    pub(crate) fn new(table: &Table, mut rows: Vec<Row>, found: Vec<Vec<Cells>>, on_cifar10: bool) -> Self {
        if !on_cifar10 {
            rows.iter_mut().for_each(|row| row.paper = None);
        }
        Self { number: table.number, title: table.title, rows: rows.into_iter().zip(found).collect() }
    }
}

pub(crate) const TABLES: [Table; 5] = [
    Table { number: 1, title: "MCL beside the systems of others", rows: others },
    Table { number: 2, title: "Contrastive learning and the cross-entropy", rows: cross_entropy },
    Table { number: 3, title: "The parts of MCL", rows: parts },
    Table {
        number: 4,
        title: "Self-ensemble inference with and without the auxiliary task",
        rows: ensembles,
    },
    Table { number: 5, title: "How the scores of the views become one", rows: aggregations },
];

/// The paper's MCL with self-ensemble inference: ResNet-34, CIFAR-10.
const PAPER: (f64, &[(&str, f64)]) =
    (96.4, &[("SVHN", 99.3), ("LSUN-Fix", 96.3), ("ImageNet-Fix", 96.5), ("CIFAR-100", 94.0)]);

fn row(label: impl Into<String>, system: System, scoring: Scoring) -> Row {
    Row { label: label.into(), system, scoring, paper: None }
}

/// The paper's way: Gaussians, eight views, weighted average.
fn ensemble() -> Scoring {
    Scoring::gaussians().with_views(TestTimeViews::RotationsAndFlips, Aggregation::WeightedAverage)
}

fn others() -> Vec<Row> {
    let baselines = [
        System::CrossEntropy,
        System::AuxiliaryRotation,
        System::OutlierExposure,
        System::SupConLinear,
        System::SupCon,
        System::Csi,
        System::SimClrFineTuned,
        System::Mcl,
    ];
    let mut rows: Vec<Row> =
        baselines.into_iter().map(|system| row(system.name(), system, system.scoring())).collect();
    rows.push(Row { paper: Some(PAPER), ..row("MCL + SEI", System::Mcl, ensemble()) });
    rows
}

fn cross_entropy() -> Vec<Row> {
    let own = |system: System| row(system.name(), system, system.scoring());
    vec![
        own(System::CrossEntropy),
        own(System::SimClrFineTuned),
        own(System::SimClrJoint),
        own(System::SupConLinear),
        own(System::Mcl),
        own(System::MclFineTuned),
        row("the same, Gaussians", System::MclFineTuned, Scoring::gaussians()),
        row("MCL and cross-entropy, upright, Gaussians", System::MclCrossEntropy, Scoring::gaussians()),
        row("the same, entropy", System::MclCrossEntropy, System::MclCrossEntropy.scoring()),
    ]
}

fn parts() -> Vec<Row> {
    [System::Mcl, System::MclWithoutAttraction, System::MclUpright, System::MclAugmented]
        .into_iter()
        .map(|system| row(system.name(), system, system.scoring()))
        .collect()
}

fn ensembles() -> Vec<Row> {
    let views = [TestTimeViews::Identity, TestTimeViews::Rotations, TestTimeViews::RotationsAndFlips];
    let systems = [System::Mcl, System::MclUpright, System::MclAugmented];
    let of = |system: System| {
        views.map(|views| {
            let scoring = Scoring::gaussians().with_views(views, Aggregation::WeightedAverage);
            row(format!("{}, {}", system.name(), counted(views)), system, scoring)
        })
    };
    let csi = views.map(|views| {
        let scoring = Scoring::new(ScorerConfig::EnsembledSoftmax).with_views(views, Aggregation::Mean);
        row(format!("{}, {}", System::Csi.name(), counted(views)), System::Csi, scoring)
    });
    systems.into_iter().flat_map(of).chain(csi).collect()
}

fn aggregations() -> Vec<Row> {
    let of = |views: TestTimeViews| {
        Aggregation::ALL.iter().map(move |&aggregation| {
            let scoring = Scoring::gaussians().with_views(views, aggregation);
            let name = match aggregation {
                Aggregation::WeightedAverage => "weighted average (the paper's)",
                Aggregation::HarmonicMean => "harmonic mean",
                Aggregation::Max => "maximum",
                _ => "mean",
            };
            row(format!("MCL, {}, {name}", counted(views)), System::Mcl, scoring)
        })
    };
    [TestTimeViews::Rotations, TestTimeViews::RotationsAndFlips].into_iter().flat_map(of).collect()
}

fn counted(views: TestTimeViews) -> &'static str {
    match views.aux().len() {
        1 => "1 view",
        4 => "4 views",
        _ => "8 views",
    }
}

/// All ways of scoring a system in any table, so that a system is evaluated once.
pub(crate) fn scorings_of(system: System) -> Vec<Scoring> {
    let mut scorings = Vec::new();
    for row in TABLES.iter().flat_map(|table| (table.rows)()).filter(|row| row.system == system) {
        if !scorings.contains(&row.scoring) {
            scorings.push(row.scoring);
        }
    }
    scorings
}
