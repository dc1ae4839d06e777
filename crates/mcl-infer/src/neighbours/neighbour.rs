//! What a search finds.

/// A row of the index, and how near it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    /// Row of the embeddings that the index was made of: for one embedding an image, the number of the image.
    pub index: usize,
    /// Cosine similarity, in [-1, 1].
    pub similarity: f64,
}
