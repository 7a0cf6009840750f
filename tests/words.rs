//! The words of this project: CONTRIBUTING.md has a table of words that are not used, with what is said instead. No page, no
//! message and no comment has one of them.

use std::path::Path;

mod pages;

use pages::files;

/// A word of a text, in small letters.
struct Word {
    text: String,
    /// Its line, from 1.
    line: usize,
    /// A sentence or a part of one has ended between the word before and this one.
    begins: bool,
}

/// The words of a text. A name in code such as `take_back` is one word. What only marks a comment or a quotation stands
/// between words without parting them.
fn words(text: &str) -> Vec<Word> {
    let mut all = vec![];
    for (number, line) in text.lines().enumerate() {
        let mut begins = line.trim().is_empty();
        let mut word = String::new();
        for c in line.chars().chain([' ']) {
            let within = c.is_alphanumeric() || c == '_' || (c == '\'' && !word.is_empty());
            if within {
                word.extend(c.to_lowercase());
                continue;
            }
            if !word.is_empty() {
                let text = word.trim_end_matches('\'').to_owned();
                all.push(Word { text, line: number + 1, begins });
                word.clear();
                begins = false;
            }
            begins = begins || ".,;:()?|".contains(c);
        }
        // What follows an empty line, or ends with the line, begins anew.
        if begins && let Some(last) = all.last() {
            let line = last.line;
            all.push(Word { text: String::new(), line, begins: true });
        }
    }
    all
}

/// Where a phrase stands: the lines.
fn places(words: &[Word], phrase: &[&str]) -> Vec<usize> {
    let fits = |at: &&[Word]| {
        at.iter().zip(phrase).enumerate().all(|(i, (word, wanted))| word.text == **wanted && (i == 0 || !word.begins))
    };
    words.windows(phrase.len()).filter(fits).map(|at| at[0].line).collect()
}

/// CONTRIBUTING.md without the table, and the table's rows: what is not said, and what is said instead.
fn table(page: &str) -> (String, Vec<(String, String)>) {
    let (head, rest) = page.split_once("<!-- words -->\n").expect("where the table begins");
    let (rows, tail) = rest.split_once("<!-- end -->\n").expect("where the table ends");
    let mut all = vec![];
    // The first two lines are the head of the table.
    for row in rows.lines().filter(|line| line.starts_with('|')).skip(2) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, good, bad, _] = cells[..] else { panic!("CONTRIBUTING.md: not a row of two cells: {row}") };
        all.extend(bad.split(',').map(|word| (word.trim().to_lowercase(), good.to_owned())));
    }
    // Empty lines in the place of the table, so that the lines after it keep their numbers.
    let empty = "\n".repeat(rows.lines().count() + 2);
    (format!("{head}{empty}{tail}"), all)
}

#[test]
fn no_text_has_a_word_that_is_not_used_here() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let own = root.join("CONTRIBUTING.md");
    let (page, table) = table(&read(&own));
    assert!(table.len() >= 10, "only {} words: is the table where it was?", table.len());

    let mut texts = vec![(own, page)];
    let mut paths = vec![root.join("README.md"), root.join("SECURITY.md"), root.join("CHANGELOG.md")];
    paths.push(root.join("src/ARCHITECTURE.md"));
    // Among them docs/commands.md, which has what `--help` says.
    paths.extend(files(&root.join("docs"), "md"));
    paths.extend(files(&root.join("src"), "rs"));
    texts.extend(paths.into_iter().map(|path| {
        let text = read(&path);
        (path, text)
    }));
    assert!(texts.len() > 100, "only {} files: are they where they were?", texts.len());

    let mut found = vec![];
    for (path, text) in &texts {
        let words = words(text);
        for (bad, good) in &table {
            let phrase: Vec<&str> = bad.split(' ').collect();
            for line in places(&words, &phrase) {
                let file = path.strip_prefix(root).unwrap_or(path).display();
                found.push(format!("{file}:{line}: \"{bad}\"; say: {good}"));
            }
        }
    }
    assert!(found.is_empty(), "words that are not used here (CONTRIBUTING.md, Words):\n{}", found.join("\n"));
}

#[test]
fn a_phrase_is_found_over_the_end_of_a_line_and_not_over_the_end_of_a_sentence() {
    let lines = |text: &str| places(&words(text), &["take", "back"]);
    assert_eq!(lines("to take back"), [1]);
    assert_eq!(lines("/// what is to Take\n/// back"), [1]);
    assert_eq!(lines("one\n\"to take back\""), [2]);
    assert_eq!(lines("what to take. Back again"), [0_usize; 0]);
    assert_eq!(lines("what to take.\nBack again"), [0_usize; 0]);
    assert_eq!(lines("what to take\n\nback again"), [0_usize; 0]);
    assert_eq!(lines("fn take_back() {}"), [0_usize; 0]);
}
