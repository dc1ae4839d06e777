//! Masked contrastive losses (NT-Xent, CCM, SPA, MCL, SupCon) for the Burn framework
#![forbid(unsafe_code)]
