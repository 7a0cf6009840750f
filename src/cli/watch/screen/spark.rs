//! PURE. The values of a trigger as a line of bars, measured by its limit: what is past it has a bar of its own, so that it
//! is seen without colours, too.

use crate::api::run::TrialVerdict;
use crate::cli::text::{Line, Look, Tone};
use crate::cli::watch::history::Point;

/// Bars from the lowest to the highest.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII: [char; 8] = ['_', '.', ':', '-', '=', '+', '*', '#'];

/// What values are measured by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bound {
    pub at: f64,
    /// Values above are bad, or those below.
    pub above: bool,
}

/// The last values that there is room for, the newest at the right.
pub(crate) fn spark(points: &[Point], bound: Option<Bound>, width: usize, look: Look) -> Line {
    let shown = points.get(points.len().saturating_sub(width)..).unwrap_or_default();
    let bars = if look.unicode { BARS } else { ASCII };
    let top = shown.iter().filter_map(|p| p.value).chain(bound.map(|b| b.at)).fold(0.0_f64, f64::max);
    shown.iter().fold(Line::new(), |line, point| {
        let (tone, level) = bar(point, bound, top);
        let bar = level.and_then(|n| bars.get(n)).copied().unwrap_or('?');
        line.tone(tone, bar.to_string())
    })
}

/// The tone of a bar and its height; none where nothing can be said.
fn bar(point: &Point, bound: Option<Bound>, top: f64) -> (Tone, Option<usize>) {
    let tone = match point.verdict {
        TrialVerdict::Good => Tone::Good,
        TrialVerdict::Bad => Tone::Bad,
        TrialVerdict::Inconclusive => Tone::Warn,
    };
    let (Some(value), Some(bound)) = (point.value, bound) else {
        // No number: a good one is low, a bad one high.
        let level = match point.verdict {
            TrialVerdict::Good => Some(0),
            TrialVerdict::Bad => Some(7),
            TrialVerdict::Inconclusive => None,
        };
        return (tone, level);
    };
    // The highest bar is for values above an upper limit, the lowest for those below a lower one.
    let (past, level) = match bound.above {
        true if value > bound.at => (true, 7),
        true => (false, steps(value, bound.at, 6)),
        false if value < bound.at => (true, 0),
        false => (false, 1 + steps(value - bound.at, top - bound.at, 6)),
    };
    let near = match bound.above {
        true => value > bound.at * 0.8,
        false => value < bound.at * 1.2,
    };
    let tone = match (past, near && bound.at > 0.0) {
        (true, _) => Tone::Bad,
        (false, true) => Tone::Warn,
        (false, false) => tone,
    };
    (tone, Some(level))
}

/// Which of `0..=most` a part of a whole is.
fn steps(part: f64, whole: f64, most: usize) -> usize {
    if !(part > 0.0 && whole > 0.0) {
        return 0;
    }
    let share = (part / whole).clamp(0.0, 1.0);
    // Between 0 and `most`, which is small.
    (share * most as f64).round() as usize
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn points(values: &[f64]) -> Vec<Point> {
        let point = |v: &f64| Point { at: Timestamp::UNIX_EPOCH, value: Some(*v), verdict: TrialVerdict::Good };
        values.iter().map(point).collect()
    }

    fn shown(values: &[f64], bound: Bound, width: usize, unicode: bool) -> String {
        let look = Look { unicode, ..Look::plain() };
        spark(&points(values), Some(bound), width, look).show(look)
    }

    #[test]
    fn only_what_is_past_an_upper_limit_has_the_highest_bar() {
        let bound = Bound { at: 0.05, above: true };
        assert_eq!(shown(&[0.0, 0.01, 0.025, 0.05, 0.051, 9.0], bound, 20, true), "▁▂▄▇██");
        assert_eq!(shown(&[0.0, 0.01, 0.025, 0.05, 0.051, 9.0], bound, 20, false), "_.-*##");
    }

    #[test]
    fn only_what_is_past_a_lower_limit_has_the_lowest_bar() {
        let bound = Bound { at: 0.9, above: false };
        assert_eq!(shown(&[1.0, 0.95, 0.9, 0.89, 0.0], bound, 20, true), "█▅▂▁▁");
    }

    #[test]
    fn the_newest_values_are_shown_where_there_is_no_room_for_all() {
        let bound = Bound { at: 10.0, above: true };
        assert_eq!(shown(&[11.0, 0.0, 0.0, 11.0], bound, 3, true), "▁▁█");
        assert_eq!(shown(&[11.0], bound, 0, true), "");
    }

    #[test]
    fn odd_numbers_do_no_harm() {
        for bound in [0.0, -1.0, f64::MAX] {
            for above in [true, false] {
                let values = [0.0, -5.0, f64::MAX, f64::MIN, 1e-300];
                assert_eq!(shown(&values, Bound { at: bound, above }, 9, true).chars().count(), 5);
            }
        }
    }

    #[test]
    fn a_trial_without_a_number_is_shown_by_its_verdict() {
        let point = |verdict| Point { at: Timestamp::UNIX_EPOCH, value: None, verdict };
        let all = [TrialVerdict::Good, TrialVerdict::Bad, TrialVerdict::Inconclusive].map(point);
        assert_eq!(spark(&all, None, 9, Look::plain()).show(Look::plain()), "▁█?");
    }

    #[test]
    fn a_value_near_its_limit_warns() {
        let bound = Some(Bound { at: 10.0, above: true });
        let tones: Vec<Tone> = points(&[1.0, 9.0, 11.0]).iter().map(|p| bar(p, bound, 11.0).0).collect();
        assert_eq!(tones, [Tone::Good, Tone::Warn, Tone::Bad]);
    }
}
