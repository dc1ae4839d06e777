//! Mahalanobis scores, self-ensemble inference and out-of-distribution metrics for the Burn framework
#![forbid(unsafe_code)]
