//! The nearest training images of an image.

mod candidates;
mod index;
mod neighbour;

pub use index::NeighbourIndex;
pub use neighbour::Neighbour;
