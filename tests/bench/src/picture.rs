//! The figures as an SVG: per figure one strip with every repetition, median, 95th percentile, what was promised, and
//! Argo Rollouts' figure where there is one.

use std::fmt::Write;

use crate::report::{Figure, Report, number};

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 330.0;
const RIGHT: f64 = 40.0;
const TOP: f64 = 76.0;
const ROW: f64 = 64.0;

/// The picture.
pub fn svg(report: &Report) -> String {
    let height = TOP + ROW * report.figures.len() as f64 + 16.0;
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">
<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>
<text x="16" y="26" font-size="17" fill="#111111">Cutover, measured {}</text>
"##,
        escape(&report.started)
    );
    legend(&mut out);
    for (index, figure) in report.figures.iter().enumerate() {
        strip(&mut out, figure, TOP + ROW * index as f64);
    }
    out += "</svg>\n";
    out
}

fn legend(out: &mut String) {
    let y = 50.0;
    let _ = write!(
        out,
        r##"<circle cx="22" cy="{y}" r="3.2" fill="#2563eb" fill-opacity="0.45"/><text x="32" y="54" fill="#333333">one repetition</text>
<line x1="140" x2="140" y1="42" y2="58" stroke="#111111" stroke-width="2.5"/><text x="148" y="54" fill="#333333">median</text>
<line x1="218" x2="218" y1="42" y2="58" stroke="#111111" stroke-width="1.2"/><text x="226" y="54" fill="#333333">95th percentile</text>
<line x1="340" x2="340" y1="42" y2="58" stroke="#15803d" stroke-width="2" stroke-dasharray="4 3"/><text x="348" y="54" fill="#333333">promised (the widest of its bounds)</text>
<path d="M 625 44 l 6 12 h -12 z" fill="#dc2626"/><text x="637" y="54" fill="#333333">Argo Rollouts on such a machine</text>
"##
    );
}

fn strip(out: &mut String, figure: &Figure, y: f64) {
    let target = figure.target.and_then(|t| t.max.or(t.p95).or(t.median).or(t.least));
    let argo = figure.argo.as_ref().and_then(|a| a.value);
    let top = [Some(figure.summary.max), target, argo].into_iter().flatten().fold(0.0, f64::max);
    let top = round_up(top);
    let x = |value: f64| LEFT + (WIDTH - LEFT - RIGHT) * value / top;
    let (line, middle) = (y + 44.0, y + 26.0);
    let kept = match figure.kept() {
        Some(true) => ("kept", "#15803d"),
        Some(false) => ("missed", "#b91c1c"),
        None => ("", "#333333"),
    };
    let _ = write!(
        out,
        r##"<text x="16" y="{}" fill="#111111">{}</text>
<text x="16" y="{}" fill="#555555">median {}, p95 {} {} (n={}) <tspan fill="{}">{}</tspan></text>
<line x1="{LEFT}" x2="{}" y1="{line}" y2="{line}" stroke="#bbbbbb"/>
"##,
        y + 22.0,
        escape(&figure.title),
        y + 40.0,
        number(figure.summary.median),
        number(figure.summary.p95),
        figure.unit,
        figure.summary.n,
        kept.1,
        kept.0,
        WIDTH - RIGHT,
    );
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let value = top * share;
        let _ = writeln!(
            out,
            r##"<line x1="{0:.1}" x2="{0:.1}" y1="{line}" y2="{1}" stroke="#bbbbbb"/><text x="{0:.1}" y="{2}" font-size="10" text-anchor="middle" fill="#777777">{3}</text>"##,
            x(value),
            line + 4.0,
            line + 15.0,
            number(value)
        );
    }
    for (index, value) in figure.values.iter().enumerate() {
        // Spread in height by the order of the repetitions, so that equal values can be told apart.
        let height = middle - 10.0 + (index * 7 % 20) as f64;
        let _ = writeln!(
            out,
            r##"<circle cx="{:.1}" cy="{height:.1}" r="3.2" fill="#2563eb" fill-opacity="0.45"/>"##,
            x(*value)
        );
    }
    let mut mark = |value: f64, style: &str| {
        let _ = writeln!(out, r##"<line x1="{0:.1}" x2="{0:.1}" y1="{1}" y2="{line}" {style}/>"##, x(value), y + 8.0);
    };
    mark(figure.summary.median, r##"stroke="#111111" stroke-width="2.5""##);
    mark(figure.summary.p95, r##"stroke="#111111" stroke-width="1.2""##);
    if let Some(target) = target {
        mark(target, r##"stroke="#15803d" stroke-width="2" stroke-dasharray="4 3""##);
    }
    if let Some(argo) = argo {
        let _ = writeln!(out, r##"<path d="M {:.1} {} l 6 12 h -12 z" fill="#dc2626"/>"##, x(argo), y + 18.0);
    } else if let Some(argo) = &figure.argo {
        let _ = writeln!(
            out,
            r##"<text x="{}" y="{}" font-size="11" text-anchor="end" fill="#dc2626">Argo Rollouts: {}</text>"##,
            WIDTH - RIGHT,
            y + 12.0,
            escape(&argo.what)
        );
    }
}

/// The next of 1, 2, 4, 5 or 8 times a power of ten.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 4.0, 5.0, 8.0, 10.0].into_iter().map(|step| step * power).find(|bound| *bound >= value).unwrap_or(value)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        for (value, end) in
            [(0.0, 1.0), (0.9, 1.0), (1.0, 1.0), (1.1, 2.0), (43.0, 50.0), (130.0, 200.0), (810.0, 1000.0)]
        {
            assert!((round_up(value) - end).abs() < 1e-9, "{value}: {}", round_up(value));
        }
    }

    #[test]
    fn every_repetition_is_a_point_and_text_is_escaped() {
        let figure = Figure::new("f", "a < b", "ms", "m", vec![1.0, 2.0, 3.0]).target(None, Some(5.0), None);
        let report = Report {
            started: "now".into(),
            machine: vec![],
            figures: vec![figure],
            requests: vec![],
            failures: vec![],
        };
        let text = svg(&report);
        assert_eq!(text.matches("fill-opacity").count(), 1 + 3);
        assert!(text.contains("a &lt; b") && text.trim_end().ends_with("</svg>"));
    }
}
