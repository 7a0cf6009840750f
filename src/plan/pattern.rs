//! PURE. Regular expressions that end in time, whatever the pattern and the text.
//!
//! Both come from others: the pattern from whoever may create a Cutover, the text from any server. An engine that is
//! "linear in the text" still takes the size of the pattern for each byte: a pattern of 20 bytes, well within the bound
//! of its compiled form, takes half a minute for an answer of 64 KiB, and everybody's restore would wait (P15). So the
//! states of the automaton are built as the text needs them, and given up once they have filled their memory a few times: what
//! is scanned with states that are there costs a nanosecond a byte. What is given up is tried state by state where that
//! is little work, and else refused with words. Patterns as people write them are far from either bound.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use regex::{Regex, RegexBuilder};
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::syntax;
use regex_automata::{Input, MatchErrorKind};

/// Longest pattern.
pub(crate) const MAX_LEN: usize = 256;
/// Largest compiled form.
const MAX_COMPILED: usize = 1 << 20;
/// Memory for the states that a text needs.
const STATES: usize = 1 << 19;
/// How often a search may fill that memory.
const FILLS: usize = 2;
/// Steps of all that belongs together: some ten nanoseconds each.
const STEPS: u64 = 4_000_000;
/// Bytes that are scanned in a step, once their states are there.
const SCANNED: u64 = 16;
/// Steps that it takes to fill the memory in vain.
const GIVEN_UP: u64 = 1_000_000;

/// What may be spent on texts that belong together, whatever the number of patterns.
pub(crate) struct Budget(AtomicU64);

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicU64::new(STEPS))
    }
}

impl Budget {
    fn spend(&self, steps: u64) -> Option<()> {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(steps)).ok().map(drop)
    }
}

/// A regular expression of bounded size.
pub struct Pattern {
    text: String,
    automaton: DFA,
}

impl Pattern {
    /// # Errors
    /// It is no regular expression, or too large.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.len() > MAX_LEN {
            return Err(format!("the regular expression is longer than {MAX_LEN} bytes"));
        }
        let bounds = thompson::Config::new().nfa_size_limit(Some(MAX_COMPILED)).which_captures(WhichCaptures::None);
        let states = thompson::Compiler::new()
            .syntax(syntax::Config::new().nest_limit(50))
            .configure(bounds)
            .build(text)
            .map_err(|e| no_pattern(text, &e))?;
        let memory = DFA::config()
            .cache_capacity(STATES)
            .skip_cache_capacity_check(true)
            .minimum_cache_clear_count(Some(FILLS))
            .unicode_word_boundary(true);
        let automaton = DFA::builder()
            .configure(memory)
            .build_from_nfa(states)
            .map_err(|e| format!("{text:?} cannot be used: {e}"))?;
        Ok(Self { text: text.to_owned(), automaton })
    }

    /// A search through texts that belong together, such as the lines of a log: one bound for all of them.
    pub fn search(&self) -> Search<&Self> {
        Search::of(self, Arc::default())
    }

    /// The same, with the pattern inside, for whoever hands it to another thread.
    pub(crate) fn search_shared(pattern: Arc<Self>) -> Search<Arc<Self>> {
        Search::of(pattern, Arc::default())
    }

    /// Whether it matches somewhere in the text.
    ///
    /// # Errors
    /// It would take too long.
    pub fn is_match(&self, text: &str) -> Result<bool, String> {
        self.search().is_match(text)
    }
}

fn no_pattern(text: &str, error: &thompson::BuildError) -> String {
    if error.size_limit().is_some() {
        return format!("the regular expression {text:?} is too large once compiled");
    }
    // What the parser says has the pattern above its last line.
    let why = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    let why = why.lines().map(str::trim).rfind(|l| !l.is_empty()).unwrap_or_default();
    format!("{text:?} is not a regular expression: {}", why.trim_start_matches("error: "))
}

/// See [`Pattern::search`].
pub struct Search<P> {
    pattern: P,
    cache: Cache,
    budget: Arc<Budget>,
}

impl<P: Deref<Target = Pattern>> Search<P> {
    /// The same on a budget that others spend, too.
    pub(crate) fn of(pattern: P, budget: Arc<Budget>) -> Self {
        Self { cache: pattern.automaton.create_cache(), pattern, budget }
    }

    /// Whether the pattern matches somewhere in the text.
    ///
    /// # Errors
    /// It would take too long.
    pub fn is_match(&mut self, text: &str) -> Result<bool, String> {
        self.within(text).ok_or_else(|| {
            let Pattern { text: pattern, automaton } = &*self.pattern;
            let states = automaton.get_nfa().states().len();
            format!("the regular expression {pattern:?}, of {states} states, takes too long on this text: write a simpler one")
        })
    }

    fn within(&mut self, text: &str) -> Option<bool> {
        let Pattern { text: pattern, automaton } = &*self.pattern;
        let length = text.len() as u64;
        self.budget.spend(length / SCANNED)?;
        let why = match automaton.try_search_fwd(&mut self.cache, &Input::new(text).earliest(true)) {
            Ok(found) => return Some(found.is_some()),
            Err(why) => why,
        };
        // Else it is a `\b` beside letters that are not ASCII, which it does not know.
        if matches!(why.kind(), MatchErrorKind::GaveUp { .. }) {
            self.budget.spend(GIVEN_UP)?;
        }
        self.budget.spend((automaton.get_nfa().states().len() as u64).saturating_mul(length))?;
        Some(slowly(pattern)?.is_match(text))
    }
}

/// The engine that knows everything and may take the size of the pattern for each byte.
fn slowly(pattern: &str) -> Option<Regex> {
    RegexBuilder::new(pattern).size_limit(MAX_COMPILED).dfa_size_limit(MAX_COMPILED).nest_limit(50).build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_match(pattern: &str, text: &str) -> Result<bool, String> {
        Pattern::new(pattern).and_then(|p| p.is_match(text))
    }

    #[test]
    fn patterns_as_people_write_them_match_as_they_should() {
        let log: String = (0..900)
            .map(|i| {
                format!("2026-11-30T02:00:00 node-{i} INFO request é{} took {}ms path=/api/{i}\n", i * 31, i * 13 % 977)
            })
            .collect();
        for (pattern, found) in [
            (r"node-899 \w+ request é\d+ took", true),
            (r"^\w+ error: .*$", false),
            (r"[\w.-]+@[\w.-]+\.\w{2,6}", false),
            (r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}", true),
            (r"(?i)PATH=/API/89\d\b", true),
            (r".{1,100}done", false),
            (r"", true),
        ] {
            assert_eq!(is_match(pattern, &log), Ok(found), "{pattern}");
            let slow = slowly(pattern).expect("a regular expression");
            assert!(log.lines().all(|line| is_match(pattern, line) == Ok(slow.is_match(line))), "{pattern}");
        }
        // Beside letters that are not ASCII only the slow engine knows where a word ends.
        assert_eq!((is_match(r"\bné\b", "il est né là"), is_match(r"\bn\b", "né")), (Ok(true), Ok(false)));
    }

    #[test]
    fn a_pattern_that_would_take_long_is_refused_with_words() {
        let body = "a".repeat(65536);
        for pattern in ["(?:a{1,98}){1,98}x", "(?:a{1,53}){1,53}x"] {
            let why = is_match(pattern, &body).expect_err("half a minute with the engine that knows everything");
            assert!(why.contains("takes too long on this text"), "{why}");
            assert_eq!(is_match(pattern, "aaax"), Ok(true), "a short text is no trouble");
        }
    }

    #[test]
    fn the_lines_of_a_log_share_one_bound() {
        let pattern = Pattern::new("(?:a{1,53}){1,53}x").expect("a pattern");
        let mut search = pattern.search();
        let line = "a".repeat(400);
        let refused = (0..1000).find_map(|_| search.is_match(&line).err());
        assert!(refused.is_some_and(|why| why.contains("too long")), "each alone is little");
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (pattern, why) in [
            ("(", "is not a regular expression: unclosed group"),
            (r"(\w{1,60}x){1,9}", "too large once compiled"),
            (&"a".repeat(257), "longer than 256 bytes"),
        ] {
            let said = Pattern::new(pattern).map(drop).expect_err("it is none");
            assert!(said.contains(why), "{said}");
        }
    }
}
