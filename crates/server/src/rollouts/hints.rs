//! Rings hosts that wait for a hint, so that they check in now and not within a minute. A ring says nothing but that: what a
//! host is told, it is told when it checks in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::sleep;
use uuid::Uuid;

/// Hosts rung at once when many are: 2,000 check-ins a second is what a server answers while it does its other work.
const RUNG_AT_ONCE: usize = 200;
/// Between two of them.
const RUNG_EVERY: Duration = Duration::from_millis(100);

/// Hosts that wait.
#[derive(Debug)]
pub struct Hints {
    waiting: Mutex<HashMap<Uuid, (u64, oneshot::Sender<()>)>>,
    most: usize,
}

/// A place among them; left when dropped.
#[derive(Debug)]
pub struct Wait {
    among: Arc<Hints>,
    host: Uuid,
    number: u64,
    rung: oneshot::Receiver<()>,
}

impl Hints {
    /// Lets at most so many wait.
    pub fn new(most: usize) -> Self {
        Self { waiting: Mutex::default(), most }
    }

    /// Waits for a ring; `None`: too many do. A host that waits twice waits once: the first wait ends.
    pub fn wait(self: &Arc<Self>, host: Uuid) -> Option<Wait> {
        let (bell, rung) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= self.most && !waiting.contains_key(&host) {
            return None;
        }
        let number = waiting.get(&host).map_or(0, |(number, _)| number + 1);
        waiting.insert(host, (number, bell));
        Some(Wait { among: Arc::clone(self), host, number, rung })
    }

    /// Rings these hosts, as far as they wait: many of them over some seconds. Gives how many.
    pub fn ring(self: &Arc<Self>, hosts: impl IntoIterator<Item = Uuid>) -> usize {
        let hosts: Vec<Uuid> = {
            let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            hosts.into_iter().filter(|host| waiting.contains_key(host)).collect()
        };
        let count = hosts.len();
        if count <= RUNG_AT_ONCE {
            self.ring_now(&hosts);
            return count;
        }
        let hints = Arc::clone(self);
        tokio::spawn(async move {
            for some in hosts.chunks(RUNG_AT_ONCE) {
                hints.ring_now(some);
                sleep(RUNG_EVERY).await;
            }
        });
        count
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn ring_now(&self, hosts: &[Uuid]) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for host in hosts {
            if let Some((_, bell)) = waiting.remove(host) {
                // Who has just gone needs no ring.
                let _ = bell.send(());
            }
        }
    }
}

impl Wait {
    /// Until it is rung; false: another wait of this host took its place.
    pub async fn rung(&mut self) -> bool {
        (&mut self.rung).await.is_ok()
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut waiting = self.among.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.get(&self.host).is_some_and(|(number, _)| *number == self.number) {
            waiting.remove(&self.host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_host_waits_once_and_no_more_wait_than_may() {
        let hints = Arc::new(Hints::new(2));
        let [one, two, three] = [1, 2, 3].map(Uuid::from_u128);
        let mut first = hints.wait(one).expect("there is room");
        let mut again = hints.wait(one).expect("it takes its own place");
        assert!(!first.rung().await, "the first wait ended");
        drop(first);
        assert_eq!(hints.waiting(), 1, "and took nothing with it");
        let _other = hints.wait(two).expect("there is room");
        assert!(hints.wait(three).is_none());
        assert_eq!(hints.ring([one, three]), 1);
        assert!(again.rung().await);
        assert!(hints.wait(three).is_some(), "whoever was rung gave its place back");
    }
}
