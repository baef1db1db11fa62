//! Line charts as SVG, without any library: what is in a report must be seen in any browser.

use std::fmt::Write as _;

/// How an axis is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly, from zero.
    Linear,
    /// By powers of ten.
    Log,
}

/// One line of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// What it is, for the legend.
    pub name: String,
    /// Its points, in the order of their first coordinate.
    pub points: Vec<(f64, f64)>,
}

/// A chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// The horizontal axis: what it is, and its scale.
    pub x: (String, Scale),
    /// The vertical axis.
    pub y: (String, Scale),
    /// Its lines.
    pub curves: Vec<Curve>,
}

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 200.0;
const TOP: f64 = 52.0;
const BOTTOM: f64 = 58.0;
/// Colours that also those tell apart who see red and green alike (Okabe and Ito).
const COLOURS: [&str; 8] =
    ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F"];

/// An axis with its ends and where its ticks are.
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

impl Axis {
    fn new(scale: Scale, values: impl Iterator<Item = f64> + Clone) -> Self {
        let high = values.clone().fold(f64::NEG_INFINITY, f64::max);
        match scale {
            Scale::Linear => {
                let high = if high > 0.0 { high * 1.05 } else { 1.0 };
                let step = step(high / 5.0);
                let count = (high / step).floor() as u32;
                let ticks = (0..=count).map(|tick| f64::from(tick) * step).collect();
                Self { scale, low: 0.0, high, ticks }
            }
            Scale::Log => {
                let least = values.filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
                let (least, high) = if least <= high { (least, high) } else { (1.0, 10.0) };
                let (first, last) = (least.log10().floor() as i32, high.log10().ceil() as i32);
                let last = last.max(first + 1);
                let ticks = (first..=last).map(|power| 10f64.powi(power)).collect();
                Self { scale, low: 10f64.powi(first), high: 10f64.powi(last), ticks }
            }
        }
    }

    /// Where a value is, 0 to 1.
    fn place(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => {
                let log = |value: f64| value.max(self.low).log10();
                (log(value) - log(self.low)) / (log(self.high) - log(self.low))
            }
        }
    }
}

/// A round number not below this one: 1, 2, 2.5 or 5 times a power of ten.
fn step(least: f64) -> f64 {
    let power = 10f64.powf(least.max(1e-12).log10().floor());
    let factor = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|f| f * power >= least * 0.999);
    factor.unwrap_or(10.0) * power
}

/// A number as short as it can be: `64k`, `1M`, `0.25`.
fn short(value: f64) -> String {
    let (value, unit) = match value.abs() {
        v if v >= 1e9 => (value / 1e9, "G"),
        v if v >= 1e6 => (value / 1e6, "M"),
        v if v >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{unit}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const ACROSS: f64 = WIDTH - RIGHT;
const DOWN: f64 = HEIGHT - BOTTOM;

/// A chart's axes, with places in the picture.
struct Plane {
    x: Axis,
    y: Axis,
}

impl Plane {
    fn at_x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (ACROSS - LEFT)
    }

    fn at_y(&self, value: f64) -> f64 {
        DOWN - self.y.place(value) * (DOWN - TOP)
    }

    /// A line with its number for every tick.
    fn draw_ticks(&self, svg: &mut String) {
        for tick in &self.y.ticks {
            let at = self.at_y(*tick);
            let _ = writeln!(
                svg,
                "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{ACROSS}\" y2=\"{at:.1}\" \
                 stroke=\"#e3e3e3\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                at + 4.5,
                short(*tick)
            );
        }
        for tick in &self.x.ticks {
            let at = self.at_x(*tick);
            let _ = writeln!(
                svg,
                "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{DOWN}\" \
                 stroke=\"#f0f0f0\"/><text x=\"{at:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\">{}</text>",
                DOWN + 19.0,
                short(*tick)
            );
        }
    }

    /// A curve, and its line of the legend.
    fn draw_curve(&self, svg: &mut String, number: usize, curve: &Curve) {
        let colour = COLOURS.get(number % COLOURS.len()).copied().unwrap_or("#000");
        let dashes = if number >= COLOURS.len() { " stroke-dasharray=\"6 4\"" } else { "" };
        let place = |(x, y): &(f64, f64)| (self.at_x(*x), self.at_y(*y));
        let points: Vec<String> =
            curve.points.iter().map(place).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" \
             stroke-width=\"2.2\" stroke-linejoin=\"round\"{dashes}/>",
            points.join(" ")
        );
        let name = escaped(&curve.name);
        for point in &curve.points {
            let (x, y) = place(point);
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.4\" fill=\"{colour}\">\
                 <title>{name}: {} at {}</title></circle>",
                short(point.1),
                short(point.0)
            );
        }
        let line = TOP + 8.0 + 22.0 * number as f64;
        let _ = writeln!(
            svg,
            "<line x1=\"{:.1}\" y1=\"{line:.1}\" x2=\"{:.1}\" y2=\"{line:.1}\" \
             stroke=\"{colour}\" stroke-width=\"3\"{dashes}/><text x=\"{:.1}\" \
             y=\"{:.1}\">{name}</text>",
            ACROSS + 16.0,
            ACROSS + 40.0,
            ACROSS + 47.0,
            line + 4.5
        );
    }
}

impl Chart {
    /// The picture.
    pub fn svg(&self) -> String {
        let all = || self.curves.iter().flat_map(|curve| curve.points.iter());
        let plane = Plane {
            x: Axis::new(self.x.1, all().map(|point| point.0)),
            y: Axis::new(self.y.1, all().map(|point| point.1)),
        };
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"system-ui, sans-serif\" \
             font-size=\"13\" fill=\"#222\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" \
             fill=\"#fff\"/>\n<text x=\"{LEFT}\" y=\"28\" font-size=\"18\" \
             font-weight=\"600\">{}</text>\n",
            escaped(&self.title)
        );
        plane.draw_ticks(&mut svg);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {TOP}V{DOWN}H{ACROSS}\" fill=\"none\" stroke=\"#666\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n\
             <text transform=\"translate(20 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(LEFT, ACROSS),
            HEIGHT - 14.0,
            escaped(&self.x.0),
            f64::midpoint(TOP, DOWN),
            escaped(&self.y.0)
        );
        for (number, curve) in self.curves.iter().enumerate() {
            plane.draw_curve(&mut svg, number, curve);
        }
        svg + "</svg>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in
            [(0.0, "0"), (0.25, "0.25"), (1000.0, "1000"), (65_536.0, "65.54k"), (1e7, "10M")]
        {
            assert_eq!(short(value), text);
        }
        assert_eq!([step(0.3), step(11.0), step(5.0)], [0.5, 20.0, 5.0]);
    }

    #[test]
    fn values_lie_where_they_belong() {
        let linear = Axis::new(Scale::Linear, [1.0, 10.0].into_iter());
        assert_eq!(linear.place(0.0), 0.0);
        assert!(linear.place(10.0) < 1.0 && linear.ticks.len() >= 3);
        let log = Axis::new(Scale::Log, [1000.0, 10_000_000.0].into_iter());
        assert_eq!(log.ticks.len(), 5);
        assert!((log.place(100_000.0) - 0.5).abs() < 1e-9);
        let nothing = Axis::new(Scale::Log, std::iter::empty());
        assert!(nothing.place(3.0).is_finite());
    }

    #[test]
    fn a_chart_has_its_lines_and_their_names() {
        let curve =
            |name: &str| Curve { name: name.to_owned(), points: vec![(1.0, 2.0), (10.0, 3.0)] };
        let chart = Chart {
            title: "a < b".to_owned(),
            x: ("x".to_owned(), Scale::Log),
            y: ("y".to_owned(), Scale::Linear),
            curves: vec![curve("one"), curve("two")],
        };
        let svg = chart.svg();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("a &lt; b") && svg.contains(">two</text>"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}
