//! What a mail is made of, and what hostile words make of it.

use std::collections::BTreeMap;

use super::super::tests::{HOSTILE, letter, mail, secret};
use super::super::{Form as _, Secrets};
use super::*;
use crate::api::notify::NotifyEvent;

fn post(letter: &Letter) -> Post {
    let (to, texts) = (mail(), Texts::new());
    let form = Form { to: &to, texts: &texts };
    form.posts(letter, &Secrets(&secret), None).expect("it can be said").remove(0)
}

/// Headers by name, unfolded, and the body, as a receiver of the mail reads them.
fn read(mail: &[u8]) -> (BTreeMap<String, String>, String) {
    let text = std::str::from_utf8(mail).expect("text");
    assert!(text.is_ascii(), "nothing that a server may not take: {text}");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let mut headers = BTreeMap::new();
    for line in head.replace("\r\n ", " ").split("\r\n") {
        let (name, value) = line.split_once(": ").expect("a header");
        assert!(!value.contains(['\r', '\n']), "{line:?}");
        assert_eq!(headers.insert(name.to_owned(), value.to_owned()), None, "{name} stands twice");
    }
    (headers, body.to_owned())
}

const NAMES: [&str; 11] = [
    "Auto-Submitted",
    "Content-Transfer-Encoding",
    "Content-Type",
    "Date",
    "From",
    "In-Reply-To",
    "MIME-Version",
    "Message-ID",
    "References",
    "Subject",
    "To",
];

#[test]
fn a_mail_is_plain_text_of_one_thread_a_run_with_an_id_that_stays() {
    let of = |event, id: &str| {
        let mut letter = letter(event, "trigger errors: 0.07");
        letter.id = id.into();
        read(&wire(&post(&letter)).expect("a mail"))
    };
    let (headers, body) = of(NotifyEvent::RolledBack, "0011");
    assert_eq!(headers.keys().map(String::as_str).collect::<Vec<_>>(), NAMES);
    let is = |name: &str, value: &str| assert_eq!(headers[name], value, "{name}");
    is("From", "cutover@shop.example");
    is("To", "team@shop.example, lead@shop.example");
    is("Subject", "shop 2.4.0: rolled back: users are on blue again");
    is("Message-ID", "<0011@shop.example>");
    is("References", "<run-uid@shop.example>");
    is("In-Reply-To", "<run-uid@shop.example>");
    is("Auto-Submitted", "auto-generated");
    is("Content-Type", "text/plain; charset=utf-8");
    is("Date", "Wed, 18 Nov 2026 11:11:40 +0000");
    assert!(body.contains("\r\nRun:          shop-7\r\n"), "{body}");
    let (other, _) = of(NotifyEvent::Switching, "2233");
    assert_eq!(other["References"], headers["References"], "one thread");
    assert_ne!(other["Message-ID"], headers["Message-ID"]);
}

#[test]
fn hostile_words_make_no_header_and_no_encoded_word() {
    let words = [
        "2.4.0\r\nBcc: everybody@shop.example",
        "2.4.0\nSubject: other",
        "ünï\r\nX: y\r\n\r\nbody",
        "=?utf-8?q?=0Ahidden?=",
        &"long ".repeat(400),
        HOSTILE,
    ];
    for word in words {
        let mut letter = letter(NotifyEvent::Failed, word);
        letter.release.version = Some(word.into());
        letter.cutover = word.into();
        let post = post(&letter);
        let (headers, body) = read(&wire(&post).expect("a mail"));
        assert_eq!(headers.keys().map(String::as_str).collect::<Vec<_>>(), NAMES, "{word:?}");
        assert!(!headers["Subject"].contains("=?utf-8?q?=0A"), "{}", headers["Subject"]);
        let mut lines = body.split("\r\n");
        assert!(lines.all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])), "{word:?}: {body}");
    }
    // An address that the API server let pass is no way in either.
    let mut forged = post(&letter(NotifyEvent::Failed, "m"));
    forged.headers[0].1 = "a@b.example\r\nBcc: everybody@shop.example".into();
    assert_eq!(read(&wire(&forged).expect("a mail")).0.keys().map(String::as_str).collect::<Vec<_>>(), NAMES);
}

#[test]
fn the_url_of_a_server_says_how_it_is_spoken_to() {
    let of = |url: &str| Server::of(url).map(|s| (s.host.to_string(), s.port, s.tls, s.login));
    let login = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
    let good = [
        ("smtps://mail.example", "mail.example", 465, Tls::Always, None),
        (
            "smtps://u%40x.example:p%3A%2F@mail.example:2465/",
            "mail.example",
            2465,
            Tls::Always,
            login("u@x.example", "p:/"),
        ),
        ("smtp://mail.example", "mail.example", 587, Tls::Asked, None),
        ("smtp://u:p@[2001:db8::1]:25", "[2001:db8::1]", 25, Tls::Asked, login("u", "p")),
        ("smtp://10.1.2.3?tls=off", "10.1.2.3", 25, Tls::Off, None),
        // An address however it is written is an address.
        ("smtp://0x0a010203?tls=off", "10.1.2.3", 25, Tls::Off, None),
    ];
    for (url, host, port, tls, login) in good {
        assert_eq!(of(url), Ok((host.into(), port, tls, login)), "{url}");
    }
    let bad = [
        ("smtp://u:canary@10.1.2.3?tls=off", "read the password"),
        ("smtp://u:canary@mail.example?tls=no", "only ?tls=off"),
        ("smtps://u:canary@mail.example?tls=off", "nothing may stand after"),
        ("smtps://u:canary@mail.example/inbox", "no path"),
        ("smtps://u@mail.example", "without a password"),
        ("smtps://:canary@mail.example", "without a user"),
        ("smtps://u:canary%0d%0a@mail.example", "steers"),
        ("smtps://u:canary%ff@mail.example", "no text"),
        ("smtps://", "no host"),
        ("smtps://u:canary@mail.example:99999", "no URL"),
        ("https://canary.example", "begins neither"),
    ];
    for (url, why) in bad {
        let error = of(url).expect_err(url);
        assert!(error.contains(why) && !error.contains("canary"), "{url}: {error}");
    }
    let shown = format!("{:?}", Server::of("smtps://u:canary@mail.example"));
    assert!(!shown.contains("canary"), "{shown}");
}
