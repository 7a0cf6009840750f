//! What the pages show is true: every Cutover in README, docs and examples parses and resolves, and every file they
//! link to exists.

use std::path::{Path, PathBuf};

use cutover::api::Cutover;

mod pages;

use pages::files;

#[path = "e2e/gitops_matrix/table.rs"]
#[allow(dead_code, reason = "what plays the table needs more of it")]
mod matrix;

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = vec![root.join("README.md"), root.join("CONTRIBUTING.md"), root.join("tests/cluster/README.md")];
    found.extend(files(&root.join("docs"), "md"));
    found
}

/// The fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = vec![];
    let mut open: Option<String> = None;
    for line in text.lines() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(block), None) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, Some(lang)) if lang.trim() == language => open = Some(String::new()),
            (None, _) => {}
        }
    }
    found
}

/// The Cutovers of a YAML text, each resolved as if the Services pointed to the other side.
fn check(origin: &str, yaml: &str) -> usize {
    let mut count = 0;
    for document in yaml.split("\n---") {
        if !document.lines().any(|l| l.trim() == "kind: Cutover") {
            continue;
        }
        let cutover: Cutover =
            serde_saphyr::from_str(document).unwrap_or_else(|e| panic!("{origin}: not a Cutover: {e}\n{document}"));
        let name = cutover.metadata.name.clone().unwrap_or_default();
        let live = cutover.spec.sides.iter().find(|s| s.name != cutover.spec.activate);
        let live = live.unwrap_or_else(|| panic!("{origin}: {name} has no other side"));
        // What docs/install.md and docs/notifications.md let the operator offer.
        let receivers =
            cutover::plan::Receivers { names: ["platform/on-call".to_owned()].into(), ..Default::default() };
        let names = ["monitoring/prometheus".to_owned()].into();
        let offered = cutover::plan::Offered { names, receivers, ..Default::default() };
        if let Err(refusals) = cutover::plan::resolve(&name, "docs", &cutover.spec, &live.name, &offered) {
            let list: Vec<String> = refusals.iter().map(ToString::to_string).collect();
            panic!("{origin}: {name} would be refused:\n{}", list.join("\n"));
        }
        count += 1;
    }
    count
}

#[test]
fn every_manifest_resolves() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
        for block in blocks(&text, "yaml") {
            count += check(&page.display().to_string(), &block);
        }
    }
    for file in files(&root.join("examples"), "yaml") {
        let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        count += check(&file.display().to_string(), &text);
    }
    assert!(count >= 2, "only {count} manifests found: are the pages where they were?");
}

#[test]
fn every_link_leads_somewhere() {
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
        // What stands in code is no link.
        let prose: String = text.lines().flat_map(|line| line.split('`').step_by(2).chain(["\n"])).collect();
        for link in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") || link.starts_with('#') {
                continue;
            }
            let file = link.split('#').next().unwrap_or_default();
            let target = page.parent().unwrap_or(Path::new(".")).join(file);
            assert!(target.exists(), "{}: {link} leads nowhere", page.display());
        }
    }
}

/// Whether a file has a test of this name.
fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let heads = [format!("fn {name}("), format!("async fn {name}(")];
    let at = |line: &&str| heads.iter().any(|head| line.starts_with(head));
    lines.iter().position(at).is_some_and(|at| {
        let above = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
        above.into_iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    })
}

#[test]
fn every_attack_of_the_security_page_has_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/security.md")).expect("the page");
    let table = page.split("\n## ").find(|part| part.starts_with("Attacks")).expect("the chapter");
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    for row in &rows {
        let named = row.split('`').filter_map(|word| word.split_once("::")).next();
        let (file, test) = named.unwrap_or_else(|| panic!("no test is named: {row}"));
        let text = std::fs::read_to_string(root.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert!(has_test(&text, test), "{file} has no test {test}");
    }
    assert!(rows.len() >= 20, "only {} attacks: is the table where it was?", rows.len());
}

/// The commands of the pages, line by line.
fn commands() -> Vec<(PathBuf, String)> {
    let mut all = vec![];
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
        let lines: Vec<String> =
            blocks(&text, "sh").iter().flat_map(|b| b.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        all.extend(
            lines.into_iter().map(|line| (page.clone(), line.split(" #").next().unwrap_or_default().to_owned())),
        );
    }
    all
}

#[test]
fn every_make_target_of_the_pages_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let makefile = std::fs::read_to_string(root.join("Makefile")).expect("Makefile");
    let mut count = 0;
    for (page, line) in commands() {
        if let Some(target) = line.split_whitespace().skip_while(|w| *w != "make").nth(1) {
            let there = makefile.lines().any(|l| l.starts_with(&format!("{target}:")));
            assert!(there, "{}: no target {target} in the Makefile", page.display());
            count += 1;
        }
    }
    assert!(count >= 3, "only {count} commands with make: are the pages where they were?");
}

#[test]
fn every_folder_and_option_of_a_command_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let values = std::fs::read_to_string(root.join("charts/cutover/values.yaml")).expect("the chart's values");
    let values: serde_json::Value = serde_saphyr::from_str(&values).expect("the chart's values are YAML");
    for (page, line) in commands() {
        let page = page.display();
        let words: Vec<&str> = line.split_whitespace().collect();
        for pair in words.windows(2) {
            match pair {
                ["-k" | "kustomize", folder] => {
                    assert!(root.join(folder).join("kustomization.yaml").exists(), "{page}: {line}: no {folder}");
                }
                ["--set", setting] => {
                    let path = setting.split('=').next().unwrap_or_default().replace('.', "/");
                    assert!(values.pointer(&format!("/{path}")).is_some(), "{page}: the chart has no value {setting}");
                }
                _ => {}
            }
        }
        for word in words.iter().filter(|w| w.starts_with("charts/") || w.starts_with("tests/")) {
            assert!(root.join(word).exists(), "{page}: {line}: no {word}");
        }
    }
}

/// The words of a line as a shell takes them, with quotes and comments.
fn words(line: &str) -> Vec<String> {
    let (mut all, mut word, mut quote) = (vec![], None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                word.get_or_insert_default();
                quote = Some(c);
            }
            (None, '#') if word.is_none() => break,
            (None, ' ') => all.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    all.extend(word);
    all
}

#[test]
fn every_command_of_kubectl_cutover_is_one() {
    let mut count = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).expect("a page");
        for line in blocks(&text, "sh").iter().flat_map(|b| b.lines().map(str::to_owned).collect::<Vec<_>>()) {
            let Some(rest) = line.trim().strip_prefix("kubectl cutover ") else { continue };
            let words = words(rest);
            let words: Vec<&str> =
                words.iter().map(String::as_str).take_while(|w| !["|", "&&", ">", "||"].contains(w)).collect();
            cutover::cli::reference::parses(&words).unwrap_or_else(|e| panic!("{}: {line}: {e}", page.display()));
            count += 1;
        }
    }
    assert!(count > 10, "{count} commands were found");
}

#[test]
fn the_gitops_matrix_is_the_table_that_the_cluster_is_tried_with() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = root.join("docs/gitops-matrix.md");
    let page = std::fs::read_to_string(&file).expect("the page");
    let (begin, end) = ("<!-- table -->\n", "<!-- end -->\n");
    let (head, rest) = page.split_once(begin).expect("where the table begins");
    let (_, tail) = rest.split_once(end).expect("where the table ends");
    let wanted = format!("{head}{begin}{}{end}{tail}", matrix::page(&matrix::read(root)));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, &wanted).expect("the page");
    } else {
        assert!(page == wanted, "UPDATE_EXPECT=1 cargo test --workspace --test docs");
    }
}
