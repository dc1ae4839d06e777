//! The views of the images ([`TestTimeViews`]) as nodes.

use mcl_infer::TestTimeViews;

use super::error::ExportError;
use super::graph::{Graph, Value, int, word};

/// Where a slice that runs backwards ends: before the first value.
const BEFORE_FIRST: i64 = i64::MIN;

/// `[n, 3, h, w] -> [views * n, 3, h, w]`: all images in the first view, then all in the second.
pub(super) fn expand(
    graph: &mut Graph,
    views: TestTimeViews,
    size: (usize, usize),
    images: &Value,
) -> Result<Value, ExportError> {
    graph.scope("views");
    let views = match views {
        TestTimeViews::Identity => return Ok(images.clone()),
        TestTimeViews::Rotations => rotations(graph, images).to_vec(),
        TestTimeViews::RotationsAndFlips => {
            let mirrored = flip(graph, images, &[3]);
            [rotations(graph, images), rotations(graph, &mirrored)].concat()
        }
        TestTimeViews::Flips => vec![images.clone(), flip(graph, images, &[3])],
        TestTimeViews::FlipsAndShifts => {
            let both = [images.clone(), flip(graph, images, &[3])];
            let moved =
                |graph: &mut Graph, start| both.each_ref().map(|view| shift(graph, view, size, start));
            let (forward, back) = (moved(graph, 0), moved(graph, 2));
            [both, forward, back].concat()
        }
        other => return Err(ExportError::Unsupported { setting: "views", value: format!("{other:?}") }),
    };
    let views: Vec<&Value> = views.iter().collect();
    Ok(graph.node("Concat", &views, vec![int("axis", 0)]))
}

/// By 0, 90, 180 and 270 degrees counterclockwise.
fn rotations(graph: &mut Graph, images: &Value) -> [Value; 4] {
    let (across, both, down) =
        (flip(graph, images, &[3]), flip(graph, images, &[2, 3]), flip(graph, images, &[2]));
    let swap = |graph: &mut Graph, images| graph.transpose(images, &[0, 1, 3, 2]);
    [images.clone(), swap(graph, &across), both, swap(graph, &down)]
}

fn flip(graph: &mut Graph, images: &Value, axes: &[i64]) -> Value {
    let [starts, ends, steps] = [-1, BEFORE_FIRST, -1].map(|value| graph.ints(&vec![value; axes.len()]));
    let axes = graph.ints(axes);
    graph.node("Slice", &[images, &starts, &ends, &axes, &steps], vec![])
}

/// Moved by one pixel down and to the right (`start` 0), or up and to the left (2): a window of the images, reflected at their
/// border. An axis of one pixel stays as it is.
fn shift(graph: &mut Graph, images: &Value, (height, width): (usize, usize), start: i64) -> Value {
    let moved: Vec<(i64, i64)> =
        [(2, height as i64), (3, width as i64)].into_iter().filter(|&(_, length)| length > 1).collect();
    if moved.is_empty() {
        return images.clone();
    }
    let mut pads = [0; 8];
    for &(axis, _) in &moved {
        pads[axis as usize] = 1;
        pads[4 + axis as usize] = 1;
    }
    let pads = graph.ints(&pads);
    let padded = graph.node("Pad", &[images, &pads], vec![word("mode", "reflect")]);
    let starts = graph.ints(&vec![start; moved.len()]);
    let ends = graph.ints(&moved.iter().map(|&(_, length)| start + length).collect::<Vec<_>>());
    let axes = graph.ints(&moved.iter().map(|&(axis, _)| axis).collect::<Vec<_>>());
    graph.node("Slice", &[&padded, &starts, &ends, &axes], vec![])
}
