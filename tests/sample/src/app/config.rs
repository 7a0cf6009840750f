//! The environment of the stand-in application.

use anyhow::{Context, Result, bail};
use std::{net::IpAddr, path::PathBuf, str::FromStr, time::Duration};

/// Everything the application reads from its environment, once, at its start.
#[derive(Clone, Debug)]
pub struct AppConfig {
    /// `BIND`: address of both listeners (default `0.0.0.0`).
    pub bind: IpAddr,
    /// `PORT`: port of the application (default 8080).
    pub port: u16,
    /// `CONTROL_PORT`: port on which faults are set (default 8081).
    pub control_port: u16,
    /// `TLS_PORT`: port of the application with TLS (default 8443), open where there is a certificate.
    pub tls_port: u16,
    /// `TLS_CERT` and `TLS_KEY`: certificate chain and its key, as PEM.
    pub tls: Option<(String, String)>,
    /// `APP`: name of the application (default `sample`).
    pub app: String,
    /// `VERSION`: release that this pod claims to run.
    pub version: String,
    /// `COLOUR`: `blue` or `green`.
    pub colour: String,
    /// `POD_NAME`, or else `HOSTNAME`, which Kubernetes sets to the pod's name.
    pub pod: String,
    /// `READY_DELAY_MS`: time from the start until `/ready` answers 200.
    pub ready_delay: Duration,
    /// `DRAIN_MS`: time for which requests are still accepted after SIGTERM.
    pub drain: Duration,
    /// `GRACE_MS`: longest wait for running requests after the drain.
    pub grace: Duration,
    /// `FAULT_ERROR_RATE`: share of requests answered with 500.
    pub error_rate: f64,
    /// `FAULT_ROUTES`: what is wrong with single paths, such as `/execute=error,/simulate=slow:11000`: a part of the path and
    /// `error` (answers 500), `slow:MS`, or what the path itself knows (`invalid`, `open`).
    pub route_faults: Vec<(String, String)>,
    /// `FAULT_LEAK_MB`: grows by so much a second, after live traffic.
    pub leak_mb: u32,
    /// `FAULT_BURN`: keeps a processor busy, after live traffic.
    pub burn: bool,
    /// `FAULT_LOG`: a line that is logged ten times a second, after live traffic.
    pub log_line: Option<String>,
    /// `FAULT_LATENCY_MS`: added to each answer.
    pub latency: Duration,
    /// `FAULT_ONLY_AFTER_LIVE`: faults wait for the first live request.
    pub only_after_live: bool,
    /// `FAULT_ONLY_USERS`: errors meet live requests only, so that no check sees them.
    pub only_users: bool,
    /// `FAULT_CRASH_AFTER_MS`: exit with code 1 this long after the start.
    pub crash_after: Option<Duration>,
    /// `FAULT_DIE_AFTER_LIVE_MS`: exit with code 1 after live traffic, for good.
    pub die_after_live: Option<Duration>,
    /// `FAULT_UNREADY_AFTER_LIVE_MS`: not ready any more after live traffic.
    pub unready_after_live: Option<Duration>,
    /// `FAULT_STATE_DIR`: where a death is remembered (default `/dev/shm`).
    ///
    /// A container loses its own file system when it restarts. `/dev/shm` belongs
    /// to the pod sandbox, so a death survives there without a volume.
    pub state_dir: PathBuf,
}

impl AppConfig {
    /// Reads the configuration from the process environment.
    pub fn from_env() -> Result<Self> {
        Self::from_lookup(|key| std::env::var(key).ok())
    }

    /// Reads the configuration through `lookup`; an empty value counts as unset.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let env = |key: &str| lookup(key).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let text = |key: &str, default: &str| env(key).unwrap_or_else(|| default.to_owned());
        let error_rate: f64 = parse(&env, "FAULT_ERROR_RATE")?.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&error_rate) {
            bail!("FAULT_ERROR_RATE must be between 0 and 1, not {error_rate}");
        }
        Ok(Self {
            bind: parse(&env, "BIND")?.unwrap_or(IpAddr::from([0, 0, 0, 0])),
            port: parse(&env, "PORT")?.unwrap_or(8080),
            control_port: parse(&env, "CONTROL_PORT")?.unwrap_or(8081),
            tls_port: parse(&env, "TLS_PORT")?.unwrap_or(8443),
            tls: match (env("TLS_CERT"), env("TLS_KEY")) {
                (Some(cert), Some(key)) => Some((cert, key)),
                (None, None) => None,
                _ => bail!("TLS_CERT and TLS_KEY go together"),
            },
            app: text("APP", "sample"),
            version: text("VERSION", "0.0.0"),
            colour: text("COLOUR", "none"),
            pod: env("POD_NAME").or_else(|| env("HOSTNAME")).unwrap_or_else(|| "unknown".to_owned()),
            ready_delay: millis(&env, "READY_DELAY_MS")?.unwrap_or_default(),
            drain: millis(&env, "DRAIN_MS")?.unwrap_or(Duration::from_secs(3)),
            grace: millis(&env, "GRACE_MS")?.unwrap_or(Duration::from_secs(10)),
            error_rate,
            route_faults: route_faults(&text("FAULT_ROUTES", ""))?,
            leak_mb: parse(&env, "FAULT_LEAK_MB")?.unwrap_or(0),
            burn: flag(&env, "FAULT_BURN")?,
            log_line: env("FAULT_LOG"),
            latency: millis(&env, "FAULT_LATENCY_MS")?.unwrap_or_default(),
            only_after_live: flag(&env, "FAULT_ONLY_AFTER_LIVE")?,
            only_users: flag(&env, "FAULT_ONLY_USERS")?,
            crash_after: millis(&env, "FAULT_CRASH_AFTER_MS")?,
            die_after_live: millis(&env, "FAULT_DIE_AFTER_LIVE_MS")?,
            unready_after_live: millis(&env, "FAULT_UNREADY_AFTER_LIVE_MS")?,
            state_dir: text("FAULT_STATE_DIR", "/dev/shm").into(),
        })
    }

    /// The file that says: this pod has died of live traffic before.
    pub fn death_marker(&self) -> PathBuf {
        let name: String = format!("{}-{}-{}", self.pod, self.version, self.port)
            .chars()
            .map(|c| if c == '/' { '_' } else { c })
            .collect();
        self.state_dir.join(format!("sample-died-{name}"))
    }
}

fn route_faults(text: &str) -> Result<Vec<(String, String)>> {
    let rules = text.split(',').filter(|rule| !rule.is_empty());
    let pair = |rule: &str| rule.split_once('=').map(|(path, kind)| (path.to_owned(), kind.to_owned()));
    rules.map(|rule| pair(rule).with_context(|| format!("FAULT_ROUTES: {rule}: PATH=KIND is expected"))).collect()
}

fn parse<T>(env: &impl Fn(&str) -> Option<String>, key: &str) -> Result<Option<T>>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    env(key).map(|value| value.parse().with_context(|| format!("{key}={value}"))).transpose()
}

fn millis(env: &impl Fn(&str) -> Option<String>, key: &str) -> Result<Option<Duration>> {
    Ok(parse(env, key)?.map(Duration::from_millis))
}

fn flag(env: &impl Fn(&str) -> Option<String>, key: &str) -> Result<bool> {
    match env(key).as_deref() {
        None | Some("0" | "false" | "no") => Ok(false),
        Some("1" | "true" | "yes") => Ok(true),
        Some(other) => bail!("{key} must be 1 or 0, not {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_values_count_as_unset() {
        let config = AppConfig::from_lookup(|_| Some(String::new())).unwrap();
        assert_eq!(config.port, 8080);
        assert_eq!(config.crash_after, None);
        assert!(!config.only_after_live);
    }

    #[test]
    fn nonsense_is_refused_and_names_the_variable() {
        for (key, value) in [
            ("FAULT_ERROR_RATE", "1.5"),
            ("FAULT_ERROR_RATE", "NaN"),
            ("FAULT_ONLY_AFTER_LIVE", "maybe"),
            ("READY_DELAY_MS", "3s"),
            ("FAULT_ROUTES", "/execute"),
        ] {
            let lookup = |k: &str| (k == key).then(|| value.to_owned());
            let error = AppConfig::from_lookup(lookup).unwrap_err();
            assert!(format!("{error:#}").contains(key), "{error:#}");
        }
    }
}
