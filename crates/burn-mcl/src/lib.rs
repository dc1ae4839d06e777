//! Masked contrastive learning (MCL) for anomaly detection, in pure Rust on the Burn framework
#![forbid(unsafe_code)]
