//! `palisade server` stops within its deadline, whatever the other sides do.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Kills what a failed test leaves.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_slow_download_and_a_dead_collector_do_not_hold_the_server_up() {
    let directory = tempfile::tempdir().unwrap();
    let vendor = TcpListener::bind("127.0.0.1:0").unwrap();
    let location = format!("http://{}/feed.json", vendor.local_addr().unwrap());
    let (asked, is_asked) = mpsc::channel();
    thread::spawn(move || {
        let (mut socket, _) = vendor.accept().unwrap();
        let _ = socket.read(&mut [0; 4096]);
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").unwrap();
        asked.send(()).unwrap();
        // A byte a second, for ever; until nobody is there.
        while socket.write_all(b" ").is_ok() {
            thread::sleep(Duration::from_secs(1));
        }
    });
    // A port on which nobody listens.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = directory.path().join("server.toml");
    let text = format!(
        "[server]\ndata = \"{}\"\napi = \"127.0.0.1:0\"\nagents = \"127.0.0.1:0\"\nmetrics = \"127.0.0.1:0\"\n\
         [[feed]]\nname = \"gone\"\nlocation = \"/nowhere/feed.json\"\n\
         [[feed]]\nname = \"slow\"\nlocation = \"{location}\"\n[telemetry]\notlp = \"http://{nobody}\"\n",
        directory.path().join("data").display(),
    );
    fs::write(&settings, text).unwrap();
    let log = fs::File::create(directory.path().join("log")).unwrap();
    let mut server = Server(
        Command::new(env!("CARGO_BIN_EXE_palisade"))
            .args(["server", "--config"])
            .arg(&settings)
            // Batches of traces come faster than a real server's.
            .env("OTEL_BSP_SCHEDULE_DELAY", "50")
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap(),
    );
    is_asked.recv_timeout(Duration::from_secs(60)).unwrap();
    thread::sleep(Duration::from_secs(1));
    let stopped = Instant::now();
    kill_process(Pid::from_child(&server.0), Signal::TERM).unwrap();
    let deadline = Duration::from_secs(20);
    let code = loop {
        if let Some(code) = server.0.try_wait().unwrap() {
            break code;
        }
        assert!(stopped.elapsed() < deadline, "it still runs");
        thread::sleep(Duration::from_millis(50));
    };
    let log = fs::read_to_string(directory.path().join("log")).unwrap();
    assert!(code.success(), "{code}: {log}");
    assert!(log.contains("listening"), "{log}");
    // The reading of the one feed is a batch, that of the other one too.
    assert_eq!(log.matches("send traces:").count(), 1, "told with every batch: {log}");
    assert!(!log.contains("something still under way"), "{log}");
}
