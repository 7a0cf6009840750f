//! PURE. What a trigger measured, as a picture: points of the trials that the run keeps, against the limit.

use super::model::{Measurement, Sample};
use super::sheet::time;
use crate::api::run::TrialVerdict;

/// Size of a plot, with the room for its words.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 24.0;

/// The samples that are numbers.
fn numbers(of: &Measurement) -> Vec<(&Sample, f64)> {
    of.samples.iter().filter_map(|s| Some((s, s.value?))).collect()
}

/// The lowest and the highest number to be shown, the limit among them; never the same.
fn range(of: &Measurement, points: &[(&Sample, f64)]) -> (f64, f64) {
    let all = points.iter().map(|(_, v)| *v).chain(of.bound);
    let (low, high) = all.fold((0.0_f64, 0.0_f64), |(low, high), v| (low.min(v), high.max(v)));
    if high > low { (low, high) } else { (low, low + 1.0) }
}

/// A line of blocks, one for each number; none where there is none.
pub(super) fn spark(of: &Measurement) -> Option<String> {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let points = numbers(of);
    if points.is_empty() {
        return None;
    }
    let (low, high) = range(of, &points);
    let block = |v: f64| {
        // In [0, 7], as the number is in the range.
        let at = ((v - low) / (high - low) * 7.0).round();
        BLOCKS.get(at as usize).copied().unwrap_or('█')
    };
    Some(points.iter().map(|(_, v)| block(*v)).collect())
}

/// A plot as SVG; none where nothing that is kept is a number. Nothing in it is text from outside but numbers and times.
pub(super) fn svg(of: &Measurement) -> Option<String> {
    let points = numbers(of);
    let (first, last) = (points.first()?.0.at, points.last()?.0.at);
    let (low, high) = range(of, &points);
    let span = last.duration_since(first).as_secs_f64().max(1.0);
    let x = |s: &Sample| LEFT + s.at.duration_since(first).as_secs_f64().max(0.0) / span * (WIDTH - LEFT - 12.0);
    let y = |v: f64| TOP + (high - v) / (high - low) * (HEIGHT - TOP - BOTTOM);
    let base = HEIGHT - BOTTOM;
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"values of the trials that are kept\">\
         <line class=\"axis\" x1=\"{LEFT}\" y1=\"{base}\" x2=\"{WIDTH}\" y2=\"{base}\"/>\
         <line class=\"axis\" x1=\"{LEFT}\" y1=\"{TOP}\" x2=\"{LEFT}\" y2=\"{base}\"/>"
    );
    for value in [low, high] {
        let at = y(value) + 4.0;
        out.push_str(&format!("<text x=\"{}\" y=\"{at:.1}\" class=\"end\">{}</text>", LEFT - 6.0, short(value)));
    }
    let under = HEIGHT - 6.0;
    out.push_str(&format!("<text x=\"{LEFT}\" y=\"{under}\">{}</text>", time(first)));
    if last > first {
        out.push_str(&format!("<text x=\"{}\" y=\"{under}\" class=\"end\">{}</text>", WIDTH - 4.0, time(last)));
    }
    if let Some(bound) = of.bound {
        let at = y(bound);
        out.push_str(&format!(
            "<line class=\"limit\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{WIDTH}\" y2=\"{at:.1}\"/>\
             <text class=\"limit end\" x=\"{}\" y=\"{:.1}\">limit {}</text>",
            WIDTH - 4.0,
            if at < TOP + 14.0 { at + 14.0 } else { at - 4.0 },
            short(bound)
        ));
    }
    let path: Vec<String> = points.iter().map(|(s, v)| format!("{:.1},{:.1}", x(s), y(*v))).collect();
    out.push_str(&format!("<polyline points=\"{}\"/>", path.join(" ")));
    for (sample, value) in &points {
        let class = match sample.verdict {
            TrialVerdict::Good => "good",
            TrialVerdict::Bad => "bad",
            TrialVerdict::Inconclusive => "open",
        };
        out.push_str(&format!("<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"/>", x(sample), y(*value)));
    }
    out.push_str("</svg>");
    Some(out)
}

/// A number in few digits.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        m if !(0.001..1e6).contains(&m) => format!("{value:.1e}"),
        m if m >= 100.0 => format!("{value:.0}"),
        _ => format!("{value:.3}").trim_end_matches('0').trim_end_matches('.').to_owned(),
    }
}
