//! One use of the command line: the connection, with nothing but the user's own rights, and whom it speaks as.

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::cluster::Cluster;
use super::exit::Failure;
use super::global::Global;
use super::rights::Right;
use super::text::Look;

/// What a command works with.
pub(crate) struct Session {
    pub cluster: Cluster,
    pub global: Global,
    pub look: Look,
}

impl Session {
    /// Connects. `rights`: all that the command may ask of the API server.
    ///
    /// # Errors
    /// There is no context, or the kubeconfig cannot be read.
    pub(crate) async fn open(global: &Global, rights: &'static [Right]) -> Result<Self, Failure> {
        Self::open_for(global, rights, None).await
    }

    /// The same for long watches. `silent`: after so much silence a connection counts as lost.
    ///
    /// # Errors
    /// As above.
    pub(crate) async fn open_for(
        global: &Global,
        rights: &'static [Right],
        silent: Option<std::time::Duration>,
    ) -> Result<Self, Failure> {
        let mut config = config(global).await?;
        config.read_timeout = silent;
        let (url, namespace) = (config.cluster_url.to_string(), config.default_namespace.clone());
        let client =
            Client::try_from(config).map_err(|e| Failure::new(format!("the kubeconfig cannot be used: {e}")))?;
        let namespace = global.namespace.clone().unwrap_or(namespace);
        let context = global.context.clone();
        let cluster = Cluster::new(client, namespace, url, context, rights, global.request_timeout);
        Ok(Self { cluster, global: global.clone(), look: Look::of_stdout(global.color) })
    }

    /// The namespace that the command is about.
    pub(crate) fn namespace(&self) -> &str {
        &self.cluster.namespace
    }
}

/// The connection's settings.
async fn config(global: &Global) -> Result<Config, Failure> {
    let options = KubeConfigOptions { context: global.context.clone(), ..KubeConfigOptions::default() };
    let chosen = global.context.is_some() || global.kubeconfig.is_some();
    let read = match &global.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let from_file = match read {
        Ok(file) => {
            let contexts: Vec<String> = file.contexts.iter().map(|c| c.name.clone()).collect();
            Config::from_custom_kubeconfig(file, &options).await.map_err(|e| (e.to_string(), contexts))
        }
        Err(e) => Err((e.to_string(), vec![])),
    };
    let mut config = match from_file {
        Ok(config) => config,
        Err((_, contexts)) if contexts.is_empty() && !chosen => {
            Config::incluster().map_err(|_| no_cluster(None, &[]))?
        }
        Err((why, contexts)) => return Err(no_cluster(Some(&why), &contexts)),
    };
    config.connect_timeout = Some(global.request_timeout.min(std::time::Duration::from_secs(10)));
    config.write_timeout = Some(global.request_timeout);
    if let Some(user) = &global.as_user {
        config.auth_info.impersonate = Some(user.clone());
        config.auth_info.impersonate_groups = Some(global.as_group.clone()).filter(|g| !g.is_empty());
    }
    let agent = format!("kubectl-cutover/{}", env!("CARGO_PKG_VERSION"));
    if let Ok(agent) = http::HeaderValue::from_str(&agent) {
        config.headers.push((http::header::USER_AGENT, agent));
    }
    Ok(config)
}

fn no_cluster(why: Option<&str>, contexts: &[String]) -> Failure {
    let why = why.map(|w| format!(": {w}")).unwrap_or_default();
    let failure = Failure::new(format!("no cluster{why}"));
    match contexts {
        [] => failure.next("set KUBECONFIG, or give --kubeconfig FILE"),
        some => failure.next(format!("choose one with --context: {}", some.join(", "))),
    }
}

impl Session {
    /// What printed commands need behind them to mean the same cluster and namespace.
    pub(crate) fn flags(&self) -> String {
        let namespace = format!(" -n {}", self.namespace());
        namespace + &self.cluster.context_flag()
    }
}
