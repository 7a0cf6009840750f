//! `bom sbom|notices`: what the package `cutover` is made of, as Cargo.lock pins it: a bill of materials (CycloneDX, JSON),
//! or the licence texts of all of it. No time, path or number of its own stands in either: the same source gives the same text.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

/// Whose parts are listed.
const PACKAGE: &str = "cutover";
/// Beginnings of the names of files that licences ask to be kept.
const KEPT: [&str; 7] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE", "PATENTS"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
}

/// A crate.
#[derive(Clone, Debug, Default, Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// Where it comes from; none for one of the workspace.
    source: Option<String>,
    manifest_path: PathBuf,
    /// Of its archive, as Cargo.lock says.
    #[serde(skip)]
    checksum: Option<String>,
}

impl Package {
    fn url(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version)
    }
}

fn cargo(args: &[&str]) -> Result<String> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())).args(args).output()?;
    ensure!(output.status.success(), "cargo {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Name and version of each line of `cargo tree --prefix none`.
fn listed(tree: &str) -> BTreeSet<(String, String)> {
    let one = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
        Some((name.to_owned(), version.to_owned()))
    };
    tree.lines().filter_map(one).collect()
}

/// Checksums by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let text = |block: &str, field: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(&format!("{field} = ")))?;
        Some(line.trim_matches('"').to_owned())
    };
    let blocks = lock.split("[[package]]").skip(1);
    blocks.filter_map(|b| Some(((text(b, "name")?, text(b, "version")?), text(b, "checksum")?))).collect()
}

/// The platform that programs are built for.
fn target() -> Result<String> {
    if let Ok(target) = std::env::var("CARGO_BUILD_TARGET") {
        return Ok(target);
    }
    let output = Command::new("rustc").arg("-vV").output().context("rustc")?;
    let text = String::from_utf8(output.stdout)?;
    text.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned).context("rustc names no host")
}

/// Everything that is in the program, in the order of names: neither what only builds it nor what only tests use.
fn parts() -> Result<Vec<Package>> {
    let target = target()?;
    let of_program = ["--package", PACKAGE, "--target", &target, "--edges", "normal,no-proc-macro", "--prefix", "none"];
    let listed = listed(&cargo(&[&["tree", "--locked"], &of_program[..]].concat())?);
    // Of this platform alone: what others need may not be on this machine.
    let metadata = ["metadata", "--locked", "--format-version", "1", "--filter-platform", &target];
    let metadata: Metadata = serde_json::from_str(&cargo(&metadata)?)?;
    let lock = std::fs::read_to_string(metadata.workspace_root.join("Cargo.lock")).context("Cargo.lock")?;
    let checksums = checksums(&lock);
    let mut parts: Vec<Package> = vec![];
    for (name, version) in listed {
        let found = metadata.packages.iter().find(|p| p.name == name && p.version == version);
        let mut part = found.with_context(|| format!("cargo metadata does not know {name} {version}"))?.clone();
        part.checksum = checksums.get(&(name, version)).cloned();
        parts.push(part);
    }
    ensure!(parts.iter().any(|p| p.name == PACKAGE) && parts.len() > 50, "{} parts are not all", parts.len());
    Ok(parts)
}

fn component(part: &Package, kind: &str) -> Value {
    let mut component = json!({
        "type": kind, "bom-ref": part.url(), "name": part.name, "version": part.version, "purl": part.url(),
    });
    if let Some(license) = &part.license {
        // Older crates write a slash for OR, which is no expression.
        component["licenses"] = json!([{"expression": license.replace('/', " OR ")}]);
    }
    if let Some(checksum) = &part.checksum {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    component
}

fn sbom(parts: &[Package]) -> Result<String> {
    let own = parts.iter().find(|p| p.name == PACKAGE).context("the program itself")?;
    let others: Vec<Value> = parts.iter().filter(|p| p.source.is_some()).map(|p| component(p, "library")).collect();
    let bom = json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"component": component(own, "application")},
        "components": others,
    });
    Ok(serde_json::to_string_pretty(&bom)? + "\n")
}

/// The files of a crate that its licence asks to be kept, by name.
fn texts(folder: &Path) -> Result<Vec<String>> {
    let mut names: Vec<PathBuf> = vec![];
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        if KEPT.iter().any(|kept| name.starts_with(kept)) && entry.file_type()?.is_file() {
            names.push(entry.path());
        }
    }
    names.sort();
    let text = |path: &PathBuf| std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).replace("\r\n", "\n"));
    names.iter().map(|path| text(path).with_context(|| path.display().to_string())).collect()
}

/// Each text once, under all that it is for.
fn notices(parts: &[(Package, Vec<String>)]) -> String {
    let mut by_text: Vec<(&str, Vec<String>)> = vec![];
    let mut all = String::from("What Cutover is made of beside its own code, and under which licences.\n\n");
    for (part, texts) in parts {
        let license = part.license.as_deref().unwrap_or("see its text below");
        all += &format!("{} {}: {license}\n", part.name, part.version);
        for text in texts {
            let name = format!("{} {}", part.name, part.version);
            match by_text.iter_mut().find(|(known, _)| known.trim() == text.trim()) {
                Some((_, names)) => names.push(name),
                None => by_text.push((text, vec![name])),
            }
        }
    }
    for (text, names) in by_text {
        all += &format!("\n{}\n{}\n\n{}\n", "=".repeat(80), names.join(", "), text.trim());
    }
    all
}

fn main() -> Result<()> {
    let parts = parts()?;
    match std::env::args().nth(1).as_deref() {
        Some("sbom") => print!("{}", sbom(&parts)?),
        Some("notices") => {
            let others = parts.into_iter().filter(|p| p.source.is_some());
            let with_texts = others.map(|part| {
                let folder = part.manifest_path.parent().context("a folder")?.to_owned();
                let texts = texts(&folder)?;
                anyhow::Ok((part, texts))
            });
            print!("{}", notices(&with_texts.collect::<Result<Vec<_>>>()?));
        }
        _ => bail!("say sbom or notices"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, license: &str) -> Package {
        let source = (name != PACKAGE).then(|| "registry".to_owned());
        Package {
            name: name.into(),
            version: "1.0.0".into(),
            license: Some(license.into()),
            source,
            ..Package::default()
        }
    }

    #[test]
    fn a_line_of_the_tree_is_a_crate() {
        let tree = "cutover v0.1.0 (/src)\na v1.0.0\nb v2.0.0-rc.1 (*)\n\n";
        let names: Vec<String> = listed(tree).into_iter().map(|(name, version)| format!("{name} {version}")).collect();
        assert_eq!(names, ["a 1.0.0", "b 2.0.0-rc.1", "cutover 0.1.0"]);
    }

    #[test]
    fn checksums_stand_in_the_lock() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"registry\"\nchecksum = \"12ab\"\n\n\
                    [[package]]\nname = \"cutover\"\nversion = \"0.1.0\"\ndependencies = [\n \"a\",\n]\n";
        assert_eq!(checksums(lock).into_iter().collect::<Vec<_>>(), [(("a".into(), "1.0.0".into()), "12ab".into())]);
    }

    #[test]
    fn the_bill_lists_others_and_names_the_program() {
        let mut a = part("a", "MIT/Apache-2.0");
        a.checksum = Some("12ab".into());
        let bom: Value = serde_json::from_str(&sbom(&[a, part(PACKAGE, "Apache-2.0")]).expect("a bill")).expect("JSON");
        assert_eq!(bom["metadata"]["component"]["name"], PACKAGE);
        assert_eq!(bom["components"].as_array().map(Vec::len), Some(1));
        assert_eq!(bom["components"][0]["purl"], "pkg:cargo/a@1.0.0");
        assert_eq!(bom["components"][0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(bom["components"][0]["hashes"][0]["content"], "12ab");
    }

    #[test]
    fn one_text_stands_once_under_all_that_it_is_for() {
        let text = |text: &str| vec![text.to_owned()];
        let all = notices(&[(part("a", "MIT"), text("Permission\n")), (part("b", "MIT"), text("\nPermission"))]);
        assert_eq!(all.matches("Permission").count(), 1, "{all}");
        assert!(all.contains("a 1.0.0, b 1.0.0\n\nPermission\n"), "{all}");
    }

    #[test]
    fn everything_that_is_in_the_program_has_a_licence_and_a_checksum() {
        let parts = parts().expect("cargo says what it is made of");
        let lacks: Vec<&str> = parts
            .iter()
            .filter(|p| p.license.is_none() || p.source.is_some() && p.checksum.is_none())
            .map(|p| p.name.as_str())
            .collect();
        assert!(lacks.is_empty(), "{lacks:?}");
        assert!(
            parts.iter().any(|p| p.name == "rustls") && !parts.iter().any(|p| p.name == "rcgen"),
            "only what is shipped"
        );
        let first = sbom(&parts).expect("a bill");
        assert!(first == sbom(&parts).expect("a bill") && !first.contains(env!("CARGO_MANIFEST_DIR")));
    }
}
