//! Follows a rollout at a server: its events ring, and then it is asked where the rollout stands; it is asked now and then all
//! the same, so that nothing depends on the stream. A server that restarts is waited for.

use crate::answers::{self, Job, Rollout};
use crate::client::{Client, Problem};
use crate::command::rollout::HostNames;
use anyhow::Result;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// It is asked at least so often.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// And at most so often, however many events there are.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How long it is waited before a server is asked again that did not answer.
const RETRY: Duration = Duration::from_secs(2);
/// Hosts under change or in trouble that are shown, of each kind.
const JOBS_MAX: usize = 100;

/// What those who watch are told.
#[derive(Debug)]
pub(super) enum News {
    /// Where it stands.
    Seen(Box<Rollout>, Vec<Job>),
    /// The server does not answer; it is asked again.
    Silent(String),
    /// The server refuses to answer: asking again would not help.
    Refused(anyhow::Error),
    /// What became of something that was ordered from here.
    Ordered(Result<&'static str, String>),
}

/// Where the rollout stands, with the hosts under change and those in trouble.
pub(super) fn fetch(client: &Client, plan: Uuid, names: &mut HostNames) -> Result<(Rollout, Vec<Job>)> {
    let mut rollout: Rollout = answers::read("a rollout", client.get(&format!("/rollouts/{plan}"), &[])?)?;
    names.put(client, &mut rollout);
    let mut jobs = Vec::new();
    let bad = rollout.waves.iter().any(|wave| wave.failed > 0 || wave.lost > 0);
    let busy = rollout.waves.iter().any(|wave| wave.under_change > 0);
    for (counts, some) in [("under-change", busy), ("failed", bad), ("lost", bad)] {
        if some {
            for job in client.list(&format!("/rollouts/{plan}/hosts"), &[("counts", counts)], JOBS_MAX)? {
                jobs.push(answers::read("a host of a rollout", job)?);
            }
        }
    }
    Ok((rollout, jobs))
}

/// Follows until nobody listens any more. The two threads end with the program: one may be waiting for a server.
pub(super) fn follow(client: Client, plan: Uuid, news: SyncSender<News>) {
    // One ring is as good as many.
    let (ring, bell) = sync_channel(1);
    let listener = client.clone();
    thread::spawn(move || listen(&listener, plan, &ring));
    thread::spawn(move || ask(&client, plan, &bell, &news));
}

/// Rings for every event that concerns the rollout.
fn listen(client: &Client, plan: Uuid, ring: &SyncSender<()>) {
    let plan = plan.to_string();
    let mut last: Option<String> = None;
    loop {
        let heard = client.events(last.as_deref());
        if let Ok(lines) = heard {
            // What happened while nobody listened is asked for, not waited for.
            let _ = ring.try_send(());
            let mut concerns = false;
            for line in lines.map_while(Result::ok) {
                match line.split_once(':').map(|(name, value)| (name, value.trim())) {
                    Some(("id", id)) => last = Some(id.to_owned()),
                    Some(("event", "reset")) => concerns = true,
                    Some(("data", data)) => concerns |= data.contains(&plan),
                    // An empty line ends an event.
                    None if concerns => {
                        concerns = false;
                        let _ = ring.try_send(());
                    }
                    Some(_) | None => {}
                }
            }
        }
        thread::sleep(RETRY);
    }
}

/// Asks where the rollout stands, when it rings and now and then.
fn ask(client: &Client, plan: Uuid, bell: &Receiver<()>, news: &SyncSender<News>) {
    let mut wait = ASK_EVERY;
    let mut names = HostNames::default();
    loop {
        let asked = Instant::now();
        if bell.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        thread::sleep(ASK_AGAIN.saturating_sub(asked.elapsed()));
        let told = match fetch(client, plan, &mut names) {
            Ok((rollout, jobs)) => {
                wait = ASK_EVERY;
                News::Seen(Box::new(rollout), jobs)
            }
            Err(problem) if is_refusal(&problem) => News::Refused(problem),
            Err(problem) => {
                wait = RETRY;
                News::Silent(format!("{problem:#}"))
            }
        };
        let end = matches!(told, News::Refused(_));
        if news.send(told).is_err() || end {
            return;
        }
    }
}

/// Whether a server said no, rather than nothing: a token that was revoked, a plan that is gone.
fn is_refusal(problem: &anyhow::Error) -> bool {
    problem.downcast_ref::<Problem>().is_some_and(|problem| matches!(problem.status, 401 | 403 | 404))
}
