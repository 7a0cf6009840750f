//! What GitOps tools make of a Cutover: the packages under `deploy/gitops` are fed with live objects of every phase, which are
//! made here ([`objects`]) and compared with the files (`UPDATE_EXPECT=1` writes them anew), and are run by the tools' own
//! code ([`tools`]).

#[path = "../sim/cutover.rs"]
mod api_server;
mod argocd;
mod flux;
mod objects;
mod package;
#[path = "../sim/cutover_process.rs"]
mod process;
#[path = "../sim/mod.rs"]
mod sim;
mod tools;
#[path = "../sim/cutover_words.rs"]
mod words;

use std::path::{Path, PathBuf};

/// A file or folder of the source.
pub fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Where the customizations of Argo CD are.
pub const CUSTOMIZATIONS: &str = "deploy/gitops/argocd/resource_customizations/cutover.dev";

/// Compares a generated file with what is there, or writes it with `UPDATE_EXPECT=1`.
pub fn expect(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == text, "{} is not of this version (UPDATE_EXPECT=1 writes it)", path.display());
}

/// The names of the files in a folder, without their ending.
pub fn names(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let name = |file: std::io::Result<std::fs::DirEntry>| {
        let path = file.expect("a file").path();
        path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let mut names: Vec<String> = files.map(name).collect();
    names.sort();
    names
}
