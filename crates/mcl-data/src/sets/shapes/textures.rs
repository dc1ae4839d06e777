//! Pictures without any sign: far-OOD.

use super::canvas::{Canvas, Color, Random, SIDE, SmoothNoise, coverage, mix};
use super::glyphs::disc;

/// The kinds, by label.
pub(super) const NAMES: [&str; 5] = ["blobs", "checkerboard", "gradient", "noise", "stripes"];

/// Draws a texture of kind `label`.
pub(super) fn texture(label: usize, random: &mut Random) -> Canvas {
    let mut canvas = match NAMES[label] {
        "blobs" => blobs(random),
        "checkerboard" => checkerboard(random),
        "gradient" => gradient(random),
        "noise" => noise(random),
        _ => stripes(random),
    };
    canvas.add_grain(0.03, random);
    canvas
}

fn blobs(random: &mut Random) -> Canvas {
    let base = random.color();
    let mut canvas = Canvas::fill(|_, _| base);
    for _ in 0..random.integer(10, 24) {
        let color = random.color();
        let center = (random.within(0.0, SIDE as f32), random.within(0.0, SIDE as f32));
        let (radius, softness) = (random.within(1.5, 6.0), random.within(1.0, 4.0));
        canvas.paint(color, |x, y| coverage(disc((x, y), center, radius) / softness));
    }
    canvas
}

fn checkerboard(random: &mut Random) -> Canvas {
    let (colors, waves) = (two_colors(random), [Wave::new(random), Wave::new(random)]);
    let (u, v) = (waves[0].direction, waves[0].period);
    let across = Wave { direction: (-u.1, u.0), period: v, ..waves[1] };
    Canvas::fill(|x, y| {
        let (a, b) = (waves[0].edge(x, y), across.edge(x, y));
        mix(colors[0], colors[1], a * (1.0 - b) + b * (1.0 - a))
    })
}

fn gradient(random: &mut Random) -> Canvas {
    let colors = [random.color(), random.color(), random.color()];
    let (cos, sin) = random.direction(1.0);
    let center = (random.within(0.0, SIDE as f32), random.within(0.0, SIDE as f32));
    let radial = random.integer(0, 1) == 0;
    Canvas::fill(|x, y| {
        let along = (cos * (x - center.0) + sin * (y - center.1)) / SIDE as f32;
        let t =
            if radial { (disc((x, y), center, 0.0) / 24.0).min(1.0) } else { (along + 0.5).clamp(0.0, 1.0) };
        match t < 0.5 {
            true => mix(colors[0], colors[1], 2.0 * t),
            false => mix(colors[1], colors[2], 2.0 * t - 1.0),
        }
    })
}

fn noise(random: &mut Random) -> Canvas {
    let colors = two_colors(random);
    let cells = random.integer(6, 32) as usize;
    let colored = random.within(0.0, 0.4);
    let clouds: [SmoothNoise; 4] = std::array::from_fn(|_| SmoothNoise::new(cells, random));
    Canvas::fill(|x, y| {
        let color = mix(colors[0], colors[1], 0.5 + 0.5 * clouds[3].at(x, y));
        [0, 1, 2].map(|c| color[c] + colored * clouds[c].at(x, y))
    })
}

fn stripes(random: &mut Random) -> Canvas {
    let (colors, wave) = (two_colors(random), Wave::new(random));
    let bend = SmoothNoise::new(3, random);
    let strength = random.within(0.0, 4.0);
    Canvas::fill(|x, y| {
        let shift = strength * bend.at(x, y);
        mix(colors[0], colors[1], wave.edge(x + shift, y + shift))
    })
}

fn two_colors(random: &mut Random) -> [Color; 2] {
    let first = random.color();
    // The opposite corner of the cube, roughly: always some contrast.
    [first, random.near(first.map(|channel| 1.0 - channel), 0.3)]
}

/// Bands of two values with antialiased edges.
#[derive(Clone, Copy)]
struct Wave {
    direction: (f32, f32),
    period: f32,
    phase: f32,
}

impl Wave {
    fn new(random: &mut Random) -> Self {
        Self {
            direction: random.direction(1.0),
            period: random.within(5.0, 14.0),
            phase: random.within(0.0, 1.0),
        }
    }

    /// 0 in one band, 1 in the next.
    fn edge(&self, x: f32, y: f32) -> f32 {
        let along = (self.direction.0 * x + self.direction.1 * y) / self.period + self.phase;
        let triangle = (along - along.floor() - 0.5).abs() - 0.25; // distance to the edge, in periods
        coverage(triangle * self.period)
    }
}
