//! The server as a process, and what processes take.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a process took so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_bytes: u64,
}

/// Of `/proc`: user and system time, the most memory it ever had.
pub(crate) fn usage(pid: u32) -> Usage {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    let fields: Vec<&str> = stat.rsplit_once(") ").expect("a name in brackets").1.split(' ').collect();
    // Fields 14 and 15 of proc_pid_stat(5); two came before the bracket, and counting is from 0.
    let ticks: f64 = fields[11..13].iter().map(|ticks| ticks.parse::<f64>().expect("a number")).sum();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it has memory");
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    Usage { cpu_seconds: ticks / rustix::param::clock_ticks_per_second() as f64, peak_bytes: kilobytes << 10 }
}

pub(crate) fn load() -> String {
    fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) agents: SocketAddr,
}

impl Server {
    pub(crate) async fn start(directory: &Path, store: &str, number: usize, every: u64) -> Self {
        let free = || {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.local_addr().expect("it has an address")
        };
        let (api, agents, metrics) = (free(), free(), free());
        let settings = directory.join(format!("server-{number}.toml"));
        let text = format!(
            "[server]\ndata = \"{}\"\nstore = \"{store}\"\napi = \"{api}\"\nagents = \"{agents}\"\nmetrics = \"{metrics}\"\n\
             names = [\"localhost\", \"127.0.0.1\"]\n[agents]\ncheck_in_seconds = {every}\n[log]\nfilter = \"warn\"\n",
            directory.display()
        );
        fs::write(&settings, text).expect("the settings are written");
        let child = Command::new(env!("CARGO_BIN_EXE_palisade"))
            .args(["server", "--config"])
            .arg(&settings)
            .stdin(Stdio::null())
            .spawn()
            .expect("the server starts");
        let mut server = Self { child, agents };
        while !ready(metrics).await {
            assert!(server.child.try_wait().expect("it is ours").is_none(), "the server ended at once");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }

    pub(crate) fn usage(&self) -> Usage {
        usage(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn ready(metrics: SocketAddr) -> bool {
    let Ok(mut socket) = TcpStream::connect(metrics).await else { return false };
    let request = b"GET /health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let mut answer = Vec::new();
    socket.write_all(request).await.is_ok()
        && socket.read_to_end(&mut answer).await.is_ok()
        && answer.starts_with(b"HTTP/1.1 200")
}
