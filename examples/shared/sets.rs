//! CIFAR-10 and the anomalous sets beside it, to report and to choose settings by.

use std::error::Error;
use std::path::Path;

use burn_mcl::data::openood::{self, OpenOod};
use burn_mcl::data::{self, DataError, ImageSet, Split, cifar10};

/// The images of a run.
#[allow(dead_code, reason = "not every program calibrates a threshold or has means")]
pub(crate) struct Sets {
    pub(crate) train: ImageSet,
    /// Training images that set the threshold.
    pub(crate) held_out: ImageSet,
    pub(crate) test: ImageSet,
    pub(crate) ood: Vec<(&'static str, ImageSet)>,
    /// Means over some of the anomalous sets: name, and names of the sets.
    pub(crate) means: Vec<(&'static str, Vec<&'static str>)>,
}

/// The sets to report: the test images, and every anomalous set that is there.
pub(crate) fn cifar10_sets(root: &Path, hold_out: usize) -> Result<Sets, Box<dyn Error>> {
    let candidates = [
        ("SVHN", data::svhn::load(root, Split::Test)),
        ("LSUN-Fix", data::lsun_fix::load(root)),
        ("ImageNet-Fix", data::imagenet_fix::load(root)),
        ("CIFAR-100", data::cifar100::load(root, Split::Test)),
    ];
    let present = candidates.into_iter().filter_map(|(name, set)| {
        Some((name, set.inspect_err(|error| eprintln!("without {name}: {error}")).ok()?))
    });
    let mut ood: Vec<_> = present.collect();
    if let Some(("CIFAR-100", all)) = ood.last() {
        let others = of_classes(all, |name| !VALIDATION_CLASSES.contains(&name))?;
        ood.push(("its other 80 classes", others));
    }
    let load = |split| cifar10::load(root, split);
    let (all, test) = (load(Split::Train)?, load(Split::Test)?);
    let trained = all.len().saturating_sub(hold_out);
    let held_out = all.subset(&(trained..all.len()).collect::<Vec<_>>())?;
    Ok(Sets { train: all.take(trained), held_out, test, ood, means: Vec::new() })
}

/// The sets of OpenOOD's benchmark in place of the others, with the means of the near and of the far ones.
#[allow(dead_code, reason = "not every program has the benchmark")]
pub(crate) fn with_openood(mut sets: Sets, root: &Path) -> Result<Sets, DataError> {
    let OpenOod { test, near, far, missing, .. } = openood::cifar10(root)?;
    for (name, error) in missing {
        eprintln!("without {name}: {error}");
    }
    let names = |sets: &[(&'static str, ImageSet)]| sets.iter().map(|(name, _)| *name).collect();
    sets.means = vec![("near", names(&near)), ("far", names(&far))];
    sets.test = test;
    sets.ood = near.into_iter().chain(far).collect();
    Ok(sets)
}

/// Classes of CIFAR-100 by which settings are chosen: of each superclass the first.
const VALIDATION_CLASSES: [&str; 20] = [
    "apple",
    "aquarium_fish",
    "baby",
    "bear",
    "beaver",
    "bed",
    "bee",
    "bicycle",
    "bottle",
    "bridge",
    "camel",
    "clock",
    "cloud",
    "crab",
    "crocodile",
    "fox",
    "hamster",
    "lawn_mower",
    "maple_tree",
    "orchid",
];

/// The sets to choose settings by: 5,000 training images, and a fifth of CIFAR-100.
#[allow(dead_code, reason = "not every program chooses settings")]
pub(crate) fn validation_sets(root: &Path, hold_out: usize) -> Result<Sets, Box<dyn Error>> {
    let all = cifar10::load(root, Split::Train)?;
    let trained = all.len().saturating_sub(hold_out + 5_000);
    let held_out = all.subset(&(all.len().saturating_sub(hold_out)..all.len()).collect::<Vec<_>>())?;
    let test = all.subset(&(trained..all.len().saturating_sub(hold_out)).collect::<Vec<_>>())?;
    let others = data::cifar100::load(root, Split::Test)?;
    let ood = of_classes(&others, |name| VALIDATION_CLASSES.contains(&name))?;
    let ood = vec![("20 of CIFAR-100", ood)];
    Ok(Sets { train: all.take(trained), held_out, test, ood, means: Vec::new() })
}

/// The images of the classes whose names are wanted.
fn of_classes(set: &ImageSet, wanted: impl Fn(&str) -> bool) -> Result<ImageSet, DataError> {
    let wanted: Vec<bool> = set.class_names().iter().map(|name| wanted(name)).collect();
    let (labels, all) = (set.labels(), 0..set.len());
    set.subset(&all.filter(|&image| wanted[labels[image]]).collect::<Vec<_>>())
}
