//! Sources of metrics that the operator's configuration offers. Their files are read at each query, since tokens and
//! authorities are replaced while the operator runs. Errors name files, never what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::api::step::Scheme;

/// Longest file: a bundle of all public authorities has a quarter of it.
const LONGEST: u64 = 1024 * 1024;

/// Where a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Spot {
    /// A Service of any namespace.
    Service {
        namespace: String,
        name: String,
        port: u16,
        /// Plain or TLS.
        scheme: Scheme,
    },
    /// A URL, whose address may be private.
    Url(String),
}

/// One source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub(crate) spot: Spot,
    /// Authorities in PEM, trusted for this source instead of the operator's own.
    pub(crate) ca_file: Option<PathBuf>,
    /// Its content is sent as a bearer token.
    pub(crate) bearer_token_file: Option<PathBuf>,
    /// Sent as `X-Scope-OrgID`.
    pub tenant: Option<String>,
    /// The namespaces whose Cutovers may ask; `None`: all.
    pub(crate) namespaces: Option<BTreeSet<String>>,
    /// How each query is held to the namespace of its Cutover.
    pub(crate) enforce: Option<Enforce>,
}

/// What the namespace of a Cutover is sent as. Whoever answers, such as prom-label-proxy or a gateway of Mimir, shows no series of
/// another one; no query is rewritten here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Enforce {
    Header(HeaderName),
    /// In the query of the URL.
    Parameter(String),
}

/// All of them, by name. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sources(Arc<BTreeMap<String, Source>>);

impl From<BTreeMap<String, Source>> for Sources {
    fn from(all: BTreeMap<String, Source>) -> Self {
        Self(Arc::new(all))
    }
}

impl Sources {
    /// The source of this name, for Cutovers of a namespace: a run outlives the configuration that it began with.
    ///
    /// # Errors
    /// Says that there is none, and which there are.
    pub(crate) fn get(&self, name: &str, namespace: &str) -> Result<&Source, String> {
        let offered = |source: &Source| source.namespaces.as_ref().is_none_or(|only| only.contains(namespace));
        self.0.get(name).filter(|source| offered(source)).ok_or_else(|| {
            let names = self.0.iter().filter(|(_, source)| offered(source)).map(|(name, _)| name.as_str());
            let names: Vec<&str> = names.collect();
            let offered = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            format!("the operator's configuration has no source {name:?} for namespace {namespace} any more; it offers: {offered}")
        })
    }

    /// All, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Source)> {
        self.0.iter()
    }
}

impl Source {
    /// Without any option.
    #[cfg(test)]
    pub(crate) fn of(spot: Spot) -> Self {
        Self { spot, ca_file: None, bearer_token_file: None, tenant: None, namespaces: None, enforce: None }
    }

    /// Its files that cannot be read at this moment, with the reasons.
    pub(crate) fn unreadable(&self) -> Vec<String> {
        let files = [("caFile", &self.ca_file), ("bearerTokenFile", &self.bearer_token_file)];
        let files = files.into_iter().filter_map(|(field, path)| Some((field, path.as_ref()?)));
        files.filter_map(|(field, path)| read(field, path).err()).collect()
    }

    /// The value of the header Authorization.
    pub(super) async fn bearer_token(&self) -> Result<Option<HeaderValue>, String> {
        let Some(path) = &self.bearer_token_file else { return Ok(None) };
        let token = read_live("bearerTokenFile", path).await?;
        let token = token.trim_ascii();
        if token.is_empty() {
            return Err(format!("bearerTokenFile {} is empty", path.display()));
        }
        let mut line = b"Bearer ".to_vec();
        line.extend_from_slice(token);
        let mut value = HeaderValue::from_bytes(&line)
            .map_err(|_| format!("bearerTokenFile {} has characters no header may have", path.display()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// The authorities: the name of the file and its content.
    pub(super) async fn authorities(&self) -> Result<Option<(String, Vec<u8>)>, String> {
        let Some(path) = &self.ca_file else { return Ok(None) };
        Ok(Some((path.display().to_string(), read_live("caFile", path).await?)))
    }
}

/// Off the threads that drive runs: a volume can be slow.
pub(super) async fn read_live(field: &'static str, path: &Path) -> Result<Vec<u8>, String> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || read(field, &path)).await.map_err(|_| format!("{field} was not read"))?
}

fn read(field: &str, path: &Path) -> Result<Vec<u8>, String> {
    let mut content = vec![];
    let file = std::fs::File::open(path);
    let done = file.and_then(|file| file.take(LONGEST + 1).read_to_end(&mut content));
    done.map_err(|e| format!("{field} {} cannot be read: {e}", path.display()))?;
    if content.len() as u64 > LONGEST {
        return Err(format!("{field} {} is larger than {} KiB", path.display(), LONGEST / 1024));
    }
    Ok(content)
}
