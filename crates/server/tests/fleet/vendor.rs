//! A vendor's server: answers each request as it was told to.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// An answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// Between the head and the body.
    pub(crate) delay: Duration,
    /// Bytes that are promised besides and never come.
    pub(crate) promised: usize,
}

impl Answer {
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, body: body.into(), ..Self::default() }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

pub(crate) struct Vendor {
    pub(crate) address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Vendor {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (answer, heads) = (Arc::new(Mutex::new(Answer::status(404))), Arc::new(Mutex::new(Vec::new())));
        let (told, heard) = (Arc::clone(&answer), Arc::clone(&heads));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                let (told, heard) = (Arc::clone(&told), Arc::clone(&heard));
                std::thread::spawn(move || answer_one(stream, &told, &heard));
            }
        });
        Self { address, answer, heads }
    }

    pub(crate) fn says(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// The last request's head, in lower case.
    pub(crate) fn heard(&self) -> String {
        self.heads.lock().unwrap().last().cloned().unwrap_or_default().to_lowercase()
    }
}

fn answer_one(mut stream: TcpStream, told: &Mutex<Answer>, heads: &Mutex<Vec<String>>) {
    let (mut head, mut one) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut one).is_ok_and(|count| count == 1) {
        head.push(one[0]);
    }
    heads.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
    let Answer { status, headers, body, delay, promised } = told.lock().unwrap().clone();
    let mut text = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n");
    if status != 304 {
        let _ = write!(text, "Content-Length: {}\r\n", body.len() + promised);
    }
    for (name, value) in headers {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    let _ = stream.write_all(format!("{text}\r\n").as_bytes());
    std::thread::sleep(delay);
    // The client may have gone.
    let _ = stream.write_all(&body);
}
