//! One picture of a sign: a cluttered background, the sign at a random place, size, tilt and color, a scratch over it.

use super::canvas::{Canvas, Color, Random, SIDE, SmoothNoise, coverage, luminance, mix};
use super::glyphs::{Glyph, Point, disc, segment};

/// Half the size of a sign, in pixels.
const HALF_SIZE: (f32, f32) = (9.5, 14.0);
/// Tangent of half the largest tilt: 14 degrees.
const TILT: f32 = 0.125;
/// Brightest base of a background, 0..=1.
const DARKNESS: f32 = 0.55;
/// How much brighter than its background a sign is at least, 0..=1.
const CONTRAST: f32 = 0.28;

/// Draws `glyph`.
pub(super) fn sign(glyph: &Glyph, random: &mut Random) -> Canvas {
    let mut canvas = background(random);
    let color = standing_out(canvas.mean_luminance(), random);
    let placed = Placement::new(random);
    canvas.paint(color, |x, y| coverage(placed.distance(glyph, (x, y))));
    if random.integer(0, 2) == 0 {
        let scratch = random.color();
        let (a, b) = (anywhere(random), anywhere(random));
        canvas.paint(scratch, |x, y| 0.6 * coverage(segment((x, y), a, b, 0.4)));
    }
    canvas.add_grain(0.03, random);
    canvas
}

/// Half dark: a gradient between four corners, clouds of two sizes, and pieces of lines and discs of little contrast.
fn background(random: &mut Random) -> Canvas {
    let base = random.color().map(|channel| DARKNESS * channel);
    let corners: [Color; 4] = std::array::from_fn(|_| random.near(base, 0.25));
    let (coarse, fine) = (SmoothNoise::new(3, random), SmoothNoise::new(9, random));
    let (coarse_strength, fine_strength) = (random.within(0.0, 0.15), random.within(0.0, 0.12));
    let mut canvas = Canvas::fill(|x, y| {
        let (s, t) = (x / SIDE as f32, y / SIDE as f32);
        let color = mix(mix(corners[0], corners[1], s), mix(corners[2], corners[3], s), t);
        let clouds = coarse_strength * coarse.at(x, y) + fine_strength * fine.at(x, y);
        color.map(|channel| channel + clouds)
    });
    for _ in 0..random.integer(3, 7) {
        let color = random.near(base, 0.5);
        let opacity = random.within(0.25, 0.6);
        let start = anywhere(random);
        if random.integer(0, 2) == 0 {
            let radius = random.within(1.5, 5.0);
            canvas.paint(color, |x, y| opacity * coverage(disc((x, y), start, radius)));
        } else {
            let end = (start.0 + random.within(-14.0, 14.0), start.1 + random.within(-14.0, 14.0));
            let half_width = random.within(0.4, 1.4);
            canvas.paint(color, |x, y| opacity * coverage(segment((x, y), start, end, half_width)));
        }
    }
    canvas
}

/// A random color brighter than the background.
///
/// Always brighter: signs that could be darker as well take a small network several times as long to learn.
fn standing_out(background: f32, random: &mut Random) -> Color {
    for _ in 0..20 {
        let color = random.color();
        if luminance(color) - background > CONTRAST {
            return color;
        }
    }
    [0.95; 3]
}

fn anywhere(random: &mut Random) -> Point {
    (random.within(0.0, SIDE as f32), random.within(0.0, SIDE as f32))
}

/// Where a sign is: from pixels to its box.
struct Placement {
    center: Point,
    half: Point,
    direction: (f32, f32),
}

impl Placement {
    fn new(random: &mut Random) -> Self {
        let half = random.within(HALF_SIZE.0, HALF_SIZE.1);
        let stretch = random.within(0.88, 1.12);
        let half = ((half * stretch).min(HALF_SIZE.1), (half / stretch).min(HALF_SIZE.1));
        let middle = SIDE as f32 / 2.0;
        // A sign may touch the border, not leave it by more than its tilted corners.
        let room = |half: f32| middle - half - 1.0;
        let center = (
            middle + random.within(-room(half.0), room(half.0)),
            middle + random.within(-room(half.1), room(half.1)),
        );
        Self { center, half, direction: random.direction(TILT) }
    }

    /// Distance of a pixel to the outline, in pixels (nearly: the stretch is small).
    fn distance(&self, glyph: &Glyph, (x, y): Point) -> f32 {
        let (dx, dy) = (x - self.center.0, y - self.center.1);
        let (cos, sin) = self.direction;
        let in_box = ((cos * dx + sin * dy) / self.half.0, (cos * dy - sin * dx) / self.half.1);
        (glyph.distance)(in_box) * self.half.0.min(self.half.1)
    }
}
