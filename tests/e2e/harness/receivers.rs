//! Real receivers of notifications as processes beside the tests: an Alertmanager, and a mail server (Exim) with TLS and
//! passwords. Both are Debian packages that the test cluster's `package` unpacks.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};

use super::case::secs;
use super::seen::program;
use super::wait;

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has seen.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An address on `ip` that nobody listens on at the moment.
async fn free_port(ip: &str) -> Result<u16> {
    Ok(tokio::net::TcpListener::bind((ip, 0)).await?.local_addr()?.port())
}

async fn listens(what: &str, at: &str) -> Result<()> {
    wait::poll(what, secs(30), async || Ok(tokio::net::TcpStream::connect(at).await.is_ok().then_some(()))).await
}

/// Debian's reads its templates from where it would be installed: there it sees what its package has.
const WITH_SHARE: &str = "mount --bind \"$1\" /usr/share && shift && exec \"$@\"";

/// An Alertmanager.
pub struct Alertmanager {
    process: Option<Process>,
    program: PathBuf,
    folder: PathBuf,
    /// Where it listens.
    pub at: String,
    http: reqwest::Client,
}

impl Alertmanager {
    /// Starts one on `ip` that tells `hook`, at once, of each alert and of its end.
    pub async fn start(folder: &Path, ip: &str, hook: &str) -> Result<Self> {
        let program = program("prometheus-alertmanager", "prometheus-alertmanager")
            .context("there is no Alertmanager: tests/cluster/cluster package prometheus-alertmanager")?;
        let folder = folder.join("alertmanager");
        fs::create_dir_all(&folder)?;
        let config = format!(
            "route: {{receiver: test, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}\n\
             receivers: [{{name: test, webhook_configs: [{{url: {hook:?}, send_resolved: true}}]}}]\n"
        );
        fs::write(folder.join("config.yml"), config)?;
        let at = format!("{ip}:{}", free_port(ip).await?);
        let http = reqwest::Client::builder().no_proxy().build()?;
        let mut it = Self { process: None, program, folder, at, http };
        it.up().await?;
        Ok(it)
    }

    /// Starts it (again), with what it has stored.
    pub async fn up(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.folder.join("log"))?;
        let share = self.program.parent().and_then(Path::parent).context("a program of a package")?.join("share");
        let child = Command::new("unshare")
            .args(["--mount", "sh", "-c", WITH_SHARE, "sh"])
            .args([&share, &self.program])
            .arg(format!("--config.file={}", self.folder.join("config.yml").display()))
            .arg(format!("--storage.path={}", self.folder.join("data").display()))
            .arg(format!("--web.listen-address={}", self.at))
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.process = Some(Process(child));
        listens("Alertmanager", &self.at).await
    }

    /// Ends it, as when its machine is gone.
    pub fn down(&mut self) {
        self.process = None;
    }

    /// An alert of this name, with this label `team`, fires from now on.
    pub async fn fire(&self, name: &str, team: &str) -> Result<()> {
        let labels = json!({"alertname": name, "team": team});
        let ends = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(10);
        self.post("alerts", &json!([{"labels": labels, "startsAt": jiff::Timestamp::now(), "endsAt": ends}])).await
    }

    /// Alerts of this name are silenced for some minutes.
    pub async fn silence(&self, name: &str) -> Result<()> {
        let now = jiff::Timestamp::now();
        let silence = json!({
            "matchers": [{"name": "alertname", "value": name, "isRegex": false, "isEqual": true}],
            "startsAt": now, "endsAt": now + jiff::SignedDuration::from_mins(10),
            "createdBy": "test", "comment": "known",
        });
        self.post("silences", &silence).await
    }

    async fn post(&self, what: &str, body: &Value) -> Result<()> {
        let url = format!("http://{}/api/v2/{what}", self.at);
        let body = serde_json::to_vec(body)?;
        let answer = self.http.post(url).header("content-type", "application/json").body(body).send().await?;
        ensure!(answer.status().is_success(), "{what}: {}", answer.text().await?);
        Ok(())
    }

    /// The names of the alerts of a Cutover that fire, as its API shows them.
    pub async fn firing(&self, namespace: &str) -> Result<Vec<String>> {
        let answer = self.http.get(format!("http://{}/api/v2/alerts", self.at)).send().await?.bytes().await?;
        let alerts: Vec<Value> = serde_json::from_slice(&answer)?;
        let of = |alert: &&Value| alert["labels"]["namespace"] == namespace;
        let name = |alert: &Value| alert["labels"]["alertname"].as_str().unwrap_or_default().to_owned();
        Ok(alerts.iter().filter(of).map(name).collect())
    }
}

/// A mail that was delivered.
#[derive(Debug)]
pub struct Delivered {
    /// By name; folded lines are one.
    pub headers: BTreeMap<String, String>,
    /// As it was sent: encoded.
    pub body: String,
}

/// A mail server that takes mail for `shop.example` from the user `cutover` alone, under TLS alone, and nobody named `gone`.
pub struct MailServer {
    _process: Process,
    folder: PathBuf,
    /// Where TLS is spoken from the start.
    pub smtps: SocketAddr,
    /// Where it begins with STARTTLS.
    pub starttls: SocketAddr,
    /// The authority of its certificate, in PEM.
    pub authority: PathBuf,
}

/// Exim looks up its own user by name and wants root to start: in the name space of mounts that it is started in, the files of
/// users are its own.
const START: &str = "mount --bind \"$1/passwd\" /etc/passwd && mount --bind \"$1/group\" /etc/group && \
                     exec \"$2\" -bdf -C \"$1/exim.conf\"";
const UID: u32 = 65001;

impl MailServer {
    /// Starts one on `ip` that knows this password.
    pub async fn start(folder: &Path, ip: &str, password: &str) -> Result<Self> {
        let program = program("exim4", "exim4-daemon-light")
            .context("there is no Exim: tests/cluster/cluster package exim4-daemon-light")?;
        let folder = folder.join("mail");
        for part in ["spool", "box", "log"] {
            fs::create_dir_all(folder.join(part))?;
            std::os::unix::fs::chown(folder.join(part), Some(UID), Some(UID))?;
        }
        let authority = certificate(&folder, ip)?;
        let smtps = SocketAddr::new(ip.parse()?, free_port(ip).await?);
        let starttls = SocketAddr::new(ip.parse()?, free_port(ip).await?);
        let users = "root:x:0:0:root:/root:/bin/sh\nDebian-exim:x:65001:65001::/:/bin/false\n\
                     mail:x:65003:65003::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n";
        fs::write(folder.join("passwd"), users)?;
        fs::write(folder.join("group"), "root:x:0:\nDebian-exim:x:65001:\nmail:x:65003:\nnogroup:x:65534:\n")?;
        let (here, exe) = (folder.display(), program.display());
        let (first, second) = (smtps.port(), starttls.port());
        let config = format!(
            "exim_path = {exe}\nspool_directory = {here}/spool\nlog_file_path = {here}/log/%slog\npid_file_path = {here}/pid\n\
             deliver_drop_privilege = true\nprimary_hostname = mail.shop.example\nnever_users =\nkeep_environment =\n\
             local_interfaces = {ip}\ndaemon_smtp_ports = {first} : {second}\ntls_on_connect_ports = {first}\n\
             tls_advertise_hosts = *\ntls_certificate = {here}/certificate.pem\ntls_privatekey = {here}/key.pem\n\
             auth_advertise_hosts = ${{if eq{{$tls_in_cipher}}{{}}{{}}{{*}}}}\nacl_smtp_rcpt = rcpt\nacl_smtp_data = data\n\
             begin acl\nrcpt:\n  deny !authenticated = *\n  deny local_parts = gone\n  accept domains = shop.example\n  deny\n\
             data:\n  accept\n\
             begin routers\nall:\n  driver = accept\n  local_parts = team : lead\n  transport = box\n\
             begin transports\nbox:\n  driver = appendfile\n  directory = {here}/box/$local_part_data\n  maildir_format\n  \
             create_directory\n  user = Debian-exim\n\
             begin authenticators\nplain:\n  driver = plaintext\n  public_name = PLAIN\n  \
             server_condition = ${{if and{{{{eq{{$auth2}}{{cutover}}}}{{eq{{$auth3}}{{{password}}}}}}}}}\n  server_set_id = $auth2\n"
        );
        fs::write(folder.join("exim.conf"), config)?;
        let log = File::create(folder.join("out"))?;
        let child = Command::new("unshare")
            .args(["--mount", "sh", "-c", START, "sh"])
            .args([&folder, &program])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("unshare")?;
        let it = Self { _process: Process(child), folder, smtps, starttls, authority };
        listens("the mail server", &it.smtps.to_string()).await?;
        Ok(it)
    }

    /// The mails of somebody's mailbox as they arrived.
    pub fn mailbox(&self, user: &str) -> Result<Vec<Delivered>> {
        let folder = self.folder.join("box").join(user).join("new");
        let Ok(files) = fs::read_dir(folder) else { return Ok(vec![]) };
        let mut all = vec![];
        for file in files {
            let file = file?;
            let text = fs::read_to_string(file.path())?;
            let (head, body) = text.split_once("\n\n").context("a mail without a body")?;
            let mut headers = BTreeMap::new();
            for line in head.replace("\n ", " ").replace("\n\t", " ").lines() {
                let (name, value) = line.split_once(": ").with_context(|| format!("no header: {line}"))?;
                // Of those that servers add, the first is enough.
                headers.entry(name.to_owned()).or_insert_with(|| value.to_owned());
            }
            let name = file.file_name().to_string_lossy().into_owned();
            let at = arrived(&name).with_context(|| format!("not the name of a mail: {name}"))?;
            all.push((at, Delivered { headers, body: body.to_owned() }));
        }
        all.sort_by_key(|(at, _)| *at);
        Ok(all.into_iter().map(|(_, mail)| mail).collect())
    }
}

/// When a mail arrived, from the name of its file: seconds and microseconds.
fn arrived(name: &str) -> Option<(u64, u64)> {
    let (seconds, rest) = name.split_once(".M")?;
    Some((seconds.parse().ok()?, rest.split_once('P')?.0.parse().ok()?))
}

/// A certificate for `ip` with its key, and the authority that signed it.
fn certificate(folder: &Path, ip: &str) -> Result<PathBuf> {
    let mut params = CertificateParams::new(vec![])?;
    params.distinguished_name.push(DnType::CommonName, "Cutover test authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec![ip.to_owned()])?.signed_by(&key, &authority)?;
    fs::write(folder.join("certificate.pem"), certificate.pem())?;
    fs::write(folder.join("key.pem"), key.serialize_pem())?;
    std::os::unix::fs::chown(folder.join("key.pem"), Some(UID), Some(UID))?;
    let path = folder.join("authority.pem");
    fs::write(&path, authority.pem())?;
    Ok(path)
}
