//! A small writer of SVG: axes with logarithmic scales, lines, points and words.

use std::fmt::Write;

/// Colours that can be told apart, with the first for what a picture is about.
pub const COLOURS: [&str; 6] = ["#2563eb", "#111111", "#dc2626", "#f59e0b", "#15803d", "#9333ea"];

/// From numbers to places.
#[derive(Clone, Copy)]
pub enum Scale {
    /// Linear, from and to.
    Linear(f64, f64),
    /// Logarithmic, from and to.
    Log(f64, f64),
}

impl Scale {
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear(from, to) => (value.clamp(from, to) - from) / (to - from),
            Self::Log(from, to) => (value.clamp(from, to).ln() - from.ln()) / (to.ln() - from.ln()),
        }
    }
}

/// A rectangle in which values are drawn.
#[derive(Clone, Copy)]
pub struct Area {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
    pub x: Scale,
    pub y: Scale,
}

impl Area {
    /// The place of a pair of values.
    pub fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (self.left + self.width * self.x.place(x), self.top + self.height * (1.0 - self.y.place(y)))
    }
}

/// A picture that is being drawn.
pub struct Picture(String);

impl Picture {
    /// An empty one.
    pub fn new(width: f64, height: f64) -> Self {
        Self(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
        ))
    }

    /// The text of the file.
    pub fn done(mut self) -> String {
        self.0 += "</svg>\n";
        self.0
    }

    /// Words; `anchor` is start, middle or end.
    pub fn text(&mut self, (x, y): (f64, f64), anchor: &str, colour: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        // Writing to a String cannot fail.
        let _ = writeln!(
            self.0,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{text}</text>"
        );
    }

    /// A line through points; `dashes` as SVG has them, or nothing.
    pub fn line(&mut self, points: &[(f64, f64)], colour: &str, width: f64, dashes: &str) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let dashes = if dashes.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dashes}\"") };
        let points = points.join(" ");
        let _ = writeln!(
            self.0,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"{dashes}/>"
        );
    }

    /// A dot.
    pub fn dot(&mut self, (x, y): (f64, f64), colour: &str) {
        let _ =
            writeln!(self.0, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\" fill-opacity=\"0.75\"/>");
    }

    /// The frame of an area, with marks and their words on either axis.
    pub fn axes(&mut self, area: &Area, xs: &[(f64, String)], ys: &[(f64, String)]) {
        let (left, right) = (area.left, area.left + area.width);
        let (top, bottom) = (area.top, area.top + area.height);
        for (value, word) in xs {
            let (x, _) = area.at(*value, 1.0);
            self.line(&[(x, top), (x, bottom)], "#e5e7eb", 1.0, "");
            self.text((x, bottom + 16.0), "middle", "#555555", word);
        }
        for (value, word) in ys {
            let (_, y) = area.at(1.0, *value);
            self.line(&[(left, y), (right, y)], "#e5e7eb", 1.0, "");
            self.text((left - 6.0, y + 4.0), "end", "#555555", word);
        }
        self.line(&[(left, top), (left, bottom), (right, bottom)], "#777777", 1.0, "");
    }
}
