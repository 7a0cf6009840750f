//! Kayenta's judge, by Spinnaker's documentation ("How canary judgment works", "Best practices for configuring canary").

use crate::cases::Case;
use crate::series::Series;
use crate::traffic::Trace;

/// Points of each side in a run of the analysis; the documentation asks for 50.
const POINTS: usize = 60;
/// The one-sided normal quantile of 1 %.
const LEVEL: f64 = 2.326_347_874;

/// See [`super::Rule`].
pub fn fires(case: &Case, trace: &Trace) -> Option<u32> {
    // Half an hour has two runs; two days have one each hour, as documented.
    let run = if case.window > 7200 { 3600 } else { case.window / 2 };
    (1..=case.window / run).map(|n| n * run).find(|end| {
        let of = |series: &Series| shares(case, series, end - run, run / POINTS as u32);
        worse(&of(&trace.release), &of(&trace.baseline))
    })
}

/// The shares of bad requests in the steps of a run.
fn shares(case: &Case, series: &Series, from: u32, step: u32) -> Vec<f64> {
    let slot = |n: u32| ((from + n * step) / case.slot) as usize;
    let steps = (1..=POINTS as u32).filter_map(|n| series.interval(slot(n - 1), slot(n)));
    steps.filter_map(|counted| counted.share()).collect()
}

/// Whether the values of the release are higher by the test of Mann and Whitney, in its normal approximation with ties.
fn worse(release: &[f64], baseline: &[f64]) -> bool {
    let (n, m) = (release.len() as f64, baseline.len() as f64);
    let all = n + m;
    if n == 0.0 || m == 0.0 {
        return false;
    }
    let mut values: Vec<(f64, bool)> = release.iter().map(|v| (*v, true)).collect();
    values.extend(baseline.iter().map(|v| (*v, false)));
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut ranks, mut ties, mut first) = (0.0, 0.0, 0);
    for same in values.chunk_by(|a, b| a.0 == b.0) {
        let count = same.len() as f64;
        let rank = first as f64 + (count + 1.0) / 2.0;
        ranks += rank * same.iter().filter(|(_, of_release)| *of_release).count() as f64;
        ties += count * count * count - count;
        first += same.len();
    }
    let u = ranks - n * (n + 1.0) / 2.0;
    let deviation = (n * m / 12.0 * ((all + 1.0) - ties / (all * (all - 1.0)))).sqrt();
    deviation > 0.0 && (u - n * m / 2.0 - 0.5) / deviation > LEVEL
}

#[cfg(test)]
mod tests {
    use super::worse;

    #[test]
    fn higher_values_are_worse_and_equal_ones_are_not() {
        let low: Vec<f64> = (0..60).map(|n| f64::from(n % 7)).collect();
        let high: Vec<f64> = low.iter().map(|v| v + 3.0).collect();
        assert!(worse(&high, &low) && !worse(&low, &high) && !worse(&low, &low));
        assert!(!worse(&[0.0; 60], &[0.0; 60]) && !worse(&[], &low));
        // U = 9 of 9 by ranks 4, 5, 6: z = 4 / √5.25 = 1.75, not enough with three values each.
        assert!(!worse(&[4.0, 5.0, 6.0], &[1.0, 2.0, 3.0]));
    }
}
