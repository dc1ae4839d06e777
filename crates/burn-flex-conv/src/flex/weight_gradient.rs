//! Weight gradients over a batch: tasks for parts of the images and of the channels out, over threads.
//!
//! The partition depends on the sizes alone and sums are reduced in a fixed order: results have the same bits
//! whatever the number of threads.

use std::ops::Range;

use pulp::Arch;
use rayon::prelude::*;

use super::accumulate::Accumulate;
use super::correlation::GROUP_VALUES;
use super::geometry::{Geometry, Padded, Plan, forward_plan};
use super::lanes::{Strip, lanes, strips};
use super::rows::{InMemory, Rows};
use super::tiling::{self, Tiling};
use super::transform::gradient_of_weights;
use super::weights::{packed_len, unpack};
use super::winograd::{AccumulateTiles, TileScratch, transformed_len};

/// Pixels of a group whose weight gradient is summed in registers, at least.
const GROUP_PIXELS: usize = 256;
/// Partial weight gradients, at most.
const MAX_PARTS: usize = 32;
/// Weights whose partial gradient is worth the work of one image.
const WEIGHTS_PER_IMAGE: usize = 1 << 14;
/// Tasks of a weight gradient, about, where there are too few parts: channels out are then divided too.
const TASKS: usize = 16;

/// `-> [channels_out, channels_in, kernel, kernel]`
pub(super) fn weight_gradient(arch: Arch, g: &Geometry, input: &[f32], d_output: &impl Rows) -> Vec<f32> {
    WeightGradient::new(arch, g).run(input, d_output)
}

/// A weight gradient: tasks for parts of the images and of the channels out, then the sum over the parts.
struct WeightGradient<'a> {
    arch: Arch,
    lanes: usize,
    g: &'a Geometry,
    padded: Padded,
    plan: Plan,
    /// Where it is done by Winograd's method.
    tiling: Option<Tiling>,
    strips: Vec<Strip>,
    /// Images that are in cache together, and those of a part.
    group: usize,
    part: usize,
    strips_of_task: usize,
}

impl<'a> WeightGradient<'a> {
    fn new(arch: Arch, g: &'a Geometry) -> Self {
        let lanes = lanes(arch);
        let strips = strips(g.channels_out, lanes);
        let (padded, plan) = forward_plan(g);
        let tiling = tiling::applies(g).then(|| Tiling::forward(g));
        let padded = tiling.map_or(padded, |tiling| tiling.source);
        let group = GROUP_VALUES / (padded.len() + g.image_out());
        let group = group.max(GROUP_PIXELS.div_ceil(plan.target.len())).clamp(1, g.images.max(1));
        let part = g
            .images
            .div_ceil(MAX_PARTS)
            .max(g.weight_len() / WEIGHTS_PER_IMAGE)
            .max(1)
            .next_multiple_of(group);
        let parts = g.images.div_ceil(part).max(1);
        let strips_of_task = strips.len().div_ceil(TASKS.div_ceil(parts));
        Self { arch, lanes, g, padded, plan, tiling, strips, group, part, strips_of_task }
    }

    fn run(&self, input: &[f32], d_output: &impl Rows) -> Vec<f32> {
        let tasks: Vec<(Range<usize>, &[Strip])> = (0..self.g.images)
            .step_by(self.part)
            .map(|start| start..self.g.images.min(start + self.part))
            .flat_map(|images| {
                self.strips.chunks(self.strips_of_task).map(move |strips| (images.clone(), strips))
            })
            .collect();
        let gradients: Vec<Vec<f32>> = tasks
            .into_par_iter()
            .map_init(
                || {
                    (
                        vec![0.0; self.group * self.padded.len()],
                        vec![0.0; self.group * self.g.image_out()],
                        TileScratch::default(),
                    )
                },
                |(planes, d_values, scratch), (images, strips)| {
                    let mut gradient = PartialGradient::new(self, strips);
                    for start in images.clone().step_by(self.group) {
                        let count = self.group.min(images.end - start);
                        let planes = &mut planes[..count * self.padded.len()];
                        let d_values = &mut d_values[..count * self.g.image_out()];
                        let input = InMemory(input);
                        let row = input.rows(self.g.size_in[0]);
                        self.padded.fill(planes, |image, y, to| row(start + image, y, to));
                        d_output.row(start * self.g.image_out(), d_values);
                        gradient.add(planes, d_values, scratch);
                    }
                    gradient.packed()
                },
            )
            .collect();
        // The tasks of a part follow each other.
        let parts: Vec<&[Vec<f32>]> =
            gradients.chunks(self.strips.len().div_ceil(self.strips_of_task)).collect();
        unpack(self.g, &self.plan, &self.strips, self.lanes, self.strips_of_task, &parts)
    }
}

/// The sum over the images of a task, for its channels out.
struct PartialGradient<'a> {
    of: &'a WeightGradient<'a>,
    strips: &'a [Strip],
    sum: Vec<f32>,
}

impl<'a> PartialGradient<'a> {
    fn new(of: &'a WeightGradient<'a>, strips: &'a [Strip]) -> Self {
        let len = match of.tiling {
            Some(_) => transformed_len(strips, of.g.channels_in, of.lanes),
            None => packed_len(&of.plan, strips, of.lanes),
        };
        Self { of, strips, sum: vec![0.0; len] }
    }

    fn add(&mut self, planes: &[f32], d_target: &[f32], scratch: &mut TileScratch) {
        let Self { of, strips, sum: gradient } = self;
        if let Some(tiling) = &of.tiling {
            AccumulateTiles { tiling, strips, planes, d_target, gradient, scratch }.run(of.arch);
        } else {
            let accumulate = Accumulate {
                source: planes,
                source_image: of.padded.len(),
                plan: &of.plan,
                strips,
                d_target,
                d_target_image: of.g.image_out(),
                gradient,
            };
            accumulate.run(of.arch);
        }
    }

    /// As the weights are packed.
    fn packed(self) -> Vec<f32> {
        match self.of.tiling {
            Some(_) => gradient_of_weights(self.of.arch, self.strips, self.of.g.channels_in, &self.sum),
            None => self.sum,
        }
    }
}
