//! An application in this process, and a client that shows all of an answer.
#![allow(dead_code, reason = "each test program uses its part")]

use sample::app::{App, AppConfig, Listeners, run};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
};

/// A running application.
pub struct Start {
    pub addr: SocketAddr,
    pub control: SocketAddr,
    pub terminate: oneshot::Sender<()>,
    pub run: JoinHandle<i32>,
}

impl Start {
    pub async fn new(vars: &[(&str, &str)]) -> Self {
        let base = [("BIND", "127.0.0.1"), ("PORT", "0"), ("CONTROL_PORT", "0")];
        let vars: BTreeMap<_, _> = base.iter().chain(vars).copied().collect();
        let config = AppConfig::from_lookup(|key| vars.get(key).map(ToString::to_string)).unwrap();
        let listeners = Listeners::bind(&config).await.unwrap();
        let (addr, control) = (listeners.app_addr().unwrap(), listeners.control_addr().unwrap());
        let (terminate, terminated) = oneshot::channel();
        let shutdown = async {
            if terminated.await.is_err() {
                std::future::pending().await
            }
        };
        let run = tokio::spawn(run(Arc::new(App::new(config)), listeners, shutdown));
        Self { addr, control, terminate, run }
    }
}

/// An answer.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Sends one request on a connection of its own and reads until the server closes
/// it. With `Connection: keep-alive` among `headers`, that is the server's choice.
pub async fn request(addr: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n");
    text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    if !headers.iter().any(|(name, _)| *name == "Connection") {
        text.push_str("Connection: close\r\n");
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("\r\n{body}"));
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_lowercase(), value.trim().to_owned())
    });
    Answer { status, headers: headers.collect(), body: body.to_owned() }
}
