//! What is replayed to patched services: the attempts that our own rules carry as examples, for the CVEs that a plan closes or
//! for signatures that are named. Pure.

use rollout::plan::replay::{
    ATTEMPTS_BYTES_MAX, ATTEMPTS_MAX, Attempt, Header, Load, Replay, Terms, UNKNOWN_MAX,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use traffic::request::{Request, unescaped};
use traffic::rules::Example;
use utoipa::ToSchema;

/// What harmless requests ask for, if nobody says.
pub const PATH: &str = "/";

/// A service that attempts are replayed to once it is patched. What is absent has a default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPlanReplay)]
pub struct AskedReplay {
    /// Port of the loopback address.
    pub port: u16,
    /// The unit that serves it: `nginx.service`.
    pub unit: String,
    /// Whether the port speaks TLS.
    #[serde(default)]
    pub tls: bool,
    /// The host that is asked for, of the many that a server may serve; `localhost` if absent.
    #[serde(default)]
    #[schema(max_length = 253)]
    pub host: Option<String>,
    /// What harmless requests ask for; `/` if absent.
    #[serde(default)]
    pub path: Option<String>,
    /// Only on hosts of this service group.
    #[serde(default)]
    pub group: Option<String>,
    /// Signatures whose examples are sent: `codered1`. If absent, those about the CVEs that the plan closes.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub signatures: Vec<String>,
    /// Attempts a second, and as many harmless requests; 5 if absent, at most 20.
    #[serde(default)]
    pub rate_per_second: Option<u32>,
    /// How long a round lasts; 20 if absent.
    #[serde(default)]
    pub round_seconds: Option<u32>,
    /// Between two rounds; 30 if absent.
    #[serde(default)]
    pub pause_seconds: Option<u32>,
    /// Points more of harmless requests than before that may fail; 2 if absent.
    #[serde(default)]
    pub failed_percent_max: Option<u32>,
    /// Of attempts that may get no answer at all; 5 if absent.
    #[serde(default)]
    pub unanswered_percent_max: Option<u32>,
    /// How many times as long as before harmless requests may take; 5 if absent.
    #[serde(default)]
    pub slower_times_max: Option<u32>,
    /// Below this, slower does not count; 100 if absent.
    #[serde(default)]
    pub latency_floor_ms: Option<u32>,
    /// How much more memory the unit may take; 50 if absent.
    #[serde(default)]
    pub memory_percent_max: Option<u32>,
    /// Below this, more does not count; 64 MiB if absent.
    #[serde(default)]
    pub memory_floor_bytes: Option<u64>,
}

/// A signature of ours with what can be sent of it.
struct Known {
    cves: BTreeSet<String>,
    attempts: Vec<Attempt>,
}

/// Our own signatures, by id, whether or not anything can be sent of them.
static KNOWN: LazyLock<BTreeMap<String, Known>> = LazyLock::new(|| {
    let known = traffic::rules::own().into_iter().map(|rule| {
        let id = rule.signature.id;
        let sendable = rule.examples.recognised.iter().filter_map(|example| attempt(&id, example));
        let (attempts, cves) = (sendable.collect(), rule.signature.cves.into_iter().collect());
        (id, Known { cves, attempts })
    });
    known.collect()
});

/// The replays of a plan that closes these CVEs, and the faults of what was asked for.
pub fn replays(asked: &[AskedReplay], cves: &BTreeSet<String>) -> (Vec<Replay>, Vec<String>) {
    let mut faults = Vec::new();
    let replays = asked.iter().map(|asked| {
        let chosen = chosen(asked, cves, &mut faults);
        let closed = |known: &Known| known.cves.iter().cloned().collect::<Vec<_>>();
        let sent: BTreeSet<String> = chosen.iter().flat_map(|known| closed(known)).collect();
        let (load, terms) = (Load::default(), Terms::default());
        Replay {
            group: asked.group.clone(),
            port: asked.port,
            path: asked.path.clone().unwrap_or_else(|| PATH.to_owned()),
            unit: asked.unit.clone(),
            host: asked.host.clone(),
            tls: asked.tls,
            attempts: in_turn(&chosen),
            unknown: cves.difference(&sent).take(UNKNOWN_MAX).cloned().collect(),
            load: Load {
                rate_per_second: asked.rate_per_second.unwrap_or(load.rate_per_second),
                round_seconds: asked.round_seconds.unwrap_or(load.round_seconds),
                pause_seconds: asked.pause_seconds.unwrap_or(load.pause_seconds),
            },
            terms: Terms {
                failed_percent_max: asked.failed_percent_max.unwrap_or(terms.failed_percent_max),
                unanswered_percent_max: asked.unanswered_percent_max.unwrap_or(terms.unanswered_percent_max),
                slower_times_max: asked.slower_times_max.unwrap_or(terms.slower_times_max),
                latency_floor_ms: asked.latency_floor_ms.unwrap_or(terms.latency_floor_ms),
                memory_percent_max: asked.memory_percent_max.unwrap_or(terms.memory_percent_max),
                memory_floor_bytes: asked.memory_floor_bytes.unwrap_or(terms.memory_floor_bytes),
            },
        }
    });
    (replays.collect(), faults)
}

/// The signatures that are named, or those about these CVEs.
fn chosen(asked: &AskedReplay, cves: &BTreeSet<String>, faults: &mut Vec<String>) -> Vec<&'static Known> {
    if asked.signatures.is_empty() {
        let is_about = |known: &&Known| !known.attempts.is_empty() && !known.cves.is_disjoint(cves);
        return KNOWN.values().filter(is_about).collect();
    }
    let named = asked.signatures.iter().filter_map(|id| match KNOWN.get(id) {
        None => {
            faults.push(format!("replay: no rule has the id {id:?}; \"palisade rules list\" names them"));
            None
        }
        Some(known) if known.attempts.is_empty() => {
            faults.push(format!(
                "replay: no example of {id} can be sent as a request of HTTP/1.1; leave it out"
            ));
            None
        }
        Some(known) => Some(known),
    });
    named.collect()
}

/// The first example of each signature, then the second of each, as many as a plan takes.
fn in_turn(chosen: &[&Known]) -> Vec<Attempt> {
    let most = chosen.iter().map(|known| known.attempts.len()).max().unwrap_or(0);
    let turns = (0..most).flat_map(|turn| chosen.iter().filter_map(move |known| known.attempts.get(turn)));
    let mut bytes = 0;
    let fits = |attempt: &&Attempt| {
        bytes += attempt.size_bytes();
        bytes <= ATTEMPTS_BYTES_MAX
    };
    turns.take(ATTEMPTS_MAX).take_while(fits).cloned().collect()
}

/// An example as it is sent. `None`: it is no request of HTTP/1.1, or not all of one.
fn attempt(signature: &str, example: &Example) -> Option<Attempt> {
    let line = unescaped(example.line.as_bytes());
    let request = Request::of_line(&line);
    request.protocol.bytes().filter(|_| !example.without_query)?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let mut target = text(request.path.bytes()?)?;
    if let Some(query) = request.query.bytes() {
        target.push('?');
        target.push_str(&text(query)?);
    }
    let header = |(name, value): (&String, &String)| Header { name: name.clone(), value: value.clone() };
    let attempt = Attempt {
        signature: signature.to_owned(),
        method: text(request.method.bytes()?)?,
        target,
        headers: example.headers.iter().map(header).collect(),
        body: example.body.clone(),
    };
    attempt.fault().is_none().then_some(attempt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(signatures: &[&str]) -> AskedReplay {
        let signatures = signatures.iter().map(|&id| id.to_owned()).collect();
        AskedReplay { port: 80, unit: "nginx.service".to_owned(), signatures, ..AskedReplay::default() }
    }

    fn cves(of: &[&str]) -> BTreeSet<String> {
        of.iter().map(|&cve| cve.to_owned()).collect()
    }

    #[test]
    fn attempts_are_those_of_the_plans_cves_and_what_none_is_known_for_is_named() {
        let (made, faults) =
            replays(&[asked(&[])], &cves(&["CVE-2001-0500", "CVE-2021-44228", "CVE-2099-1"]));
        assert_eq!(faults, Vec::<String>::new());
        let signatures: BTreeSet<&str> =
            made[0].attempts.iter().map(|attempt| attempt.signature.as_str()).collect();
        assert_eq!(signatures, ["codered1", "codered2", "log4shell", "nimda-rootexe"].into());
        assert_eq!(made[0].unknown, ["CVE-2099-1"]);
        let sent = |signature: &str| made[0].attempts.iter().filter(|a| a.signature == signature).count();
        assert_eq!((sent("codered1"), sent("log4shell")), (4, 5), "all that are recognised");
        let code_red = &made[0].attempts[0];
        assert!(code_red.target.starts_with("/default.ida?NNNN") && code_red.method == "GET", "{code_red:?}");
        let header = made[0].attempts.iter().flat_map(|attempt| &attempt.headers);
        assert!(header.into_iter().any(|header| header.value.contains("${jndi:")));
    }

    #[test]
    fn a_signature_that_is_named_counts_instead_and_one_that_nobody_knows_is_a_fault() {
        let (made, faults) = replays(&[asked(&["codered2"])], &cves(&["CVE-2021-44228"]));
        assert!(faults.is_empty() && made[0].attempts.iter().all(|attempt| attempt.signature == "codered2"));
        assert_eq!(made[0].unknown, ["CVE-2021-44228"], "named or not, it is not sent");
        let (_, faults) = replays(&[asked(&["code-blue", "codered-variant-unknown"])], &cves(&[]));
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(
            faults[0].contains("\"palisade rules list\" names them") && faults[1].contains("can be sent")
        );
    }

    #[test]
    fn our_own_rules_can_nearly_all_be_sent_and_never_more_than_a_plan_takes() {
        let (sendable, silent): (Vec<_>, Vec<_>) =
            KNOWN.iter().partition(|(_, known)| !known.attempts.is_empty());
        assert!(sendable.len() > 60, "{} of {}", sendable.len(), KNOWN.len());
        let silent: Vec<&String> = silent.into_iter().map(|(id, _)| id).collect();
        assert!(silent.len() < 15, "cannot be sent: {silent:?}");
        let all: Vec<&Known> = KNOWN.values().collect();
        let turns = in_turn(&all);
        assert_eq!(turns.len(), ATTEMPTS_MAX);
        let distinct: BTreeSet<&String> = turns.iter().map(|attempt| &attempt.signature).collect();
        assert_eq!(distinct.len(), ATTEMPTS_MAX, "one of each before a second of any");
    }
}
