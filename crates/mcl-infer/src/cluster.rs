//! What an error of fitting is about.

use core::fmt;

/// The samples behind one covariance: those of a (class, auxiliary class), or, for
/// [`Covariance::Tied`](crate::Covariance::Tied), those of all classes of an auxiliary class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cluster {
    /// The class; `None` when the classes are pooled.
    pub class: Option<usize>,
    /// The auxiliary class (the rotation, in the paper).
    pub aux: usize,
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.class {
            Some(class) => write!(f, "class {class}, auxiliary class {}", self.aux),
            None => write!(f, "auxiliary class {} (all its classes pooled)", self.aux),
        }
    }
}

impl Cluster {
    /// The end of an advice: the covariance could be shared, if it is not already.
    pub(crate) fn or_tied(&self) -> &'static str {
        match self.class {
            Some(_) => ", or share one covariance between the classes (Covariance::Tied)",
            None => "",
        }
    }
}
