//! What must answer on a host: asked by its agent, on the host itself, before its turn, after the change, and all through
//! its soak.

use super::{HostId, Plan};
use serde::{Deserialize, Serialize};

/// Longest name of a command that a host's owner allows.
pub const COMMAND_BYTES_MAX: usize = 64;
/// Statuses of HTTP that can be wanted (RFC 9110, 15).
pub const STATUS: std::ops::RangeInclusive<u16> = 100..=599;
/// Longest time for an answer that is measured in milliseconds: a minute. Longer ones are timeouts.
pub const LATENCY_MS_MAX: u32 = 60_000;

/// Something that must answer on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Only on hosts of this service group; `None`: on all.
    pub group: Option<String>,
    /// What is asked.
    pub what: Asked,
    /// How long it may take.
    pub timeout_seconds: u32,
}

/// What a probe asks. All of it on the host itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Asked {
    /// This systemd unit is active.
    UnitActive(String),
    /// Something accepts on this port of the loopback address.
    TcpPort(u16),
    /// A path answers on a port of the loopback address.
    HttpPath(Http),
    /// A command that the host's owner allows under this name ends with exit code 0. What it runs, the owner says; a plan
    /// cannot.
    Command(String),
}

/// A path, and what its answer must be like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Port.
    pub port: u16,
    /// Path, from `/`.
    pub path: String,
    /// The status wanted; `None`: any below 400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What the first 64 KiB of the body must contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// From the connection to the end of what is read, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms_max: Option<u32>,
    /// The host that is asked for, of the many that a server may serve; `None`: `localhost`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Over TLS. Whose certificate is shown is not judged: the question is whether the service answers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
}

impl Http {
    /// A path that answers below 400.
    pub fn path(port: u16, path: impl Into<String>) -> Self {
        Self { port, path: path.into(), ..Self::default() }
    }
}

impl Plan {
    /// The probes that are for this host.
    pub fn probes_of(&self, host: HostId) -> Vec<Probe> {
        let groups = self.groups_of(host);
        let is_ours = |probe: &&Probe| probe.group.as_ref().is_none_or(|group| groups.contains(group));
        self.probes.iter().filter(is_ours).cloned().collect()
    }
}

impl Probe {
    /// What is wrong with it, and what to do about that; empty: nothing.
    pub(super) fn faults(&self) -> Vec<(String, &'static str)> {
        match &self.what {
            Asked::UnitActive(unit) => {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.@_:\\".contains(&byte);
                let is_unit = !unit.is_empty() && !unit.starts_with('-') && unit.bytes().all(plain);
                one(!is_unit, || format!("{unit:?} is no unit"), "name it as systemctl does")
            }
            Asked::TcpPort(port) => one(*port == 0, || "port 0".to_owned(), "name the port"),
            Asked::Command(name) => one(
                !is_command(name),
                || format!("{name:?} is no name of a command"),
                "name it as its owners' settings do: letters, digits, - and _, at most 64; it is never a path or a command line",
            ),
            Asked::HttpPath(http) => http.faults(self.timeout_seconds),
        }
    }
}

impl Http {
    fn faults(&self, timeout_seconds: u32) -> Vec<(String, &'static str)> {
        let Self { port, path, status, contains, latency_ms_max, host, .. } = self;
        let is_path = path.starts_with('/') && is_line(path) && !path.contains(char::is_whitespace);
        let is_status = status.is_none_or(|status| STATUS.contains(&status));
        let is_text = contains.as_deref().is_none_or(is_line);
        let ms_max = LATENCY_MS_MAX.min(timeout_seconds.saturating_mul(1_000));
        let is_time = latency_ms_max.is_none_or(|ms| (1..=ms_max).contains(&ms));
        let is_host = host.as_deref().is_none_or(is_host);
        [
            one(*port == 0, || "port 0".to_owned(), "name the port"),
            one(!is_path, || format!("{path:?} is no path"), "begin with / and encode spaces"),
            one(
                !is_status,
                || format!("{status:?} is no status"),
                "between 100 and 599, or none for all below 400",
            ),
            one(
                !is_text,
                || "the text wanted is empty, or more than a line".to_owned(),
                "shorten it to one line",
            ),
            one(
                !is_time,
                || format!("{latency_ms_max:?} ms"),
                "between 1 ms and the probe's timeout, a minute at most",
            ),
            one(!is_host, || format!("{host:?} is no host"), "name it as its DNS does: shop.example"),
        ]
        .concat()
    }
}

fn one(is_wrong: bool, reason: impl FnOnce() -> String, remedy: &'static str) -> Vec<(String, &'static str)> {
    if is_wrong { vec![(reason(), remedy)] } else { Vec::new() }
}

/// Whether a text is one line that goes into a request as it is.
fn is_line(text: &str) -> bool {
    !text.is_empty() && text.len() <= super::TEXT_MAX && !text.chars().any(char::is_control)
}

/// Whether a text is a host's name, without a port: it goes into a request's head.
pub(super) fn is_host(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !name.is_empty() && name.len() <= 253 && !name.starts_with(['-', '.']) && name.bytes().all(plain)
}

/// Whether a text can be the name of a command that an owner allows.
pub fn is_command(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !name.is_empty() && name.len() <= COMMAND_BYTES_MAX && !name.starts_with('-') && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(what: Asked) -> String {
        let probe = Probe { group: None, what, timeout_seconds: 2 };
        probe.faults().into_iter().map(|(reason, _)| reason + "; ").collect()
    }

    #[test]
    fn a_probe_of_before_keeps_its_bytes_and_one_that_asks_more_reads_back_as_it_was() {
        let before =
            r#"{"group":null,"what":{"http-path":{"port":80,"path":"/health"}},"timeout_seconds":5}"#;
        let probe: Probe = serde_json::from_str(before).unwrap();
        assert_eq!(probe.what, Asked::HttpPath(Http::path(80, "/health")));
        assert_eq!(serde_json::to_string(&probe).unwrap(), before);
        let more = r#"{"group":null,"what":{"http-path":{"port":443,"path":"/","status":204,"contains":"ok","latency_ms_max":250,"host":"shop.example","tls":true}},"timeout_seconds":5}"#;
        let probe: Probe = serde_json::from_str(more).unwrap();
        assert_eq!(serde_json::to_string(&probe).unwrap(), more);
    }

    #[test]
    fn what_a_request_or_an_owner_could_not_take_is_a_fault() {
        let http = |change: fn(&mut Http)| {
            let mut http = Http::path(80, "/");
            change(&mut http);
            faults(Asked::HttpPath(http))
        };
        assert_eq!(http(|_| {}), "");
        assert!(http(|http| http.path = "/a b".into()).contains("is no path"));
        assert!(http(|http| http.status = Some(99)).contains("is no status"));
        assert!(http(|http| http.contains = Some(String::new())).contains("the text wanted"));
        assert!(http(|http| http.latency_ms_max = Some(2_001)).contains("2001"), "longer than its timeout");
        assert!(http(|http| http.host = Some("a\r\nX-Evil: 1".into())).contains("is no host"));
        assert_eq!(faults(Asked::Command("check-shop".into())), "");
        for name in ["", "-x", "/usr/bin/id", "id; reboot", "a b", "../x"] {
            assert!(faults(Asked::Command(name.into())).contains("is no name of a command"), "{name}");
        }
    }
}
