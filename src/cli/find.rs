//! Which Cutover and which run a name means.

use kube::ResourceExt;
use kube::api::ListParams;

use super::cluster::Cluster;
use super::exit::Failure;
use crate::api::cutover::Cutover;
use crate::api::run::CutoverRun;

/// A Cutover with its runs, the newest last.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub cutover: Cutover,
    pub runs: Vec<CutoverRun>,
    /// The run that was named, or the newest.
    pub run: Option<CutoverRun>,
}

/// What a name may be.
enum Named<'a> {
    Cutover(&'a str),
    Run(&'a str),
    Either(&'a str),
}

fn parse(name: &str) -> Result<Named<'_>, Failure> {
    Ok(match name.split_once('/') {
        None => Named::Either(name),
        Some(("cutover" | "cutovers" | "cut" | "cutover.cutover.dev" | "cutovers.cutover.dev", name)) => {
            Named::Cutover(name)
        }
        Some((
            "run" | "cutoverrun" | "cutoverruns" | "cutrun" | "cutoverrun.cutover.dev" | "cutoverruns.cutover.dev",
            name,
        )) => Named::Run(name),
        Some(_) => {
            return Err(Failure::new(format!("{name} is neither a Cutover nor a run"))
                .next("name it as cutover/NAME or run/NAME"));
        }
    })
}

/// Finds what is meant by a name: a Cutover, a run, `cutover/NAME` or `run/NAME`; without one, the only Cutover of the
/// namespace.
///
/// # Errors
/// There is none, or more than one.
pub(crate) async fn find(cluster: &Cluster, name: Option<&str>) -> Result<Found, Failure> {
    let namespace = &cluster.namespace;
    let Some(name) = name else { return only(cluster).await };
    match parse(name)? {
        Named::Cutover(name) => match cluster.get::<Cutover>(namespace, name).await? {
            Some(cutover) => of_cutover(cluster, cutover).await,
            None => Err(nothing(cluster, name).await),
        },
        Named::Run(name) => match cluster.get::<CutoverRun>(namespace, name).await? {
            Some(run) => of_run(cluster, run).await,
            None => Err(nothing(cluster, name).await),
        },
        Named::Either(name) => {
            let (cutover, run) = futures::future::join(
                cluster.get::<Cutover>(namespace, name),
                cluster.get::<CutoverRun>(namespace, name),
            )
            .await;
            match (cutover?, run?) {
                (Some(_), Some(_)) => Err(Failure::new(format!("{name} is a Cutover and a run of another one"))
                    .next(format!("name it as cutover/{name} or run/{name}"))),
                (Some(cutover), None) => of_cutover(cluster, cutover).await,
                (None, Some(run)) => of_run(cluster, run).await,
                (None, None) => Err(nothing(cluster, name).await),
            }
        }
    }
}

async fn only(cluster: &Cluster) -> Result<Found, Failure> {
    let namespace = &cluster.namespace;
    let mut all: Vec<Cutover> = cluster.list(Some(namespace), &ListParams::default()).await?;
    match (all.pop(), all.len()) {
        (None, _) => Err(none_there(cluster)),
        (Some(cutover), 0) => of_cutover(cluster, cutover).await,
        (Some(last), _) => {
            let names: Vec<String> = all.iter().chain([&last]).map(ResourceExt::name_any).collect();
            Err(Failure::new(format!("namespace {namespace} has {} Cutovers", names.len()))
                .next(format!("name one of {}", names.join(", "))))
        }
    }
}

async fn of_cutover(cluster: &Cluster, cutover: Cutover) -> Result<Found, Failure> {
    let runs = runs(cluster, &cutover.name_any()).await?;
    // Runs of a former Cutover of the same name are another's.
    let uid = cutover.metadata.uid.as_deref().unwrap_or_default();
    let runs: Vec<CutoverRun> = runs.into_iter().filter(|r| r.spec.cutover_uid == uid).collect();
    let run = runs.last().cloned();
    Ok(Found { cutover, runs, run })
}

async fn of_run(cluster: &Cluster, run: CutoverRun) -> Result<Found, Failure> {
    let name = &run.spec.cutover;
    let Some(cutover) = cluster.get::<Cutover>(&cluster.namespace, name).await? else {
        return Err(Failure::new(format!("run {} is of Cutover {name}, which is gone", run.name_any())).next(format!(
            "kubectl get cutoverrun {} -n {} -o yaml",
            run.name_any(),
            cluster.namespace
        )));
    };
    let runs = runs(cluster, name).await?;
    Ok(Found { cutover, runs, run: Some(run) })
}

/// The runs of a Cutover, the newest last.
pub(crate) async fn runs(cluster: &Cluster, cutover: &str) -> Result<Vec<CutoverRun>, Failure> {
    let all: Vec<CutoverRun> = cluster.list(Some(&cluster.namespace), &ListParams::default()).await?;
    let mut runs: Vec<CutoverRun> = all.into_iter().filter(|r| r.spec.cutover == cutover).collect();
    runs.sort_by_key(number);
    Ok(runs)
}

/// Runs are numbered; a name without a number sorts by its creation, before all others.
pub(crate) fn number(run: &CutoverRun) -> (u64, Option<jiff::Timestamp>) {
    let number = run.name_any().rsplit_once('-').and_then(|(_, n)| n.parse().ok()).unwrap_or(0);
    (number, run.metadata.creation_timestamp.as_ref().map(|t| t.0))
}

async fn nothing(cluster: &Cluster, name: &str) -> Failure {
    let namespace = &cluster.namespace;
    let all: Result<Vec<Cutover>, Failure> = cluster.list(Some(namespace), &ListParams::default()).await;
    match all {
        Ok(all) if !all.is_empty() => {
            let names: Vec<String> = all.iter().map(ResourceExt::name_any).collect();
            Failure::new(format!("namespace {namespace} has no Cutover or run {name}"))
                .next(format!("name one of {}", names.join(", ")))
        }
        Ok(_) => none_there(cluster),
        Err(failure) => failure,
    }
}

fn none_there(cluster: &Cluster) -> Failure {
    Failure::new(format!("namespace {} has no Cutover", cluster.namespace))
        .next(format!("kubectl cutover status -A{}", cluster.context_flag()))
}
