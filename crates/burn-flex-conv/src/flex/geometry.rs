//! Sizes of a convolution, and its reading plan over a zero-padded image: which source values are multiplied
//! with which weights.

/// Sizes of a convolution with a square kernel, one group, no dilation. Activations are
/// `[images, height, width, channels]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) images: usize,
    pub(super) size_in: [usize; 2],
    pub(super) size_out: [usize; 2],
    pub(super) channels_in: usize,
    pub(super) channels_out: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
}

impl Geometry {
    /// From the shapes `[n, h, w, channels_in]` and `[channels_out, channels_in, kernel, kernel]`.
    ///
    /// # Panics
    ///
    /// When the shapes do not fit together or the padded image is smaller than the kernel.
    pub(super) fn new(input: [usize; 4], weight: [usize; 4], stride: usize, padding: usize) -> Self {
        let [images, height, width, channels_in] = input;
        let [channels_out, weight_in, kernel, kernel_width] = weight;
        assert_eq!(channels_in, weight_in, "convolution: channels of the input and of the weight differ");
        assert_eq!(kernel, kernel_width, "convolution: the kernel must be square");
        assert!(stride > 0, "convolution: the stride must be at least 1");
        let size_out = [height, width].map(|size| {
            assert!(size + 2 * padding >= kernel, "convolution: the padded image is smaller than the kernel");
            (size + 2 * padding - kernel) / stride + 1
        });
        Self {
            images,
            size_in: [height, width],
            size_out,
            channels_in,
            channels_out,
            kernel,
            stride,
            padding,
        }
    }

    /// Values of one image before the convolution.
    pub(super) fn image_in(&self) -> usize {
        self.size_in[0] * self.size_in[1] * self.channels_in
    }

    /// Values of one image after the convolution.
    pub(super) fn image_out(&self) -> usize {
        self.size_out[0] * self.size_out[1] * self.channels_out
    }

    pub(super) fn weight_len(&self) -> usize {
        self.channels_out * self.channels_in * self.kernel * self.kernel
    }

    /// `[n, oh, ow, channels_out]`
    pub(super) fn shape_out(&self) -> [usize; 4] {
        [self.images, self.size_out[0], self.size_out[1], self.channels_out]
    }
}

/// An image with a border of zeros: `[height, width, channels]` inside of a larger plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Padded {
    size: [usize; 2],
    channels: usize,
    before: usize,
    plane: [usize; 2],
}

impl Padded {
    /// `before` zeros above and to the left, `after` below and to the right.
    pub(super) fn new(size: [usize; 2], channels: usize, before: usize, after: [usize; 2]) -> Self {
        Self { size, channels, before, plane: [size[0] + before + after[0], size[1] + before + after[1]] }
    }

    /// Values of one image with its border.
    pub(super) fn len(&self) -> usize {
        self.plane[0] * self.plane[1] * self.channels
    }

    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    /// Offset of a pixel, counted from the first pixel of the border.
    pub(super) fn offset(&self, y: usize, x: usize) -> usize {
        (y * self.plane[1] + x) * self.channels
    }

    /// Writes the rows of images into their planes: `row` gets the image, the row and where its values go,
    /// `[width, channels]`. The border of `planes` must be zero and stays so.
    pub(super) fn fill(&self, planes: &mut [f32], mut row: impl FnMut(usize, usize, &mut [f32])) {
        for (image, plane) in planes.chunks_exact_mut(self.len()).enumerate() {
            for y in 0..self.size[0] {
                let start = self.offset(y + self.before, self.before);
                row(image, y, &mut plane[start..][..self.size[1] * self.channels]);
            }
        }
    }
}

/// Reading plan of a correlation: target pixel `p` sums, over `runs`, the products of `run_len` neighbouring
/// source values (some pixels of one row, all channels) from `source[p] + run` with the weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// Per target pixel of an image, where its receptive field starts in the padded source.
    pub(super) source: Vec<usize>,
    /// Per target pixel of an image, where its channels start.
    pub(super) target: Vec<usize>,
    pub(super) runs: Vec<usize>,
    pub(super) run_len: usize,
    /// Per run the position in the kernel of each pixel in it, in order.
    pub(super) taps: Vec<Vec<usize>>,
}

impl Plan {
    /// A product of matrices: `count` rows of `source` values to as many of `target` values.
    pub(super) fn rows_of(count: usize, source: usize, target: usize) -> Self {
        Self {
            source: (0..count).map(|row| row * source).collect(),
            target: (0..count).map(|row| row * target).collect(),
            runs: vec![0],
            run_len: source,
            taps: Vec::new(),
        }
    }

    /// The plan for so many images, one behind the other.
    pub(super) fn of_images(self, images: usize, source_image: usize, target_image: usize) -> Self {
        let repeat = |pixels: &[usize], len: usize| -> Vec<usize> {
            (0..images).flat_map(|image| pixels.iter().map(move |pixel| image * len + pixel)).collect()
        };
        let (source, target) = (repeat(&self.source, source_image), repeat(&self.target, target_image));
        Self { source, target, ..self }
    }

    /// Only the first `count` target pixels.
    pub(super) fn truncate(&mut self, count: usize) {
        self.source.truncate(count);
        self.target.truncate(count);
    }

    /// The same plan over pairs of neighbouring source values. A pixel of `channels`, an even number, has so many pairs.
    pub(super) fn of_pairs(mut self, channels: usize, pairs: usize) -> Self {
        let in_pairs = |offset: &mut usize| *offset = *offset / channels * pairs;
        self.source.iter_mut().chain(&mut self.runs).for_each(in_pairs);
        in_pairs(&mut self.run_len);
        self
    }

    /// Products that each target value sums.
    pub(super) fn rows(&self) -> usize {
        self.runs.len() * self.run_len
    }
}

/// The convolution itself: one plan over the padded input.
pub(super) fn forward_plan(g: &Geometry) -> (Padded, Plan) {
    let padded = Padded::new(g.size_in, g.channels_in, g.padding, [g.padding; 2]);
    let [height, width] = g.size_out;
    let pixels = || (0..height).flat_map(move |y| (0..width).map(move |x| (y, x)));
    let plan = Plan {
        source: pixels().map(|(y, x)| padded.offset(y * g.stride, x * g.stride)).collect(),
        target: pixels().map(|(y, x)| (y * width + x) * g.channels_out).collect(),
        runs: (0..g.kernel).map(|ky| padded.offset(ky, 0)).collect(),
        run_len: g.kernel * g.channels_in,
        taps: (0..g.kernel).map(|ky| (0..g.kernel).map(|kx| ky * g.kernel + kx).collect()).collect(),
    };
    (padded, plan)
}

/// The gradient with respect to the input: a plan per residue of (row, column) modulo the stride, over the
/// padded gradient of the output.
/// `d_input[y] = sum over ky, with y + padding - ky a multiple of the stride, of weight[ky]^T d_output[(y + padding - ky) / stride]`.
/// Residues that no tap reaches have no plan: their gradient is zero.
pub(super) fn data_gradient_plans(g: &Geometry) -> (Padded, Vec<Plan>) {
    // Furthest output row that an input row reaches: before the first, and after the last.
    let before = (g.kernel - 1).saturating_sub(g.padding).div_ceil(g.stride);
    let after = [0, 1]
        .map(|axis| ((g.size_in[axis] - 1 + g.padding) / g.stride + 1).saturating_sub(g.size_out[axis]));
    let padded = Padded::new(g.size_out, g.channels_out, before, after);
    // Taps of a residue, descending: the output rows that they read then ascend by one each.
    let taps = |residue: usize| -> Vec<usize> {
        (0..g.kernel)
            .rev()
            .filter(|k| (residue + g.padding + g.kernel * g.stride - k).is_multiple_of(g.stride))
            .collect()
    };
    // Output row, in the padded plane, that input row `y` reads with tap `k`.
    let reads = |y: usize, k: usize| (y + g.padding + before * g.stride - k) / g.stride;
    let mut plans = Vec::new();
    for (residue_y, residue_x) in (0..g.stride).flat_map(|y| (0..g.stride).map(move |x| (y, x))) {
        let (taps_y, taps_x) = (taps(residue_y), taps(residue_x));
        let (Some(&first_y), Some(&first_x)) = (taps_y.first(), taps_x.first()) else { continue };
        let [height, width] = g.size_in;
        let pixels = || {
            (residue_y..height)
                .step_by(g.stride)
                .flat_map(move |y| (residue_x..width).step_by(g.stride).map(move |x| (y, x)))
        };
        plans.push(Plan {
            source: pixels().map(|(y, x)| padded.offset(reads(y, first_y), reads(x, first_x))).collect(),
            target: pixels().map(|(y, x)| (y * width + x) * g.channels_in).collect(),
            runs: (0..taps_y.len()).map(|row| padded.offset(row, 0)).collect(),
            run_len: taps_x.len() * g.channels_out,
            taps: taps_y.iter().map(|&ky| taps_x.iter().map(|&kx| ky * g.kernel + kx).collect()).collect(),
        });
    }
    (padded, plans)
}
