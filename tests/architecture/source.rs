//! Reads the project's own sources: code apart from comments and texts, imports, the part that is not tests.

use std::path::Path;

/// A source file.
pub struct File {
    /// Its path in the project.
    pub path: String,
    /// As it is.
    pub text: String,
    /// With comments and the insides of texts blanked, line by line.
    pub code: String,
}

impl File {
    /// Reads a file of the project.
    pub fn read(path: &str) -> Self {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
            .unwrap_or_else(|e| panic!("{path}: {e}"));
        let code = blank(&text);
        Self { path: path.to_owned(), text, code }
    }

    /// The module of the library that it belongs to; none for `lib.rs` and programs.
    pub fn module(&self) -> Option<String> {
        let inside = self.path.strip_prefix("src/")?;
        let module = inside.split('/').next()?.trim_end_matches(".rs");
        (!["lib", "main", "bin"].contains(&module)).then(|| module.to_owned())
    }

    /// What follows `crate::` in the code, groups taken apart.
    pub fn imports(&self) -> Vec<String> {
        let mut found = Vec::new();
        // In a file that is itself a module of the library, `super` is the library.
        let inside = self.path.strip_prefix("src/").unwrap_or_default();
        let top = !inside.contains('/') || (inside.ends_with("/mod.rs") && inside.matches('/').count() == 1);
        let root = if top { "super::" } else { "super::super::" };
        for start in ["crate::", root] {
            found.extend(self.named_after(start));
        }
        found.retain(|path| path.starts_with(|c: char| c.is_ascii_lowercase()) && !path.starts_with("super"));
        found
    }

    /// The paths that follow `start` in the code, groups taken apart.
    pub fn named_after(&self, start: &str) -> Vec<String> {
        let product = self.product();
        let mut found = Vec::new();
        for (at, _) in product.match_indices(start) {
            let before = product[..at].chars().next_back();
            // `$crate::`, `xcrate::` and the inner part of `super::super::` are other things.
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$' || c == ':') {
                continue;
            }
            let rest = &product[at + start.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                found.extend(group_heads(group));
            } else {
                found.push(path_of(rest));
            }
        }
        found
    }

    /// The code without its test module, which stands at the end; nothing of a file that is only for tests.
    pub fn product(&self) -> &str {
        if self.is_for_tests()
            || self.path.ends_with("tests.rs")
            || self.path.contains("/tests/") && self.path.starts_with("src/")
        {
            return "";
        }
        self.code.split("#[cfg(test)]\nmod ").next().unwrap_or_default()
    }

    /// Whether the file is declared with `#[cfg(test)]`.
    fn is_for_tests(&self) -> bool {
        let Some((folder, name)) = self.path.rsplit_once('/') else { return false };
        let name = name.trim_end_matches(".rs");
        let declared = ["", "pub(crate) ", "pub "].map(|visible| format!("#[cfg(test)]\n{visible}mod {name};"));
        [format!("{folder}/mod.rs"), format!("{folder}.rs")].iter().any(|parent| {
            let parent = Path::new(env!("CARGO_MANIFEST_DIR")).join(parent);
            std::fs::read_to_string(parent).is_ok_and(|text| declared.iter().any(|d| text.contains(d)))
        })
    }
}

/// All Rust files under a folder of the project, in order of their paths.
pub fn code_files(folder: &str) -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join(folder)];
    let mut paths = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.expect("a folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let inside = path.strip_prefix(root).expect("the path is in the project");
                paths.push(inside.to_string_lossy().into_owned());
            }
        }
    }
    paths.sort();
    paths.iter().map(|path| File::read(path)).collect()
}

/// Whether `word` stands in `line` by itself.
pub fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].chars().next_back().is_some_and(part) && !line[at + word.len()..].chars().next().is_some_and(part)
    })
}

/// What stands between the braces that open after `start`.
pub fn block_after(code: &str, start: &str) -> Option<String> {
    let from = code.find(start)? + start.len();
    let inside = code[from..].strip_prefix('{')?;
    let mut depth = 1_usize;
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(inside[..at].to_owned());
        }
    }
    None
}

/// The path at the start of a text.
fn path_of(text: &str) -> String {
    let path: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':').collect();
    path.trim_end_matches(':').to_owned()
}

/// The paths that a group `{a, b::{c, d}}` begins with.
fn group_heads(group: &str) -> Vec<String> {
    let mut depth = 1_usize;
    let mut heads = vec![String::new()];
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => heads.push(String::new()),
            c if depth == 1 && !c.is_whitespace() => {
                if let Some(head) = heads.last_mut() {
                    head.push(c);
                }
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    heads.iter().map(|head| path_of(head)).filter(|head| !head.is_empty()).collect()
}

/// Replaces comments and the insides of texts by blanks; lines stay where they are.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let end_of = |from: usize, pattern: &str| {
        let pattern: Vec<char> = pattern.chars().collect();
        (from..chars.len()).find(|i| chars[*i..].starts_with(&pattern)).map_or(chars.len(), |i| i + pattern.len())
    };
    while at < chars.len() {
        let rest = &chars[at..];
        let previous = at.checked_sub(1).map(|i| chars[i]);
        let end = if rest.starts_with(&['/', '/']) {
            end_of(at, "\n").saturating_sub(1).max(at + 2)
        } else if rest.starts_with(&['/', '*']) {
            end_of(at + 2, "*/")
        } else if rest[0] == 'r'
            && !previous.is_some_and(|c| c.is_alphanumeric() || c == '_')
            && raw_hashes(rest).is_some()
        {
            let hashes = raw_hashes(rest).unwrap_or_default();
            end_of(at + 2 + hashes, &format!("\"{}", "#".repeat(hashes)))
        } else if rest[0] == '"' {
            let mut i = at + 1;
            while i < chars.len() && chars[i] != '"' {
                i += if chars[i] == '\\' { 2 } else { 1 };
            }
            (i + 1).min(chars.len())
        } else if rest[0] == '\'' && (rest.get(2) == Some(&'\'') || rest.get(1) == Some(&'\\')) {
            // A character, not a lifetime.
            end_of(at + 2 + usize::from(rest[1] == '\\'), "'")
        } else {
            out.push(rest[0]);
            at += 1;
            continue;
        };
        out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    out
}

/// The number of `#` of a raw text that begins here.
fn raw_hashes(rest: &[char]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    (rest.get(1 + hashes) == Some(&'"')).then_some(hashes)
}

#[test]
fn comments_and_texts_are_told_from_code() {
    let code = blank(
        "use crate::a; // crate::b\nlet x = \"crate::c \\\" crate::d\"; /* crate::e */ f(r#\"crate::g\"#, '\"', '\\'', crate::h);\n",
    );
    let file = File { path: "src/x/y.rs".into(), text: String::new(), code };
    assert_eq!(file.imports(), ["a", "h"]);
}

#[test]
fn groups_and_super_are_understood() {
    let code =
        "use crate::{a::B, c::{D, e}, f};\nuse super::super::g::H;\nuse super::i;\nlet x = $crate::j;\n".to_owned();
    let file = File { path: "src/x/y.rs".into(), text: String::new(), code };
    assert_eq!(file.imports(), ["a::B", "c", "f", "g::H"]);
    let top = File { path: "src/x.rs".into(), text: String::new(), code: "use super::k::L;\n".to_owned() };
    assert_eq!(top.imports(), ["k::L"]);
}
