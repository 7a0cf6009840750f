//! The operator as a plain process with its own account's rights, so that `/proc` says what it costs.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;

/// A running operator. It is killed when this is dropped.
pub struct Operator {
    child: Child,
    /// When the process was started.
    pub started: Timestamp,
    /// Where it serves its health.
    pub health: String,
}

/// What `/proc` says of a process.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Resident memory in MiB.
    pub resident: f64,
    /// The most that ever was resident, in MiB.
    pub peak: f64,
    /// Processor time so far, in seconds.
    pub cpu: f64,
}

/// How operators are started.
pub struct Launcher {
    /// The program.
    pub program: PathBuf,
    /// A kubeconfig of the operator's own account.
    pub kubeconfig: PathBuf,
    /// Its log, which is appended to.
    pub log: PathBuf,
    /// Further arguments.
    pub arguments: Vec<String>,
}

impl Launcher {
    /// Starts one that looks after the whole cluster.
    pub fn start(&self) -> Result<Operator> {
        let port = free_port()?;
        let out = open(&self.log)?;
        let started = Timestamp::now();
        let child = Command::new(&self.program)
            .args(["run", "--listen", &format!("127.0.0.1:{port}")])
            .args(&self.arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("{} does not start", self.program.display()))?;
        Ok(Operator { child, started, health: format!("http://127.0.0.1:{port}") })
    }
}

impl Operator {
    /// Fails when it has ended by itself.
    pub fn alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(how) => bail!("the operator ended by itself: {how}"),
            None => Ok(()),
        }
    }

    /// What it costs.
    pub fn usage(&self) -> Result<Usage> {
        usage(self.child.id())
    }
}

impl Operator {
    /// Its established TCP connections.
    pub fn connections(&self) -> Result<usize> {
        let pid = self.child.id();
        let mut sockets = std::collections::BTreeSet::new();
        for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).context("the descriptors of the operator")? {
            // One that is closed meanwhile leads nowhere.
            let Ok(leads) = std::fs::read_link(entry?.path()) else { continue };
            let inode = leads.to_str().and_then(|l| l.strip_prefix("socket:[")?.strip_suffix(']')).map(str::to_owned);
            sockets.extend(inode);
        }
        let mut count = 0;
        for table in ["tcp", "tcp6"] {
            let text = read(&format!("/proc/{pid}/net/{table}"))?;
            // State and inode are the fourth and the tenth field; 01 is an established connection.
            let fields = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            count +=
                fields.filter(|f| f.get(3) == Some(&"01") && f.get(9).is_some_and(|i| sockets.contains(*i))).count();
        }
        Ok(count)
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn usage(pid: u32) -> Result<Usage> {
    let status = read(&format!("/proc/{pid}/status"))?;
    let kib = |name: &str| -> Result<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
        let number = line.split_whitespace().next().with_context(|| format!("{name} has no number"))?;
        Ok(number.parse::<f64>()? / 1024.0)
    };
    let stat = read(&format!("/proc/{pid}/stat"))?;
    // The name, in brackets, may hold spaces; the times are the 14th and 15th field.
    let rest = stat.rsplit_once(')').context("/proc/PID/stat")?.1;
    let ticks: f64 = rest.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum();
    // The kernel counts in hundredths of a second for every program, whatever its own clock.
    Ok(Usage { resident: kib("VmRSS:")?, peak: kib("VmHWM:")?, cpu: ticks / 100.0 })
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.to_owned())
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).open(path).with_context(|| path.display().to_string())
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Ends every process of the containers of these pods with SIGKILL, as a node that runs out of memory does. The pause
/// processes stay, so that the pods keep their addresses. Says how many it ended.
pub fn kill_containers(pod_uids: &[String]) -> Result<usize> {
    let mut pids = vec![];
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let Some(pid) = path.file_name().and_then(|n| n.to_str()).filter(|n| n.bytes().all(|b| b.is_ascii_digit()))
        else {
            continue;
        };
        // A process may end while it is looked at.
        let Ok(groups) = std::fs::read_to_string(path.join("cgroup")) else { continue };
        let of_pod = pod_uids.iter().any(|uid| groups.contains(uid) || groups.contains(&uid.replace('-', "_")));
        let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
        if of_pod && name.trim() == "sample" {
            pids.push(pid.to_owned());
        }
    }
    if pids.is_empty() {
        bail!("no process of the pods was found: the bench has to run on the machine that runs them, as root");
    }
    let killed = Command::new("kill").arg("-9").args(&pids).status().context("kill")?;
    if !killed.success() {
        bail!("kill -9 {}: {killed}", pids.join(" "));
    }
    Ok(pids.len())
}
