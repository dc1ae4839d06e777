//! Labels and weights of pairs of views, as the loops over pairs read them.

use core::ops::Range;
use std::collections::BTreeMap;

use crate::views::VIEWS;

/// The mask of Eq. 4 and 11, and the least similarity.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weights {
    pub(crate) same_label: f32,
    pub(crate) same_class: f32,
    pub(crate) other_class: f32,
    pub(crate) floor: f32,
}

/// The labels of all views, and what becomes of their pairs.
#[derive(Debug, Clone)]
pub(crate) struct Labels {
    /// Number of the class of each view.
    class: Vec<u32>,
    /// Number of its pair of class and auxiliary label.
    label: Vec<u32>,
    image: Vec<u32>,
    /// Views of other images with the label of each view.
    pub(super) positives: Vec<u32>,
    pub(super) weights: Weights,
    pub(super) temperature: f32,
}

/// The labels of a view.
#[derive(Debug, Clone, Copy)]
pub(super) struct Label {
    pub(super) class: u32,
    pub(super) label: u32,
    pub(super) image: u32,
}

/// The labels of neighbouring views.
#[derive(Debug, Clone, Copy)]
pub(super) struct Columns<'a> {
    pub(super) class: &'a [u32],
    pub(super) label: &'a [u32],
    pub(super) image: &'a [u32],
}

impl Labels {
    /// From the class and, if there are any, the auxiliary label of each view.
    pub(crate) fn new(class: &[i64], aux: Option<&[i64]>, weights: Weights, temperature: f32) -> Self {
        let aux_of = |view: usize| aux.map_or(0, |aux| aux[view]);
        let label: Vec<(i64, i64)> =
            class.iter().enumerate().map(|(view, &class)| (class, aux_of(view))).collect();
        let (class, label) = (numbers(class), numbers(&label));
        let mut counts = vec![0_u32; label.len()];
        for &label in &label {
            counts[label as usize] += 1;
        }
        let of_image = VIEWS as u32;
        Self {
            image: (0..class.len() as u32).map(|view| view / of_image).collect(),
            positives: label.iter().map(|&label| counts[label as usize] - of_image).collect(),
            class,
            label,
            weights,
            temperature,
        }
    }

    pub(super) fn of(&self, view: usize) -> Label {
        Label { class: self.class[view], label: self.label[view], image: self.image[view] }
    }

    pub(super) fn columns(&self, views: Range<usize>) -> Columns<'_> {
        Columns {
            class: &self.class[views.clone()],
            label: &self.label[views.clone()],
            image: &self.image[views],
        }
    }
}

/// Numbers from 0 for the distinct values.
fn numbers<T: Ord + Copy>(values: &[T]) -> Vec<u32> {
    let mut number_of = BTreeMap::new();
    values
        .iter()
        .map(|&value| {
            let next = number_of.len() as u32;
            *number_of.entry(value).or_insert(next)
        })
        .collect()
}
