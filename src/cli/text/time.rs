//! Times and durations as people read them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// `1h30m`, `4m10s`, `12s`, `0.4s`: the two largest units that count.
pub(crate) fn long(time: SignedDuration) -> String {
    let ms = time.as_millis().max(0);
    let s = ms / 1000;
    let two = |high: i128, h: &str, low: i128, l: &str| match low {
        0 => format!("{high}{h}"),
        _ => format!("{high}{h}{low}{l}"),
    };
    match s {
        0 if ms == 0 => "0s".into(),
        0 => format!("0.{}s", (ms / 100).max(1)),
        1..60 => format!("{s}s"),
        60..3600 => two(s / 60, "m", s % 60, "s"),
        3600..86_400 => two(s / 3600, "h", s % 3600 / 60, "m"),
        _ => two(s / 86_400, "d", s % 86_400 / 3600, "h"),
    }
}

/// How long ago.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    long(now.duration_since(at))
}

/// `22:14:03Z` today, `2026-11-28 22:14:03Z` on other days; always UTC.
pub(crate) fn clock(at: Timestamp, now: Timestamp) -> String {
    let text = at.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
    let today = now.strftime("%Y-%m-%d ").to_string();
    text.strip_prefix(&today).map(str::to_owned).unwrap_or(text)
}

/// A duration of the command line, in the form of the API: `90s`, `45m`, `1h30m`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let parsed: crate::api::duration::Duration = text.parse().map_err(|e| format!("{e}"))?;
    Ok(Duration::from_millis(parsed.as_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_their_two_largest_units() {
        for (ms, wanted) in [
            (0, "0s"),
            (20, "0.1s"),
            (450, "0.4s"),
            (12_900, "12s"),
            (60_000, "1m"),
            (250_000, "4m10s"),
            (5_400_000, "1h30m"),
            (90_000_000, "1d1h"),
        ] {
            assert_eq!(long(SignedDuration::from_millis(ms)), wanted);
        }
    }

    #[test]
    fn another_day_is_named() {
        let (at, now) = ("2026-01-01T22:14:03Z", "2026-01-02T01:00:00Z");
        let of = |t: &str| t.parse::<Timestamp>().expect("a time");
        assert_eq!(clock(of(at), of(now)), "2026-01-01 22:14:03Z");
        assert_eq!(clock(of(at), of(at)), "22:14:03Z");
    }
}
