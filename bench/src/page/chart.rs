//! Lines in a rectangle, as SVG.

use std::fmt::{self, Write as _};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 50.0;
/// Told apart by most eyes (Okabe and Ito, 2008).
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999933"];

/// How a value becomes a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// From 0 to the largest value.
    Linear,
    /// From the power of ten below the smallest value to the one above the largest.
    Logarithmic,
}

/// A line with its name.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// A chart; its horizontal axis is linear from 0 to the largest value.
#[derive(Debug, Clone)]
pub(super) struct Chart {
    pub(super) x_label: &'static str,
    /// Where the horizontal axis is marked, and how.
    pub(super) x_marks: Vec<(f64, String)>,
    pub(super) y_label: &'static str,
    pub(super) y_scale: Scale,
    pub(super) lines: Vec<Line>,
}

impl fmt::Display for Chart {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = || self.lines.iter().flat_map(|line| &line.points);
        let x_most = all().map(|point| point.0).fold(f64::MIN_POSITIVE, f64::max);
        let axis = Axis::new(self.y_scale, all().map(|point| point.1));
        let x = |value: f64| LEFT + (WIDTH - LEFT - RIGHT) * value / x_most;
        let y = |value: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * axis.place(value);
        let (floor, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        writeln!(text, r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">"#)?;
        for mark in axis.marks() {
            let place = y(mark);
            writeln!(text, r#"<path class="grid" d="M{LEFT} {place:.1}H{right}"/>"#)?;
            let (before, below) = (LEFT - 8.0, place + 4.0);
            writeln!(
                text,
                r#"<text x="{before}" y="{below:.1}" text-anchor="end">{}</text>"#,
                number(mark)
            )?;
        }
        for (value, mark) in self.x_marks.iter().filter(|(value, _)| *value <= x_most) {
            let (place, below) = (x(*value), floor + 18.0);
            writeln!(text, r#"<path class="grid" d="M{place:.1} {TOP}V{floor}"/>"#)?;
            writeln!(
                text,
                r#"<text x="{place:.1}" y="{below}" text-anchor="middle">{}</text>"#,
                escaped(mark)
            )?;
        }
        let (middle, bottom) = ((LEFT + right) / 2.0, HEIGHT - 10.0);
        writeln!(
            text,
            r#"<text x="{middle}" y="{bottom}" text-anchor="middle">{}</text>"#,
            escaped(self.x_label)
        )?;
        let upright = f64::midpoint(TOP, floor);
        writeln!(
            text,
            r#"<text transform="translate(16 {upright}) rotate(-90)" text-anchor="middle">{}</text>"#,
            escaped(self.y_label)
        )?;
        for ((number, line), colour) in (0_u32..).zip(&self.lines).zip(COLOURS.iter().cycle()) {
            let mut path = String::new();
            for (index, point) in line.points.iter().enumerate() {
                let verb = if index == 0 { 'M' } else { 'L' };
                write!(path, "{verb}{:.1} {:.1}", x(point.0), y(point.1))?;
            }
            writeln!(text, r#"<path class="line" stroke="{colour}" d="{path}"/>"#)?;
            let (beside, height) = (right + 12.0, TOP + 12.0 + 18.0 * f64::from(number));
            writeln!(
                text,
                r#"<text x="{beside}" y="{height}" fill="{colour}">{}</text>"#,
                escaped(&line.name)
            )?;
        }
        text.write_str("</svg>\n")
    }
}

/// The vertical axis.
struct Axis {
    scale: Scale,
    least: f64,
    most: f64,
}

impl Axis {
    fn new(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let (least, most) = values
            .filter(|value| *value > 0.0)
            .fold((f64::MAX, f64::MIN_POSITIVE), |(least, most), value| {
                (least.min(value), most.max(value))
            });
        match scale {
            Scale::Linear => {
                let step = step(most);
                Self { scale, least: 0.0, most: (most / step).ceil() * step }
            }
            Scale::Logarithmic => {
                let least = least.min(most).log10().floor();
                Self { scale, least, most: most.log10().ceil().max(least + 1.0) }
            }
        }
    }

    /// From 0 at the bottom to 1 at the top.
    fn place(&self, value: f64) -> f64 {
        let value = match self.scale {
            Scale::Linear => value,
            Scale::Logarithmic => value.max(f64::MIN_POSITIVE).log10(),
        };
        ((value - self.least) / (self.most - self.least)).clamp(0.0, 1.0)
    }

    fn marks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let step = step(self.most);
                (0..=5)
                    .map(|mark| f64::from(mark) * step)
                    .filter(|mark| *mark <= self.most)
                    .collect()
            }
            Scale::Logarithmic => {
                let powers = self.least as i32..=self.most as i32;
                powers.map(|power| 10_f64.powi(power)).collect()
            }
        }
    }
}

/// A round step that goes into the value five times at most.
fn step(most: f64) -> f64 {
    let power = 10_f64.powf((most / 5.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|round| round * power)
        .into_iter()
        .find(|step| step * 5.0 >= most)
        .unwrap_or(most)
}

fn number(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{} M", value / 1e6),
        value if value >= 1e3 => format!("{} k", value / 1e3),
        value => value.to_string(),
    }
}

/// Text as HTML and SVG take it.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scale: Scale, values: &[f64], expected: &[f64]) {
        let axis = Axis::new(scale, values.iter().copied());
        let marks = axis.marks();
        assert_eq!(marks.len(), expected.len(), "{marks:?}");
        assert!(
            marks.iter().zip(expected).all(|(one, other)| (one - other).abs() < 1e-6),
            "{marks:?}"
        );
        assert!(values.iter().all(|value| (0.0..=1.0).contains(&axis.place(*value))));
    }

    #[test]
    fn an_axis_is_marked_at_round_values_that_enclose_all() {
        check(Scale::Linear, &[3.0, 47.0], &[0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
        check(Scale::Linear, &[900.0], &[0.0, 200.0, 400.0, 600.0, 800.0, 1000.0]);
        check(Scale::Logarithmic, &[30.0, 4700.0], &[10.0, 100.0, 1000.0, 10_000.0]);
        check(Scale::Logarithmic, &[100.0], &[100.0, 1000.0]);
    }

    #[test]
    fn a_name_cannot_break_out_of_the_page() {
        let line = Line { name: "<script>\"&".to_owned(), points: vec![(0.0, 1.0), (1.0, 2.0)] };
        let chart = Chart {
            x_label: "x",
            x_marks: Vec::new(),
            y_label: "y",
            y_scale: Scale::Linear,
            lines: vec![line],
        };
        let text = chart.to_string();
        assert!(text.contains("&lt;script&gt;&quot;&amp;") && !text.contains("<script>"), "{text}");
    }
}
