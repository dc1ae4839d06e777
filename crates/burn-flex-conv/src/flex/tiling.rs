//! When Winograd's method applies, and where its tiles lie in the images.

use super::geometry::{Geometry, Padded};

/// Elements of a transformed tile.
pub(super) const ELEMENTS: usize = 16;
/// Channels must be a multiple of this: whole vectors on any machine.
const CHANNELS: usize = 16;
/// With fewer channels the transformations cost more than the multiplications saved.
const LEAST_CHANNELS: usize = 32;

/// Whether this convolution can be done this way.
pub(super) fn applies(g: &Geometry) -> bool {
    g.kernel == 3
        && g.stride == 1
        && g.padding <= 2
        && [g.channels_in, g.channels_out]
            .iter()
            .all(|&channels| channels >= LEAST_CHANNELS && channels.is_multiple_of(CHANNELS))
        && g.size_out.iter().all(|&size| size > 1)
}

/// 2 x 2 tiles of the target of a correlation with a padded source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tiling {
    /// Padded source; its plane has two rows and columns more than the tiles.
    pub(super) source: Padded,
    pub(super) channels_source: usize,
    pub(super) channels_target: usize,
    pub(super) target: [usize; 2],
}

impl Tiling {
    pub(super) fn forward(g: &Geometry) -> Self {
        Self::new(g.size_in, g.channels_in, g.padding, g.size_out, g.channels_out)
    }

    pub(super) fn input_gradient(g: &Geometry) -> Self {
        Self::new(g.size_out, g.channels_out, 2 - g.padding, g.size_in, g.channels_in)
    }

    fn new(
        source: [usize; 2],
        channels_source: usize,
        before: usize,
        target: [usize; 2],
        channels_target: usize,
    ) -> Self {
        let after = [0, 1].map(|axis| 2 * target[axis].div_ceil(2) + 2 - before - source[axis]);
        let source = Padded::new(source, channels_source, before, after);
        Self { source, channels_source, channels_target, target }
    }

    fn tiles(&self) -> [usize; 2] {
        self.target.map(|size| size.div_ceil(2))
    }

    /// Tiles of an image.
    pub(super) fn per_image(&self) -> usize {
        self.tiles().iter().product()
    }

    /// Where the tiles of a group of images are, in order.
    pub(super) fn origins(&self) -> TileOrigins {
        let [height, width] = self.tiles().map(|tiles| 2 * tiles);
        TileOrigins { height, width, image: 0, y: 0, x: 0 }
    }
}

/// Image, row and column of the first target pixel of each tile, image by image and row by row.
#[derive(Debug, Clone)]
pub(super) struct TileOrigins {
    height: usize,
    width: usize,
    image: usize,
    y: usize,
    x: usize,
}

impl Iterator for TileOrigins {
    type Item = [usize; 3];

    #[inline(always)]
    fn next(&mut self) -> Option<[usize; 3]> {
        let origin = [self.image, self.y, self.x];
        self.x += 2;
        if self.x == self.width {
            (self.x, self.y) = (0, self.y + 2);
            if self.y == self.height {
                (self.y, self.image) = (0, self.image + 1);
            }
        }
        Some(origin)
    }
}
