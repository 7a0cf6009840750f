//! PURE. The known name that a mistyped one is nearest to.

/// Longest word that is compared: what is longer was not mistyped.
const LONGEST: usize = 64;

/// The known name nearest to `word`, where one is near.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if word.len() > LONGEST {
        return None;
    }
    let lower = word.to_lowercase();
    let far = 1 + word.chars().count() / 3;
    let scored = known.into_iter().map(|name| (distance(&lower, &name.to_lowercase()), name));
    scored.filter(|(distance, _)| *distance <= far).min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// Letters that must be added, left out, changed or swapped.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().take(LONGEST).collect());
    let width = b.len() + 1;
    let mut rows: Vec<usize> = vec![0; (a.len() + 1) * width];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            let at = |i: usize, j: usize| rows[i * width + j];
            let value = if i == 0 || j == 0 {
                i + j
            } else {
                let same = usize::from(a[i - 1] != b[j - 1]);
                let mut best = (at(i - 1, j) + 1).min(at(i, j - 1) + 1).min(at(i - 1, j - 1) + same);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(at(i - 2, j - 2) + 1);
                }
                best
            };
            rows[i * width + j] = value;
        }
    }
    rows[a.len() * width + b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_found_and_another_word_is_not() {
        let known = ["activate", "services", "sides", "phases", "serviceAccountName"];
        for (word, want) in [
            ("activte", Some("activate")),
            ("acitvate", Some("activate")),
            ("Phases", Some("phases")),
            ("serviceAccount", Some("serviceAccountName")),
            ("side", Some("sides")),
            ("replicas", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, known), want, "{word}");
        }
        assert_eq!(nearest(&"a".repeat(100_000), known), None);
    }
}
