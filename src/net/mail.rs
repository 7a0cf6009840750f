//! Hands a mail to a server. The connection is made here, by the rules of every request (address, certificate, time, size);
//! lettre speaks SMTP over it.

use std::fmt;
use std::io::{Cursor, Error as IoError, Result as IoResult};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::commands::{Data, Ehlo, Mail, Rcpt, Starttls};
use lettre::transport::smtp::extension::ClientId;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::address::Origin;
use super::request::BODY_LIMIT;
use super::{Asker, Net, wire};
use crate::notify::Post;
use crate::notify::mail::{self, Server, Tls};
use crate::world::{HttpError, HttpResponse};

/// Longest line of an answer before TLS; RFC 5321 has 512.
const LINE: u64 = 2048;
/// Most lines of an answer before TLS.
const LINES: usize = 64;
/// A server that has taken a mail has so long to say farewell.
const FAREWELL: Duration = Duration::from_millis(500);

impl Net {
    /// Sends a mail once. The answer's status is the server's last code, its body says what was refused: words of our own.
    pub(super) async fn mail(
        &self,
        asker: &Asker<'_>,
        post: &Post,
        origin: Origin,
        deadline: Instant,
    ) -> Result<HttpResponse, HttpError> {
        let began = Instant::now();
        let letter = Letter::of(post).map_err(HttpError::NotSent)?;
        let (server, to) = self.mail_server(&post.url, origin, deadline).await?;
        let _connection = self.inner.budget.connection(asker.namespace, deadline).await?;
        let tcp = wire::connect(to, deadline).await?;
        let talk = self.talk(tcp, to, &server, &letter, deadline);
        let late = |_| HttpError::Lost("no full answer of the mail server in time".into());
        let (status, body) = timeout_at(deadline, talk).await.map_err(late)??;
        let latency_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(HttpResponse { status, body, latency_ms, ..HttpResponse::default() })
    }

    /// The mail server of a URL, and where it is asked.
    pub(super) async fn mail_server(
        &self,
        url: &str,
        origin: Origin,
        deadline: Instant,
    ) -> Result<(Server, SocketAddr), HttpError> {
        let server = Server::of(url).map_err(HttpError::NotSent)?;
        let ip = self.pin(server.host.clone(), origin, deadline).await?;
        if server.tls == Tls::Off && !self.rules(origin, deadline).await?.is_private(ip) {
            let why = format!("mail to {} must be encrypted: {ip} is no private address", server.host);
            return Err(HttpError::NotSent(why));
        }
        let to = SocketAddr::new(ip, server.port);
        Ok((server, to))
    }

    async fn talk(
        &self,
        mut tcp: TcpStream,
        to: SocketAddr,
        server: &Server,
        letter: &Letter,
        deadline: Instant,
    ) -> Result<(u16, String), HttpError> {
        let hello = match tcp.local_addr().map(|a| a.ip()) {
            Ok(IpAddr::V4(ip)) => ClientId::Ipv4(ip),
            Ok(IpAddr::V6(ip)) => ClientId::Ipv6(ip),
            Err(_) => ClientId::default(),
        };
        let name = match &server.host {
            url::Host::Ipv6(ip) => ip.to_string(),
            host => host.to_string(),
        };
        let config = || self.inner.roots.without_protocol().map_err(HttpError::NotSent);
        let line = match server.tls {
            Tls::Off => Line::new(tcp, to, vec![]),
            Tls::Always => Line::new(wire::encrypt(tcp, to, &name, config()?, deadline).await?, to, vec![]),
            Tls::Asked => {
                if let Err((code, what)) = start_tls(&mut tcp, &hello).await? {
                    return Ok((code, what.into()));
                }
                let tls = wire::encrypt(tcp, to, &name, config()?, deadline).await?;
                // The server has greeted already, and lettre wants to hear it.
                Line::new(tls, to, b"220 again\r\n".to_vec())
            }
        };
        letter.hand_over(line, &hello, server).await.or_else(|e| match e {
            Failed::Code(code, what) => Ok((code, what)),
            Failed::Broken(why) => Err(HttpError::Lost(why)),
        })
    }
}

/// Asks for TLS in plain words; the code and the command where the server does not want it.
async fn start_tls(tcp: &mut TcpStream, hello: &ClientId) -> Result<Result<(), (u16, &'static str)>, HttpError> {
    let broken = |e: IoError| HttpError::NotSent(format!("the mail server's answer broke off: {e}"));
    let mut stream = BufReader::new(tcp);
    let steps = [
        (None, "connecting"),
        (Some(Ehlo::new(hello.clone()).to_string()), "EHLO"),
        (Some(Starttls.to_string()), "STARTTLS"),
    ];
    for (command, name) in steps {
        if let Some(command) = command {
            stream.get_mut().write_all(command.as_bytes()).await.map_err(broken)?;
        }
        match reply(&mut stream).await? {
            200..=299 => {}
            code => return Ok(Err((code, name))),
        }
    }
    // What came before TLS and is not asked for would be taken for a part of what is said under it.
    if !stream.buffer().is_empty() {
        return Err(HttpError::NotSent("the mail server has said more than was asked before TLS".into()));
    }
    Ok(Ok(()))
}

/// The code of an answer of some lines.
async fn reply(stream: &mut BufReader<&mut TcpStream>) -> Result<u16, HttpError> {
    let strange = || HttpError::NotSent("the mail server's answer is not understood".into());
    for _ in 0..LINES {
        let mut line = vec![];
        let read = (&mut *stream).take(LINE).read_until(b'\n', &mut line).await;
        read.map_err(|e| HttpError::NotSent(format!("the mail server's answer broke off: {e}")))?;
        let text = std::str::from_utf8(&line).map_err(|_| strange())?;
        let code = text.get(..3).and_then(|code| code.parse::<u16>().ok()).ok_or_else(strange)?;
        match (text.ends_with('\n'), text.as_bytes().get(3)) {
            (true, Some(b'-')) => {}
            (true, Some(b' ' | b'\r' | b'\n')) => return Ok(code),
            _ => return Err(strange()),
        }
    }
    Err(strange())
}

/// Why a mail was not taken.
enum Failed {
    /// The server's code, and what it was said to.
    Code(u16, String),
    /// No answer, or none that is understood.
    Broken(String),
}

fn failed(e: &SmtpError, what: &str) -> Failed {
    match e.status() {
        Some(code) => Failed::Code(code.into(), what.into()),
        // Of lettre's own words none holds what the server wrote.
        None if e.is_client() => Failed::Broken(format!("the mail server cannot be asked for {what}: {e}")),
        None => Failed::Broken(format!("no answer of the mail server to {what} that is understood")),
    }
}

/// A mail and whom it is for.
struct Letter {
    from: Address,
    to: Vec<Address>,
    mail: Vec<u8>,
}

impl Letter {
    fn of(post: &Post) -> Result<Self, String> {
        let header = |name: &str| post.headers.iter().find(|(n, _)| *n == name).map_or("", |(_, value)| value.as_str());
        let address = |text: &str| -> Result<Address, String> {
            text.trim().parse().map_err(|_| format!("{:?} is no mail address", text.trim()))
        };
        Ok(Self {
            from: address(header("From"))?,
            to: header("To").split(',').map(address).collect::<Result<_, _>>()?,
            mail: mail::wire(post)?,
        })
    }

    /// The code of the last answer, and what was refused of what was taken.
    async fn hand_over(&self, line: Line, hello: &ClientId, server: &Server) -> Result<(u16, String), Failed> {
        let connected = AsyncSmtpConnection::connect_with_transport(Box::new(line), hello).await;
        let mut smtp = connected.map_err(|e| failed(&e, "connecting"))?;
        if let Some((user, password)) = &server.login {
            let login = Credentials::new(user.clone(), password.clone());
            smtp.auth(DEFAULT_MECHANISMS, &login).await.map_err(|e| failed(&e, "AUTH"))?;
        }
        smtp.command(Mail::new(Some(self.from.clone()), vec![])).await.map_err(|e| failed(&e, "MAIL"))?;
        let mut refused = vec![];
        for to in &self.to {
            match smtp.command(Rcpt::new(to.clone(), vec![])).await {
                Ok(_) => {}
                Err(e) => match failed(&e, "RCPT") {
                    Failed::Code(code, _) => refused.push(code),
                    broken => return Err(broken),
                },
            }
        }
        // One wrong address keeps no mail from the others; whoever must not miss one has a receiver of its own.
        if let Some(code) = refused.first().filter(|_| refused.len() == self.to.len()) {
            return Err(Failed::Code(*code, "RCPT".into()));
        }
        smtp.command(Data).await.map_err(|e| failed(&e, "DATA"))?;
        let taken = smtp.message(&self.mail).await.map_err(|e| failed(&e, "the mail"))?;
        // It is taken: whatever comes of this.
        let _ = tokio::time::timeout(FAREWELL, smtp.quit()).await;
        let words = refused
            .first()
            .map(|code| format!("{} of {} addresses were refused with {code}", refused.len(), self.to.len()));
        Ok((taken.code().into(), words.unwrap_or_default()))
    }
}

/// What lettre talks over: what it hears is bounded.
struct Line {
    io: Box<dyn Both>,
    to: SocketAddr,
}

trait Both: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Both for T {}

impl Line {
    /// Hears `first` and then what the server says, up to the limit of every answer.
    fn new(io: impl Both + 'static, to: SocketAddr, first: Vec<u8>) -> Self {
        let (read, write) = tokio::io::split(io);
        let heard = Cursor::new(first).chain(read).take(BODY_LIMIT as u64);
        Self { io: Box::new(tokio::io::join(heard, write)), to }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a line to {}", self.to)
    }
}

impl AsyncTokioStream for Line {
    fn peer_addr(&self) -> IoResult<SocketAddr> {
        Ok(self.to)
    }
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<IoResult<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<IoResult<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<IoResult<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<IoResult<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "mail_tests.rs"]
mod tests;
