//! Mail servers that behave, and some that do not.

use std::sync::{Arc, Mutex};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::io::AsyncBufRead;
use tokio::net::TcpListener;

use super::super::AddressRules;
use super::super::tests::{account, asker};
use super::*;

/// What is answered to a command, by how it begins; `.` is the end of a mail, the empty one the connection.
type Answers = &'static [(&'static str, &'static str)];

const USUAL: Answers = &[
    ("", "220 mail.example"),
    ("EHLO", "250-mail.example\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN"),
    ("STARTTLS", "220 go on"),
    ("AUTH", "235 canary-answer"),
    ("DATA", "354 go on"),
    (".", "250 taken"),
    ("QUIT", "221 bye"),
];
/// Instead of an answer: none, or the end.
const SILENCE: &str = "silence";
const CLOSES: &str = "closes";
const FLOODS: &str = "floods";

/// A server, what it has heard, and the roots that trust it.
struct Server {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
    net: Net,
}

struct Tlsed {
    acceptor: tokio_rustls::TlsAcceptor,
    roots: rustls::RootCertStore,
}

fn certificate(name: &str) -> Tlsed {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let certificate: CertificateDer<'static> = params.self_signed(&key).expect("a certificate").der().clone();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).expect("a root");
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .expect("a certificate");
    Tlsed { acceptor: tokio_rustls::TlsAcceptor::from(Arc::new(config)), roots }
}

impl Server {
    /// Answers as usual but for `answers`, with a certificate for `name`; under TLS from the start or by STARTTLS.
    async fn new(answers: Answers, name: &str, from_start: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let Tlsed { acceptor, roots } = certificate(name);
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let all = heard.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, all) = (acceptor.clone(), all.clone());
                tokio::spawn(async move {
                    if from_start {
                        let Ok(tls) = acceptor.accept(tcp).await else { return };
                        speak(&mut BufReader::new(tls), answers, &all, true).await;
                        return;
                    }
                    let mut plain = BufReader::new(tcp);
                    if speak(&mut plain, answers, &all, true).await {
                        let Ok(tls) = acceptor.accept(plain.into_inner()).await else { return };
                        all.lock().expect("what was heard").push("(TLS)".into());
                        speak(&mut BufReader::new(tls), answers, &all, false).await;
                    }
                });
            }
        });
        let net = Net::for_tests(AddressRules::for_tests(), wire::Roots::of(roots));
        Self { port, heard, net }
    }

    async fn send(&self, url: &str, to: &str, within: u64) -> Result<(u16, String), String> {
        let headers = vec![("From", "cutover@shop.example".into()), ("To", to.to_owned()), ("Subject", "ünï".into())];
        let (content_type, body) = ("text/plain; charset=utf-8", "one\n.\ntwo".to_owned());
        let url = url.replace("PORT", &self.port.to_string());
        let post = Post { url, headers, sensitive: &[], content_type, body };
        let nobody = account();
        let deadline = Instant::now() + Duration::from_millis(within);
        let answer = self.net.mail(&asker(&nobody), &post, Origin::Url, deadline).await;
        answer.map(|a| (a.status, a.body)).map_err(|e| match e {
            HttpError::NotSent(why) => format!("not sent: {why}"),
            HttpError::Lost(why) | HttpError::Unread(why) => why,
        })
    }

    /// The commands that were heard, without what stands behind them.
    fn commands(&self) -> Vec<String> {
        let heard = self.heard.lock().expect("what was heard");
        heard.iter().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
    }
}

/// Speaks until the end, or until STARTTLS was answered.
async fn speak<S>(stream: &mut S, answers: Answers, all: &Mutex<Vec<String>>, greets: bool) -> bool
where
    S: AsyncBufRead + AsyncWrite + Unpin,
{
    let (mut command, mut in_mail) = (String::new(), false);
    let mut due = greets;
    loop {
        if due {
            let found = answers.iter().chain(USUAL).find(|(begin, _)| match begin.is_empty() {
                true => command.is_empty(),
                false => command.starts_with(begin),
            });
            let answer = found.map_or("250 well", |(_, answer)| answer);
            match answer {
                SILENCE => std::future::pending().await,
                CLOSES => return false,
                FLOODS => while stream.write_all(&[b'2'; 4096]).await.is_ok() {},
                answer => {
                    if stream.write_all(format!("{answer}\r\n").as_bytes()).await.is_err() {
                        return false;
                    }
                    if stream.flush().await.is_err() {
                        return false;
                    }
                }
            }
            in_mail = command.starts_with("DATA") && answer.starts_with("354");
            if command.starts_with("STARTTLS") && answer.starts_with("220") {
                return true;
            }
        }
        command.clear();
        if stream.read_line(&mut command).await.unwrap_or(0) == 0 {
            return false;
        }
        all.lock().expect("what was heard").push(command.trim_end().to_owned());
        due = !in_mail || command.trim_end() == ".";
    }
}

const TEAM: &str = "team@shop.example";

#[tokio::test]
async fn a_mail_is_handed_over_under_tls() {
    let taken = Ok((250, String::new()));
    for (url, from_start) in [("smtps://u:p%20w@127.0.0.1:PORT", true), ("smtp://u:p%20w@127.0.0.1:PORT", false)] {
        let server = Server::new(&[], "127.0.0.1", from_start).await;
        assert_eq!(server.send(url, "team@shop.example, lead@shop.example", 5000).await, taken);
        let heard = server.heard.lock().expect("what was heard").join("\n");
        // base64 of NUL u NUL "p w"
        let (_, private) = if from_start { ("", heard.as_str()) } else { heard.split_once("(TLS)").expect("TLS") };
        let rest = private.split_once("AUTH PLAIN AHUAcCB3\nMAIL FROM:<cutover@shop.example>\n").expect(private).1;
        let rest = rest.strip_prefix("RCPT TO:<team@shop.example>\nRCPT TO:<lead@shop.example>\nDATA\n").expect(rest);
        assert!(rest.contains("Subject: =?utf-8?b?"), "{rest}");
        assert!(rest.contains("\none\n..\ntwo\n.\nQUIT"), "a dot of its own ends no mail: {rest}");
        if !from_start {
            let plain: Vec<String> = server.commands().into_iter().take_while(|c| c != "(TLS)").collect();
            assert_eq!(plain, ["EHLO", "STARTTLS"], "nothing else is said in plain words");
        }
    }
    // Nobody on the way: a private address, and no password.
    let server = Server::new(&[], "127.0.0.1", false).await;
    assert_eq!(server.send("smtp://127.0.0.1:PORT?tls=off", TEAM, 5000).await, taken);
    assert!(!server.commands().contains(&"STARTTLS".to_owned()));
}

#[tokio::test]
async fn without_tls_that_is_trusted_nothing_is_said() {
    let url = "smtp://u:canary@127.0.0.1:PORT";
    let cases: [(Answers, &str, Result<u16, &str>); 4] = [
        (&[("STARTTLS", "502 not here")], "127.0.0.1", Ok(502)),
        (&[("STARTTLS", "220 go on\r\n250 said too early")], "127.0.0.1", Err("more than was asked before TLS")),
        (&[], "other.example", Err("TLS handshake")),
        (&[("EHLO", "500 what")], "127.0.0.1", Ok(500)),
    ];
    for (answers, name, wanted) in cases {
        let server = Server::new(answers, name, false).await;
        let said = server.send(url, TEAM, 5000).await;
        match (&said, wanted) {
            (Ok((code, _)), Ok(wanted)) => assert_eq!(*code, wanted),
            (Err(why), Err(wanted)) => assert!(why.contains(wanted) && !why.contains("canary"), "{why}"),
            _ => panic!("{said:?}"),
        }
        let commands = server.commands();
        assert!(commands.iter().all(|c| matches!(c.as_str(), "EHLO" | "STARTTLS")), "{commands:?}");
    }
    // The rules of every address, and plain words only to somebody's own.
    let server = Server::new(&[], "127.0.0.1", false).await;
    let strict = |rules| Server {
        port: server.port,
        heard: server.heard.clone(),
        net: Net::for_tests(rules, wire::Roots::default()),
    };
    let closed = strict(AddressRules::default()).send(url, TEAM, 5000).await;
    assert!(closed.as_ref().is_err_and(|why| why.contains("may not be asked")), "{closed:?}");
    let public = strict(AddressRules { allow_public: true, machines: true, ..AddressRules::default() });
    let plain = public.send("smtp://192.88.98.1:PORT?tls=off", TEAM, 5000).await;
    assert!(plain.as_ref().is_err_and(|why| why.contains("must be encrypted")), "{plain:?}");
}

#[tokio::test]
async fn what_a_server_answers_and_does_not() {
    let url = "smtps://u:canary@127.0.0.1:PORT";
    let two = "team@shop.example, gone@shop.example";
    type Case = (Answers, &'static str, Result<(u16, &'static str), &'static str>);
    let cases: [Case; 11] = [
        (&[("", "554 no service")], TEAM, Ok((554, "connecting"))),
        (&[("AUTH", "535 canary-answer")], TEAM, Ok((535, "AUTH"))),
        (&[("EHLO", "250 mail.example")], TEAM, Err("AUTH")),
        (&[("MAIL", "451 later")], TEAM, Ok((451, "MAIL"))),
        (&[("RCPT TO:<gone", "550 nobody")], two, Ok((250, "1 of 2 addresses were refused with 550"))),
        (&[("RCPT", "450 greylisted")], two, Ok((450, "RCPT"))),
        (&[("DATA", "421 shutting down")], TEAM, Ok((421, "DATA"))),
        (&[(".", "552 too much")], TEAM, Ok((552, "the mail"))),
        (&[(".", CLOSES)], TEAM, Err("no answer of the mail server to the mail")),
        (&[("MAIL", "canary-answer is no code")], TEAM, Err("no answer of the mail server to MAIL")),
        (&[("MAIL", FLOODS)], TEAM, Err("no answer of the mail server to MAIL")),
    ];
    for (answers, to, wanted) in cases {
        let server = Server::new(answers, "127.0.0.1", true).await;
        let said = server.send(url, to, 5000).await;
        assert!(!format!("{said:?}").contains("canary"), "{said:?}");
        match (&said, wanted) {
            (Ok((code, words)), Ok(wanted)) => assert_eq!((*code, words.as_str()), wanted),
            (Err(why), Err(wanted)) => assert!(why.contains(wanted), "{why}"),
            _ => panic!("{answers:?}: {said:?}"),
        }
    }
    for silent in [&[("", SILENCE)] as Answers, &[("AUTH", SILENCE)], &[(".", SILENCE)]] {
        let server = Server::new(silent, "127.0.0.1", true).await;
        let said = server.send(url, TEAM, 300).await;
        assert!(said.as_ref().is_err_and(|why| why.contains("in time")), "{said:?}");
    }
    // One that has taken the mail and does not say farewell has taken it.
    let server = Server::new(&[("QUIT", SILENCE)], "127.0.0.1", true).await;
    assert_eq!(server.send(url, TEAM, 5000).await, Ok((250, String::new())));
}
