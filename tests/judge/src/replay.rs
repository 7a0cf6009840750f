//! Replays of a case under every rule.

use crate::cases::{Case, Window};
use crate::results::Row;
use crate::rules::RULES;
use crate::traffic;

/// How many replays `make test` makes again, to see whether the results are still those of the code.
pub fn few(case: &Case) -> u64 {
    if case.window == Window::Short.seconds() { 200 } else { 5 }
}

/// When each rule rolled back, in each of the replays from `from` on.
pub type Fired = Vec<[Option<u32>; RULES.len()]>;

/// Replays so many times, on so many threads.
pub fn replay(case: &Case, times: u64, threads: u64) -> Fired {
    let part = |from: u64, to: u64| -> Fired {
        (from..to)
            .map(|number| {
                let trace = traffic::replay(case, number);
                RULES.each_ref().map(|rule| (rule.fires)(case, &trace))
            })
            .collect()
    };
    let threads = threads.clamp(1, times.max(1));
    std::thread::scope(|scope| {
        let bounds = |n: u64| times * n / threads;
        let parts: Vec<_> = (0..threads).map(|n| scope.spawn(move || part(bounds(n), bounds(n + 1)))).collect();
        parts.into_iter().flat_map(|part| part.join().expect("replays do not panic")).collect()
    })
}

/// What the replays of a case come to, rule by rule.
pub fn rows(case: &Case, fired: &Fired) -> Vec<Row> {
    let rows = RULES.iter().enumerate().map(|(index, rule)| {
        let times: Vec<Option<u32>> = fired.iter().map(|all| all[index]).collect();
        row(case, rule.name, &times)
    });
    rows.collect()
}

fn row(case: &Case, rule: &str, times: &[Option<u32>]) -> Row {
    let early = times.iter().flatten().filter(|at| **at <= case.onset && case.onset > 0).count() as u64;
    // One that was rolled back before it became bad was not found.
    let mut found: Vec<u32> =
        times.iter().flatten().filter_map(|at| at.checked_sub(case.onset)).filter(|t| *t > 0).collect();
    found.sort_unstable();
    // Of all replays: where more than half find nothing there is no median.
    let at = |share: f64| found.get((times.len() as f64 * share).ceil() as usize - 1).copied();
    let first = &times[..times.len().min(few(case) as usize)];
    Row {
        window: case.window,
        case: case.name(),
        rule: rule.to_owned(),
        replays: times.len() as u64,
        fired: found.len() as u64,
        early,
        median: at(0.5),
        p95: at(0.95),
        first_fired: first.iter().flatten().count() as u64,
        first_seconds: first.iter().flatten().map(|at| u64::from(*at)).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases;

    #[test]
    fn threads_change_nothing() {
        let case = &cases::all()[20];
        assert_eq!(replay(case, 30, 1), replay(case, 30, 3));
    }

    #[test]
    fn what_is_never_found_counts_in_the_median() {
        let case = Case { onset: 600, ..cases::all()[0].clone() };
        let times = [Some(300), Some(660), Some(690), Some(720), None, None];
        let row = row(&case, "cutover", &times);
        assert_eq!((row.early, row.fired, row.median, row.p95), (1, 3, Some(120), None));
    }
}
