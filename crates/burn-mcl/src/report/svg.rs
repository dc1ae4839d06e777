//! Charts as SVG: axes with round ticks, lines, bars and marks. Colours are classes of the page's style
//! sheet, which knows light and dark.

use std::fmt::Write;

use super::text::escape;

/// Size of every chart, in the units of its labels' type size (12): it is scaled to the page.
const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;

/// Colours, lines and marks of a chart, for light and dark.
const CHART_STYLE: &str = include_str!("chart.css");

/// What a mark stands for: its form and colour tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// A class of normal images: filled, in four forms and eight colours.
    Class(usize),
    /// A set of anomalies: crosses, standing and leaning.
    Anomaly(usize),
}

/// One axis: what is drawn from where to where.
pub(super) struct Axis {
    pub(super) label: String,
    pub(super) range: (f64, f64),
    /// Where, and the text.
    pub(super) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// With ticks at round numbers.
    pub(super) fn linear(label: &str, (low, high): (f64, f64)) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        let step = round_step((high - low) / 5.0);
        let digits = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
        let first = (low / step).ceil() as i64;
        let ticks = (first..).map(|i| i as f64 * step).take_while(|tick| *tick <= high + 1e-9 * step);
        let text = |tick: f64| {
            let text = if tick.abs() >= 1e6 { format!("{tick:.1e}") } else { format!("{tick:.digits$}") };
            text.replace('-', "−")
        };
        let ticks = ticks.take(12).map(|tick| (tick, text(tick))).collect();
        Self { label: label.into(), range: (low, high), ticks }
    }

    /// 0% to 100%.
    pub(super) fn share(label: &str) -> Self {
        let ticks = (0..=5).map(|i| (f64::from(i) / 5.0, format!("{}%", 20 * i))).collect();
        Self { label: label.into(), range: (0.0, 1.0), ticks }
    }

    /// Without ticks: only what lies beside what has a meaning.
    pub(super) fn bare(label: &str, range: (f64, f64)) -> Self {
        Self { label: label.into(), range, ticks: Vec::new() }
    }
}

/// The 1, 2 or 5 times a power of ten that is nearest above.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let digit = [1.0, 2.0, 5.0, 10.0].into_iter().find(|digit| digit * power >= step * 0.999);
    digit.unwrap_or(10.0) * power
}

/// A chart that is being drawn.
pub(super) struct Chart {
    x: Axis,
    y: Axis,
    body: String,
}

impl Chart {
    pub(super) fn new(x: Axis, y: Axis) -> Self {
        Self { x, y, body: String::new() }
    }

    fn px(&self, x: f64) -> f64 {
        let (low, high) = self.x.range;
        LEFT + ((x - low) / (high - low)).clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn py(&self, y: f64) -> f64 {
        let (low, high) = self.y.range;
        HEIGHT - BOTTOM - ((y - low) / (high - low)).clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
    }

    /// A line through points, in the colours and dashes of series `series`.
    pub(super) fn line(&mut self, points: &[(f64, f64)], series: usize, class: &str) {
        if points.is_empty() {
            return;
        }
        let mut path = String::new();
        for (i, &(x, y)) in points.iter().enumerate() {
            let command = if i == 0 { 'M' } else { 'L' };
            write!(path, "{command}{:.1} {:.1}", self.px(x), self.py(y)).expect("a string takes it");
        }
        writeln!(self.body, r#"<path class="line s{} {class}" d="{path}"/>"#, series % 8)
            .expect("a string takes it");
    }

    /// A bar from the bottom up to `height`.
    pub(super) fn bar(&mut self, (left, width): (f64, f64), height: f64, series: usize) {
        let (x, right, y) = (self.px(left), self.px(left + width), self.py(height));
        let bottom = HEIGHT - BOTTOM;
        writeln!(
            self.body,
            r#"<rect class="bar s{}" x="{x:.1}" y="{y:.1}" width="{:.1}" height="{:.1}"/>"#,
            series % 8,
            (right - x).max(0.0),
            (bottom - y).max(0.0)
        )
        .expect("a string takes it");
    }

    /// A mark; `title` is shown when it is pointed at.
    pub(super) fn mark(&mut self, (x, y): (f64, f64), mark: Mark, title: &str) {
        let title = format!("<title>{}</title>", escape(title));
        writeln!(self.body, "{}", shape(mark, self.px(x), self.py(y), &title)).expect("a string takes it");
    }

    /// A circle in the colour of series `series`; `title` is shown when it is pointed at.
    pub(super) fn point(&mut self, (x, y): (f64, f64), series: usize, title: &str) {
        let (x, y, series) = (self.px(x), self.py(y), series % 8);
        let title = escape(title);
        writeln!(
            self.body,
            r#"<circle class="point s{series}" cx="{x:.1}" cy="{y:.1}" r="4.5"><title>{title}</title></circle>"#
        )
        .expect("a string takes it");
    }

    /// A vertical line with a word beside it.
    pub(super) fn rule(&mut self, x: f64, text: &str) {
        let x = self.px(x);
        let (anchor, shift) = if x > WIDTH * 0.7 { ("end", -4.0) } else { ("start", 4.0) };
        writeln!(
            self.body,
            r#"<path class="rule" d="M{x:.1} {TOP}V{:.1}"/><text class="ruled" x="{:.1}" y="{:.1}" text-anchor="{anchor}">{}</text>"#,
            HEIGHT - BOTTOM,
            x + shift,
            TOP + 10.0,
            escape(text)
        )
        .expect("a string takes it");
    }

    /// The chart, named for those who do not see it.
    pub(super) fn finish(self, title: &str, description: &str) -> String {
        let mut out = format!(
            r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}. {}">"#,
            escape(title),
            escape(description)
        );
        let mut put = |text: std::fmt::Arguments| out.write_fmt(text).expect("a string takes it");
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for (tick, text) in &self.x.ticks {
            let x = self.px(*tick);
            put(format_args!(r#"<path class="grid" d="M{x:.1} {TOP}V{bottom}"/>"#));
            put(format_args!(
                r#"<text x="{x:.1}" y="{:.1}" text-anchor="middle">{text}</text>"#,
                bottom + 16.0
            ));
        }
        for (tick, text) in &self.y.ticks {
            let y = self.py(*tick);
            put(format_args!(r#"<path class="grid" d="M{LEFT} {y:.1}H{right}"/>"#));
            put(format_args!(
                r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{text}</text>"#,
                LEFT - 6.0,
                y + 4.0
            ));
        }
        if !(self.x.ticks.is_empty() && self.y.ticks.is_empty()) {
            put(format_args!(r#"<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}"/>"#));
        }
        let middle = f64::midpoint(LEFT, right);
        put(format_args!(
            r#"<text x="{middle}" y="{:.1}" text-anchor="middle">{}</text>"#,
            HEIGHT - 8.0,
            escape(&self.x.label)
        ));
        let (x, y) = (14.0, f64::midpoint(TOP, bottom));
        put(format_args!(
            r#"<text x="{x}" y="{y}" text-anchor="middle" transform="rotate(-90 {x} {y})">{}</text>"#,
            escape(&self.y.label)
        ));
        out.push('\n');
        out.push_str(&self.body);
        out.push_str("</svg>");
        out
    }
}

/// The mark at (x, y). Series that share a colour differ in form, so colours are not needed to tell them
/// apart.
fn shape(mark: Mark, x: f64, y: f64, inside: &str) -> String {
    let (class, path) = match mark {
        Mark::Class(i) => {
            let class = format!("mark s{}", i % 8);
            let path = match (i + i / 8) % 4 {
                0 => {
                    return format!(
                        r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="2.8">{inside}</circle>"#
                    );
                }
                1 => format!("M{:.1} {:.1}h5v5h-5z", x - 2.5, y - 2.5),
                2 => format!("M{:.1} {:.1}l3.2 5.6h-6.4z", x, y - 3.4),
                _ => format!("M{:.1} {:.1}l3.6 3.6l-3.6 3.6l-3.6 -3.6z", x, y - 3.6),
            };
            (class, path)
        }
        Mark::Anomaly(i) if i % 2 == 0 => {
            ("cross".into(), format!("M{:.1} {:.1}l5 5m-5 0l5 -5", x - 2.5, y - 2.5))
        }
        Mark::Anomaly(_) => ("cross".into(), format!("M{:.1} {y:.1}h6m-3 -3v6", x - 3.0)),
    };
    format!(r#"<path class="{class}" d="{path}">{inside}</path>"#)
}

/// A file of its own: the chart with its colours and its legend, on a page of its own.
pub(super) fn standalone(chart: &str, names: &[String]) -> String {
    const LINE: f64 = 18.0;
    let (width, height) = (WIDTH, HEIGHT + LINE * names.len() as f64 + 6.0);
    let mut out = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{}" height="{}">
<style>
svg {{ font: 12px system-ui, "Segoe UI", Arial, sans-serif; }}
{CHART_STYLE}</style>
<rect width="{width}" height="{height}" style="fill: var(--back)"/>
<svg width="{WIDTH}" height="{HEIGHT}">{chart}</svg>
"#,
        1.5 * width,
        1.5 * height
    );
    for (series, name) in names.iter().enumerate() {
        let y = HEIGHT + LINE * (series as f64 + 0.5);
        writeln!(
            out,
            r#"<path class="line s{}" d="M{LEFT} {y}h28"/><text x="{}" y="{}">{}</text>"#,
            series % 8,
            LEFT + 36.0,
            y + 4.0,
            escape(name)
        )
        .expect("a string takes it");
    }
    out.push_str("</svg>\n");
    out
}

/// What the marks mean, as HTML.
pub(super) fn mark_legend(names: &[(Mark, String)]) -> String {
    legend(names.iter().map(|(mark, name)| (shape(*mark, 12.0, 8.0, ""), name.as_str())))
}

/// What the lines mean, as HTML: series 0, 1, ...
pub(super) fn line_legend(names: &[String]) -> String {
    let sample = |i: usize| format!(r#"<path class="line s{}" d="M0 8H24"/>"#, i % 8);
    legend(names.iter().enumerate().map(|(i, name)| (sample(i), name.as_str())))
}

fn legend<'a>(entries: impl Iterator<Item = (String, &'a str)>) -> String {
    let entry = |(sample, name): (String, &str)| {
        format!(
            r#"<li><svg class="sample" viewBox="0 0 24 16" width="24" height="16" aria-hidden="true">{sample}</svg>{}</li>"#,
            escape(name)
        )
    };
    format!(r#"<ul class="legend">{}</ul>"#, entries.map(entry).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        let ticks = |low, high| -> Vec<String> {
            Axis::linear("", (low, high)).ticks.into_iter().map(|tick| tick.1).collect()
        };
        assert_eq!(ticks(0.0, 10.0), ["0", "2", "4", "6", "8", "10"]);
        assert_eq!(ticks(-0.31, 0.32), ["−0.2", "0.0", "0.2"]);
        assert_eq!(ticks(3.0, 3.0).first().map(String::as_str), Some("3.0"));
        assert!(ticks(0.0, 1e9).len() < 13);
    }

    #[test]
    fn what_is_outside_is_drawn_at_the_edge() {
        let mut chart = Chart::new(Axis::share("x"), Axis::share("y"));
        chart.line(&[(-1.0, 2.0), (0.5, 0.5)], 0, "");
        let svg = chart.finish("A <title>", "text");
        assert!(svg.contains("M52.0 12.0L"), "{svg}");
        assert!(svg.contains("A &lt;title&gt;") && !svg.contains("NaN"));
    }
}
