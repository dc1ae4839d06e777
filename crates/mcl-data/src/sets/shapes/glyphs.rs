//! The signs that the shapes set is made of, as signed distances: negative inside, in a box from -1 to 1, y down.
//!
//! A sign of the training classes must not look the same after a turn by 90, 180 or 270 degrees, mirrored or not:
//! otherwise its rotations could not be told apart once images are flipped. So none has such a symmetry.

/// A point of the sign's box.
pub(super) type Point = (f32, f32);

/// The shape of one class.
pub(super) struct Glyph {
    pub(super) name: &'static str,
    /// Signed distance of a point to the outline.
    pub(super) distance: fn(Point) -> f32,
}

/// The classes of the training and test images.
pub(super) const CLASSES: [Glyph; 10] = [
    Glyph { name: "arrow", distance: arrow },
    Glyph { name: "dome", distance: dome },
    Glyph { name: "eff", distance: eff },
    Glyph { name: "ell", distance: ell },
    Glyph { name: "flag", distance: flag },
    Glyph { name: "fork", distance: fork },
    Glyph { name: "house", distance: house },
    Glyph { name: "tee", distance: tee },
    Glyph { name: "triangle", distance: triangle },
    Glyph { name: "umbrella", distance: umbrella },
];

/// Signs of the same style that training never shows: near-OOD.
pub(super) const UNSEEN: [Glyph; 8] = [
    Glyph { name: "boat", distance: boat },
    Glyph { name: "cup", distance: cup },
    Glyph { name: "drop", distance: drop },
    Glyph { name: "heart", distance: heart },
    Glyph { name: "key", distance: key },
    Glyph { name: "mushroom", distance: mushroom },
    Glyph { name: "seven", distance: seven },
    Glyph { name: "wye", distance: wye },
];

/// Half the width of a stroke.
const PEN: f32 = 0.17;

fn arrow(p: Point) -> f32 {
    stroke(p, &[(0.0, 0.8), (0.0, -0.4)]).min(polygon(p, &[(0.0, -1.0), (0.7, -0.2), (-0.7, -0.2)]))
}

fn dome(p: Point) -> f32 {
    disc(p, (0.0, 0.45), 0.95).max(p.1 - 0.45)
}

fn eff(p: Point) -> f32 {
    stroke(p, &[(-0.4, 0.83), (-0.4, -0.8), (0.55, -0.8)]).min(stroke(p, &[(-0.4, -0.1), (0.35, -0.1)]))
}

fn ell(p: Point) -> f32 {
    stroke(p, &[(-0.35, -0.83), (-0.35, 0.8), (0.5, 0.8)])
}

fn flag(p: Point) -> f32 {
    segment(p, (-0.5, -0.88), (-0.5, 0.88), 0.11)
        .min(polygon(p, &[(-0.5, -0.95), (0.8, -0.45), (-0.5, 0.05)]))
}

fn fork(p: Point) -> f32 {
    stroke(p, &[(-0.62, -0.8), (-0.62, 0.05), (0.62, 0.05), (0.62, -0.8)])
        .min(stroke(p, &[(0.0, -0.8), (0.0, 0.83)]))
}

fn house(p: Point) -> f32 {
    let walls = polygon(p, &[(-0.72, 0.9), (-0.72, -0.1), (0.0, -0.95), (0.72, -0.1), (0.72, 0.9)]);
    let door = polygon(p, &[(-0.22, 1.0), (-0.22, 0.25), (0.22, 0.25), (0.22, 1.0)]);
    walls.max(-door)
}

fn tee(p: Point) -> f32 {
    stroke(p, &[(-0.7, -0.77), (0.7, -0.77)]).min(stroke(p, &[(0.0, -0.77), (0.0, 0.83)]))
}

fn triangle(p: Point) -> f32 {
    polygon(p, &[(0.0, -0.98), (0.72, 0.85), (-0.72, 0.85)])
}

fn umbrella(p: Point) -> f32 {
    let cloth = disc(p, (0.0, 0.0), 0.9).max(p.1);
    cloth.min(chain(p, &[(0.0, 0.0), (0.0, 0.72), (0.12, 0.87), (0.3, 0.87), (0.4, 0.68)], 0.11))
}

fn boat(p: Point) -> f32 {
    let hull = polygon(p, &[(-0.95, 0.35), (0.95, 0.35), (0.55, 0.85), (-0.55, 0.85)]);
    hull.min(polygon(p, &[(-0.05, 0.2), (-0.05, -0.95), (0.7, 0.2)])).min(segment(
        p,
        (-0.15, -0.85),
        (-0.15, 0.4),
        0.08,
    ))
}

fn cup(p: Point) -> f32 {
    stroke(p, &[(-0.6, -0.8), (-0.6, 0.4), (-0.25, 0.8), (0.25, 0.8), (0.6, 0.4), (0.6, -0.8)])
}

fn drop(p: Point) -> f32 {
    disc(p, (0.0, 0.35), 0.6).min(polygon(p, &[(0.0, -1.0), (0.56, 0.15), (-0.56, 0.15)]))
}

fn heart(p: Point) -> f32 {
    let lobes = disc(p, (-0.42, -0.4), 0.47).min(disc(p, (0.42, -0.4), 0.47));
    lobes.min(polygon(p, &[(0.0, -0.45), (0.84, -0.19), (0.0, 0.92), (-0.84, -0.19)]))
}

fn key(p: Point) -> f32 {
    let bow = disc(p, (0.0, -0.5), 0.45).max(-disc(p, (0.0, -0.5), 0.2));
    let teeth = segment(p, (0.0, 0.4), (0.35, 0.4), 0.11).min(segment(p, (0.0, 0.8), (0.35, 0.8), 0.11));
    bow.min(segment(p, (0.0, -0.1), (0.0, 0.85), 0.12)).min(teeth)
}

fn mushroom(p: Point) -> f32 {
    let cap = disc(p, (0.0, 0.0), 0.9).max(p.1);
    cap.min(polygon(p, &[(-0.3, -0.1), (0.3, -0.1), (0.38, 0.9), (-0.38, 0.9)]))
}

fn seven(p: Point) -> f32 {
    stroke(p, &[(-0.6, -0.77), (0.6, -0.77), (-0.15, 0.83)])
}

fn wye(p: Point) -> f32 {
    stroke(p, &[(-0.62, -0.8), (0.0, 0.0), (0.62, -0.8)]).min(stroke(p, &[(0.0, 0.0), (0.0, 0.83)]))
}

fn stroke(p: Point, points: &[Point]) -> f32 {
    chain(p, points, PEN)
}

/// Segments joined end to end.
pub(super) fn chain(p: Point, points: &[Point], half_width: f32) -> f32 {
    points.windows(2).map(|ends| segment(p, ends[0], ends[1], half_width)).fold(f32::INFINITY, f32::min)
}

pub(super) fn segment(p: Point, a: Point, b: Point, half_width: f32) -> f32 {
    let nearest = nearest_on_segment(p, a, b);
    length((p.0 - nearest.0, p.1 - nearest.1)) - half_width
}

pub(super) fn disc(p: Point, center: Point, radius: f32) -> f32 {
    length((p.0 - center.0, p.1 - center.1)) - radius
}

fn polygon(p: Point, corners: &[Point]) -> f32 {
    let mut distance = f32::INFINITY;
    let mut inside = false;
    for (i, &a) in corners.iter().enumerate() {
        let b = corners[(i + 1) % corners.len()];
        distance = distance.min(segment(p, a, b, 0.0));
        // A ray to the right crosses an odd number of edges from inside.
        if (a.1 > p.1) != (b.1 > p.1) && p.0 < a.0 + (p.1 - a.1) / (b.1 - a.1) * (b.0 - a.0) {
            inside = !inside;
        }
    }
    if inside { -distance } else { distance }
}

fn nearest_on_segment(p: Point, a: Point, b: Point) -> Point {
    let (ab, ap) = ((b.0 - a.0, b.1 - a.1), (p.0 - a.0, p.1 - a.1));
    let t = ((ap.0 * ab.0 + ap.1 * ab.1) / (ab.0 * ab.0 + ab.1 * ab.1)).clamp(0.0, 1.0);
    (a.0 + t * ab.0, a.1 + t * ab.1)
}

fn length(v: Point) -> f32 {
    (v.0 * v.0 + v.1 * v.1).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = 48;

    /// Which points of a grid over the box are inside.
    fn mask(glyph: &Glyph) -> Vec<bool> {
        let at = |i: usize| (2.0 * i as f32 + 1.0) / SIDE as f32 - 1.0;
        (0..SIDE * SIDE).map(|i| (glyph.distance)((at(i % SIDE), at(i / SIDE))) < 0.0).collect()
    }

    fn turned(mask: &[bool]) -> Vec<bool> {
        (0..SIDE * SIDE).map(|i| mask[(SIDE - 1 - i % SIDE) * SIDE + i / SIDE]).collect()
    }

    fn mirrored(mask: &[bool]) -> Vec<bool> {
        (0..SIDE * SIDE).map(|i| mask[i / SIDE * SIDE + SIDE - 1 - i % SIDE]).collect()
    }

    /// Area in both over area in either, at the best of small shifts.
    fn overlap(a: &[bool], b: &[bool]) -> f64 {
        let at = |mask: &[bool], x: isize, y: isize| {
            let inside = 0..SIDE as isize;
            inside.contains(&x) && inside.contains(&y) && mask[y as usize * SIDE + x as usize]
        };
        let mut best = 0.0f64;
        for (dx, dy) in (-9..=9).step_by(3).flat_map(|dx| (-9..=9).step_by(3).map(move |dy| (dx, dy))) {
            let (mut both, mut either) = (0, 0);
            for i in 0..(SIDE * SIDE) as isize {
                let (x, y) = (i % SIDE as isize, i / SIDE as isize);
                let (in_a, in_b) = (at(a, x, y), at(b, x + dx, y + dy));
                both += i32::from(in_a && in_b);
                either += i32::from(in_a || in_b);
            }
            best = best.max(f64::from(both) / f64::from(either));
        }
        best
    }

    /// The eight ways to turn and mirror.
    fn orientations(upright: &[bool]) -> Vec<Vec<bool>> {
        let mut all = vec![upright.to_vec()];
        for turn in 0..3 {
            all.push(turned(&all[turn]));
        }
        all.extend(all.clone().iter().map(|mask| mirrored(mask)));
        all
    }

    #[test]
    fn a_turn_changes_every_class_even_with_a_flip() {
        for glyph in &CLASSES {
            let upright = mask(glyph);
            let all = orientations(&upright);
            for orientation in [1, 2, 3, 5, 6, 7] {
                let overlap = overlap(&upright, &all[orientation]);
                assert!(
                    overlap < 0.8,
                    "{} looks like itself in orientation {orientation}: {overlap}",
                    glyph.name
                );
            }
        }
    }

    #[test]
    fn no_sign_looks_like_another_in_any_orientation() {
        let signs: Vec<&Glyph> = CLASSES.iter().chain(&UNSEEN).collect();
        let masks: Vec<Vec<bool>> = signs.iter().map(|glyph| mask(glyph)).collect();
        for (i, a) in masks.iter().enumerate() {
            for (j, b) in masks.iter().enumerate().take(i) {
                for orientation in orientations(b) {
                    let overlap = overlap(a, &orientation);
                    assert!(overlap < 0.8, "{} and {}: {overlap}", signs[i].name, signs[j].name);
                }
            }
        }
    }

    #[test]
    fn signs_fill_their_box_but_stay_inside() {
        for glyph in CLASSES.iter().chain(&UNSEEN) {
            let edge = (0..400).map(|i| (i as f32 / 200.0 - 1.0) * 1.02);
            assert!(
                edge.flat_map(|t| [(t, -1.02), (t, 1.02), (-1.02, t), (1.02, t)])
                    .all(|p| (glyph.distance)(p) > 0.0),
                "{} leaves its box",
                glyph.name
            );
            let mask = mask(glyph);
            let filled = |at: fn(usize, usize) -> usize| {
                (0..SIDE).filter(|&i| (0..SIDE).any(|j| mask[at(i, j)])).count() as f32 / SIDE as f32
            };
            let (height, width) = (filled(|i, j| i * SIDE + j), filled(|i, j| j * SIDE + i));
            assert!(height.max(width) > 0.85 && height.min(width) > 0.4, "{}: {height} {width}", glyph.name);
        }
    }
}
