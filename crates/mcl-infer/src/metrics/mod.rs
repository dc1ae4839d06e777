//! How well scores tell in-distribution from out-of-distribution images.
//!
//! Scores are higher for more in-distribution images, whichever class counts as positive. All metrics are
//! exact under ties, which count as one threshold, take O(n log n) time, and agree with scikit-learn.
//!
//! A [`Ranking`] sorts both sets once, for several metrics and for curves.
//!
//! Which class is called positive changes FPR at 95% TPR and the area under the precision-recall curve, and
//! the field is not of one mind: `OpenOOD` and pytorch-ood take out-of-distribution, the MCL paper
//! in-distribution. Here [`Positive`] says so at each call, and [`OodMetrics`] gives both.

mod accuracy;
mod auroc;
mod bootstrap;
mod detection_error;
mod error;
mod fpr;
mod precision_recall;
mod ranking;
mod scores;
mod summary;

pub use accuracy::accuracy;
pub use auroc::auroc;
pub use bootstrap::auroc_interval;
pub use detection_error::detection_error;
pub use error::{MetricError, Side};
pub use fpr::fpr_at_tpr;
pub use precision_recall::{aupr_trapezoid, average_precision};
pub use ranking::{Cut, Cuts, Positive, Ranking};
pub use scores::Scores;
pub use summary::{ByPositive, OodMetrics};
