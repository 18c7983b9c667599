//! How many agents one server carries: `cargo bench -p palisade --bench agents -- --agents 100000 --seconds 180`.
//!
//! Real: the server is a process of its own; every check-in is a connection of its own with mutual TLS, resumed from the
//! second one on, from an address of its own in 127.0.0.0/8, and the answer is read whole. Simulated: agents are tasks of
//! this process and look at no host; they are written into the store instead of enrolling, share one key pair (each has a
//! certificate of its own), and are built alike in 200 builds of 600 packages.
//!
//! The limit measured in the same run is a bare server: the same TLS settings and HTTP library, a fixed answer.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "figures for people, far from the limits of their types"
)]

mod agents;
mod bare;
mod process;
mod seed;

use agents::Round;
use clap::Parser;
use process::Server;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Rounds of first check-ins, until one has no failure.
const STORMS_MAX: usize = 5;

/// Options; `--bench` comes from cargo.
#[derive(Debug, Parser)]
struct Options {
    /// Agents
    #[arg(long, default_value_t = 10_000)]
    agents: u32,
    /// How long is measured, after every agent checked in once
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How often each agent checks in, seconds
    #[arg(long, default_value_t = 60)]
    every: u64,
    /// The store; SQLite in a fresh directory if empty. A database that is named is used as it is: name an empty one
    #[arg(long, default_value = "")]
    store: String,
    /// Servers on that store
    #[arg(long, default_value_t = 1)]
    replicas: usize,
    /// Bulletins in the store, each with five claims
    #[arg(long, default_value_t = 0)]
    bulletins: u32,
    /// Only start the server on a store with that many hosts, and tell how long it takes
    #[arg(long)]
    cold_start: bool,
    /// Threads of the agents
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Leave the bare server out
    #[arg(long)]
    no_limit: bool,
    /// Serve as the bare server: internal
    #[arg(long, hide = true)]
    serve_bare: Option<String>,
    /// From cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    if let Some(store) = &options.serve_bare {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.expect("threads start").block_on(bare::serve(store));
        return;
    }
    if !options.bench {
        // `cargo test --benches` starts this too: nothing to measure then.
        println!("run with cargo bench");
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(options.threads).enable_all().build();
    runtime.expect("threads start").block_on(run(&options));
}

async fn run(options: &Options) {
    let directory = tempfile::tempdir().expect("a directory");
    let store = match options.store.as_str() {
        "" => format!("sqlite://{}", directory.path().join("palisade.db").display()),
        store => store.to_owned(),
    };
    println!("load {}", process::load());
    let started = Instant::now();
    let fleet = seed::fleet(&store, options.agents, options.bulletins).await;
    println!(
        "seeded {} hosts × {} packages, {} bulletins in {:.1} s",
        options.agents,
        seed::PACKAGES,
        options.bulletins,
        started.elapsed().as_secs_f64()
    );
    let mut servers = Vec::new();
    for number in 0..options.replicas {
        let started = Instant::now();
        let server = Server::start(directory.path(), &store, number, options.every).await;
        println!(
            "server {number}: ready after {:.2} s, {} MB",
            started.elapsed().as_secs_f64(),
            server.usage().peak_bytes >> 20
        );
        servers.push(server);
    }
    if options.cold_start {
        return;
    }
    let addresses: Vec<SocketAddr> = servers.iter().map(|server| server.agents).collect();
    let every = Duration::from_secs(options.every);
    let agents = agents::Agents::new(&fleet, &addresses, every);
    println!("first check-ins, with full handshakes, over {} s …", options.every);
    // Whoever was turned away in the storm comes back, as agents do; what is measured then is a fleet that is in.
    for _ in 0..STORMS_MAX {
        let first = agents.run(every).await;
        tell("first check-ins", &first);
        if first.failed == 0 {
            break;
        }
    }

    let before: Vec<_> = servers.iter().map(Server::usage).collect();
    let own = process::usage(std::process::id());
    let measured = agents.run(Duration::from_secs(options.seconds)).await;
    let generator = process::usage(std::process::id()).cpu_seconds - own.cpu_seconds;
    tell(&format!("{} s at one check-in every {} s", options.seconds, options.every), &measured);
    let mut per_poll = 0.0;
    for (number, (server, before)) in servers.iter().zip(&before).enumerate() {
        let usage = server.usage();
        let cpu = usage.cpu_seconds - before.cpu_seconds;
        per_poll += cpu / measured.count() as f64 * 1e6;
        println!("server {number}: {cpu:.1} CPU s, peak memory {} MB", usage.peak_bytes >> 20);
    }
    println!(
        "generator: {generator:.1} CPU s; {per_poll:.0} µs of server CPU per check-in; load {}",
        process::load()
    );
    drop(servers);
    if options.no_limit {
        return;
    }
    let bare = bare::Bare::start(&store);
    let agents = agents::Agents::new(&fleet, &[bare.address], every);
    let _ = agents.run(every).await;
    let before = bare.usage();
    let limit = agents.run(Duration::from_secs(options.seconds.min(60))).await;
    let cpu = bare.usage().cpu_seconds - before.cpu_seconds;
    tell("bare server, resumed", &limit);
    let bare_per_poll = cpu / limit.count() as f64 * 1e6;
    println!(
        "bare server: {bare_per_poll:.0} µs of CPU per check-in; palisade takes {:.2} times the limit",
        per_poll / bare_per_poll
    );
}

fn tell(what: &str, round: &Round) {
    println!(
        "{what}: {} check-ins, {:.0}/s, {} failed, {:.1} % resumed; p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, worst {:.1} ms; behind by at most {:.1} ms",
        round.count(),
        round.count() as f64 / round.lasted.as_secs_f64(),
        round.failed,
        100.0 * round.resumed as f64 / round.count().max(1) as f64,
        round.quantile(0.5),
        round.quantile(0.99),
        round.quantile(0.999),
        round.quantile(1.0),
        round.behind.as_secs_f64() * 1e3,
    );
    if let Some(problem) = &round.problem {
        println!("  the first failure: {problem}");
    }
}
