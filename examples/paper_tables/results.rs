//! Trains and evaluates a system once for each seed, and keeps what was found.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use burn_mcl::Progress::Terminal;
use burn_mcl::burn::tensor::Device;
use burn_mcl::data::ImageSet;
use burn_mcl::data::batch::Rotations;
use burn_mcl::infer::TestTimeViews;
use burn_mcl::infer::metrics::{OodMetrics, Ranking, accuracy};
use burn_mcl::scored::ScoredSet;
use burn_mcl::systems::{Scoring, System, SystemTraining, fit_scorings};
use serde::{Deserialize, Serialize};

use super::interrupt::{STOP, unless_stopped};
use super::sets::Sets;

/// Images that go through the network at once.
const BATCH: usize = 256;
/// Level of the bootstrap intervals.
const LEVEL: f64 = 0.95;

/// What one run reaches by one way of scoring, as shares.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Cells {
    pub(crate) accuracy: Option<f64>,
    /// By the names of the anomalous sets, in their order.
    pub(crate) sets: Vec<(String, Cell)>,
}

/// What one run reaches against one set.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) auroc: f64,
    /// Bootstrap interval of the AUROC.
    pub(crate) interval: (f64, f64),
    /// With the normal images as positives.
    pub(crate) fpr95: f64,
}

/// What one run of a system reaches by every way of scoring, as it is kept.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    /// Names and sizes of the sets: results of other sets are not taken.
    sets: Vec<(String, usize)>,
    ways: BTreeMap<String, Cells>,
}

impl Results {
    pub(crate) fn of(&self, scoring: &Scoring) -> Result<Cells, Box<dyn Error>> {
        let name = format!("{scoring:?}");
        self.ways.get(&name).cloned().ok_or_else(|| format!("no result for {name}").into())
    }
}

/// What the systems are trained and judged on.
pub(crate) struct Bench<'a> {
    pub(crate) sets: &'a Sets,
    pub(crate) outliers: &'a ImageSet,
    pub(crate) root: &'a Path,
    pub(crate) device: &'a Device,
    pub(crate) training: SystemTraining,
}

impl Bench<'_> {
    /// Returns what a system reaches with a seed: from its file, where an earlier call has written it, or by training it.
    pub(crate) fn measure(
        &mut self,
        system: System,
        scorings: &[Scoring],
        seed: u64,
    ) -> Result<Results, Box<dyn Error>> {
        let Sets { train, test, ood, .. } = self.sets;
        self.training.base.seed = seed;
        let stages = self.training.stages(system, train.len(), train.class_names().len());
        let last = stages.last().expect("every system has a stage");
        let folder = self.root.join(format!("seed-{seed}"));
        let path = folder.join(format!("{}.json", last.name));
        let ood_sizes = ood.iter().map(|(name, set)| ((*name).to_string(), set.len()));
        let sizes: Vec<_> = [("test".to_string(), test.len())].into_iter().chain(ood_sizes).collect();
        let kept = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Results>(&bytes).ok());
        let kept =
            kept.filter(|kept| kept.sets == sizes && scorings.iter().all(|scoring| kept.of(scoring).is_ok()));
        if kept.is_none() {
            let steps = last.config.total_steps(train.len());
            eprintln!("\n{}, seed {seed}: {steps} step(s) of training", system.name());
        }
        // A run that is complete is only read. A run of other settings or other images is an error.
        let model = self.training.fit(
            system,
            train,
            Some(self.outliers),
            &folder,
            self.device,
            Terminal,
            unless_stopped(&STOP),
        )?;
        if let Some(kept) = kept {
            return Ok(kept);
        }
        let rotated = matches!(last.config.rotations, Rotations::All | Rotations::Drawn);
        let scorers = fit_scorings(&model, train, scorings, rotated, BATCH, Terminal)?;
        let scorers: Vec<_> = scorers.iter().map(AsRef::as_ref).collect();
        let all = scorings.iter().map(|scoring| scoring.views).max_by_key(|views| views.aux().len());
        let all = all.unwrap_or(TestTimeViews::Identity);
        let score = |set| ScoredSet::each(&model, &scorers, set, all, BATCH, Terminal);
        let normal = score(test)?;
        let anomalous = ood
            .iter()
            .map(|(name, set)| Ok((*name, score(set)?)))
            .collect::<Result<Vec<_>, Box<dyn Error>>>()?;
        let mut ways = BTreeMap::new();
        for (way, scoring) in scorings.iter().enumerate() {
            let (predicted, normal) = normal[way].judge(scoring.views, scoring.aggregation);
            let classified = scorers[way].columns() == train.class_names().len();
            let mut sets = Vec::new();
            for (name, scored) in &anomalous {
                let (_, scores) = scored[way].judge(scoring.views, scoring.aggregation);
                let metrics = OodMetrics::new(&normal, &scores)?;
                let interval = Ranking::new(&normal, &scores)?.auroc_interval(LEVEL, seed)?;
                let (auroc, fpr95) = (metrics.auroc, metrics.fpr_at_95_tpr.in_distribution);
                sets.push(((*name).to_string(), Cell { auroc, interval, fpr95 }));
            }
            let accuracy = classified.then(|| accuracy(&predicted, test.labels())).transpose()?;
            ways.insert(format!("{scoring:?}"), Cells { accuracy, sets });
        }
        let results = Results { sets: sizes, ways };
        fs::write(&path, serde_json::to_vec_pretty(&results)?)?;
        Ok(results)
    }
}
