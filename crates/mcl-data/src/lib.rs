//! Image sets, SimCLR augmentations and rotated two-view batches for masked contrastive learning
#![forbid(unsafe_code)]
