//! The files of the command line, folders taken apart, within limits.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::cli::exit::Failure;
use crate::lint::{File, MAX_ALL, MAX_FILE};

/// Endings of the files that are taken from a folder.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];
/// Most files.
const MAX_FILES: usize = 10_000;
/// Deepest folder below one that is named.
const MAX_DEPTH: usize = 32;

/// Reads all of them, those of folders in the order of their names.
pub(super) fn read(named: &[PathBuf]) -> Result<Vec<File>, Failure> {
    let mut files = vec![];
    let mut left = MAX_ALL + 1;
    for path in named {
        if path.as_os_str() == "-" {
            let bytes = bounded(&mut std::io::stdin().lock(), left).map_err(|e| failure(path, &e))?;
            left = left.saturating_sub(bytes.len());
            files.push(File { name: "stdin".into(), bytes });
            continue;
        }
        let mut found = vec![];
        if path.is_dir() {
            folder(path, 0, &mut found)?;
        } else {
            found.push(path.clone());
        }
        for path in found {
            let mut file = std::fs::File::open(&path).map_err(|e| failure(&path, &e))?;
            let bytes = bounded(&mut file, left).map_err(|e| failure(&path, &e))?;
            left = left.saturating_sub(bytes.len());
            let name = path.to_string_lossy();
            let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
            files.push(File { name, bytes });
            if files.len() > MAX_FILES {
                return Err(Failure::new(format!("there are more than {MAX_FILES} files; name fewer folders")));
            }
        }
    }
    Ok(files)
}

/// What a file holds; of one that is too large, no more than shows that.
fn bounded(from: &mut impl Read, left: usize) -> std::io::Result<Vec<u8>> {
    let most = left.min(MAX_FILE + 1);
    let mut bytes = vec![];
    from.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The manifests of a folder and of those in it; hidden ones and links to folders are left out.
fn folder(path: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    if depth > MAX_DEPTH {
        let path = path.display();
        return Err(Failure::new(format!("{path} is more than {MAX_DEPTH} folders deep; name it, or fewer")));
    }
    let entries = std::fs::read_dir(path).map_err(|e| failure(path, &e))?;
    let mut entries: Vec<_> = entries.collect::<Result<_, _>>().map_err(|e| failure(path, &e))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let path = entry.path();
        let kind = entry.file_type().map_err(|e| failure(&path, &e))?;
        let manifest = path.extension().and_then(|e| e.to_str()).is_some_and(|e| ENDINGS.contains(&e));
        if kind.is_dir() {
            folder(&path, depth + 1, found)?;
        } else if manifest && path.is_file() {
            found.push(path);
        }
        if found.len() > MAX_FILES {
            return Err(Failure::new(format!("there are more than {MAX_FILES} files; name fewer folders")));
        }
    }
    Ok(())
}

fn failure(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{} cannot be read: {error}", path.display()))
}
