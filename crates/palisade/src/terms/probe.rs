//! What must answer on a host afterwards, and how many of a service may be away: `http:80/health on web within 5s`,
//! `role=2`.

use super::{duration, lasting};
use rollout::plan::probe::{LATENCY_MS_MAX, STATUS, is_command};
use rollout::plan::{Asked, Http, Probe};
use std::fmt::Write as _;

/// How long a probe may take, unless it says.
const TIMEOUT_SECONDS: u32 = 10;
/// What a probe looks like.
const PROBES: &str = "unit:nginx.service, tcp:443, http:80/health, https:443/health or command:NAME; then, if wanted, \
     \"on GROUP\" and \"within 5s\", and for http \"status 200\", \"named shop.example\", \"body \"all is well\"\"";

/// A service: every value of a host's label is one, and so many hosts of each may be away at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// Name of the label.
    pub(crate) label: String,
    /// Hosts.
    pub(crate) away_max: u32,
}

/// A probe: `unit:UNIT`, `tcp:PORT`, `http:PORT/PATH`, `https:PORT/PATH` or `command:NAME`; `on GROUP`; `within TIME`; of
/// paths also `status NUMBER`, `named HOST` and `body "TEXT"`.
pub(crate) fn probe(text: &str) -> Result<Probe, String> {
    let refused = || format!("\"{text}\" is no probe; write {PROBES}");
    let mut words = words(text)?.into_iter();
    let mut what = asked(&words.next().ok_or_else(refused)?)?;
    let (mut group, mut timeout_seconds) = (None, TIMEOUT_SECONDS);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(refused)?;
        match (word.as_str(), &mut what) {
            ("on", _) => group = Some(value),
            ("within", what) => timeout_seconds = within(&value, what)?,
            ("status", Asked::HttpPath(http)) => {
                let status = value.parse().ok().filter(|status| STATUS.contains(status));
                http.status =
                    Some(status.ok_or_else(|| format!("\"{value}\" is no status; write 100 to 599"))?);
            }
            ("body", Asked::HttpPath(http)) => http.contains = Some(value),
            ("named", Asked::HttpPath(http)) => http.host = Some(value),
            ("status" | "body" | "named", _) => {
                return Err(format!("\"{text}\": only http and https have a {word}"));
            }
            _ => return Err(refused()),
        }
    }
    if timeout_seconds == 0 {
        return Err(format!("\"{text}\" gives no time to answer; write within 5s"));
    }
    Ok(Probe { group, what, timeout_seconds })
}

/// Words, of which one in double quotes may have spaces; `\"` and `\\` stand for themselves in it.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let mut word = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut letters = quoted.char_indices();
            loop {
                match letters.next().map(|(place, letter)| (place, letter, quoted)) {
                    Some((place, '"', quoted)) => {
                        rest = &quoted[place + 1..];
                        break;
                    }
                    Some((_, '\\', _)) => word.extend(letters.next().map(|(_, letter)| letter)),
                    Some((_, letter, _)) => word.push(letter),
                    None => return Err(format!("{text}: a quotation mark is not closed")),
                }
            }
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            word.push_str(&rest[..end]);
            rest = &rest[end..];
        }
        words.push(word);
        rest = rest.trim_start();
    }
    Ok(words)
}

/// A time for an answer, in seconds. In milliseconds it is a path's alone: everything else is begun anew each time, and
/// beginning takes as long.
fn within(text: &str, what: &mut Asked) -> Result<u32, String> {
    let Some(ms) = text.strip_suffix("ms") else { return duration(text) };
    let Asked::HttpPath(http) = what else {
        return Err(format!("within {text}: only http and https are measured in milliseconds"));
    };
    let ms = ms.parse().ok().filter(|ms| (1..=LATENCY_MS_MAX).contains(ms));
    let ms =
        ms.ok_or_else(|| format!("\"{text}\" is no time for an answer; write 1ms to {LATENCY_MS_MAX}ms"))?;
    http.latency_ms_max = Some(ms);
    Ok(ms.div_ceil(1_000))
}

fn asked(text: &str) -> Result<Asked, String> {
    let refused = || format!("\"{text}\" is no probe; write {PROBES}");
    let port = |text: &str| {
        let port = text.parse::<u16>().ok().filter(|port| *port > 0);
        port.ok_or_else(|| format!("\"{text}\" is no port; write 1 to 65535"))
    };
    match text.split_once(':') {
        Some(("unit", unit)) if unit.contains('.') => Ok(Asked::UnitActive(unit.to_owned())),
        Some(("unit", unit)) if !unit.is_empty() => {
            Err(format!("\"{unit}\" is no unit's full name; write unit:{unit}.service"))
        }
        Some(("tcp", number)) => Ok(Asked::TcpPort(port(number)?)),
        Some((scheme @ ("http" | "https"), rest)) => {
            let place = rest.find('/').ok_or_else(|| format!("\"{text}\" lacks its path; write {text}/"))?;
            let http = Http::path(port(&rest[..place])?, &rest[place..]);
            Ok(Asked::HttpPath(Http { tls: scheme == "https", ..http }))
        }
        Some(("command", name)) if is_command(name) => Ok(Asked::Command(name.to_owned())),
        Some(("command", name)) => Err(format!(
            "\"{name}\" is no name of a command; write one that hosts' owners allow in [commands]: command:check-shop"
        )),
        Some(_) | None => Err(refused()),
    }
}

/// A probe as [`probe()`] reads it.
pub(crate) fn probe_text(probe: &Probe) -> String {
    let (mut out, mut within) = (String::new(), lasting(probe.timeout_seconds));
    match &probe.what {
        Asked::UnitActive(unit) => out = format!("unit:{unit}"),
        Asked::TcpPort(port) => out = format!("tcp:{port}"),
        Asked::Command(name) => out = format!("command:{name}"),
        Asked::HttpPath(Http { port, path, status, contains, latency_ms_max, host, tls }) => {
            let _ = write!(out, "http{}:{port}{path}", if *tls { "s" } else { "" });
            let _ = status.map(|status| write!(out, " status {status}"));
            let _ = host.as_ref().map(|host| write!(out, " named {host}"));
            if let Some(text) = contains {
                let _ = write!(out, " body \"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            }
            if let Some(ms) = latency_ms_max {
                within = format!("{ms}ms");
            }
        }
    }
    if let Some(group) = &probe.group {
        let _ = write!(out, " on {group}");
    }
    format!("{out} within {within}")
}

/// A service: `LABEL=HOSTS`.
pub(crate) fn service(text: &str) -> Result<Service, String> {
    let (label, most) = text
        .rsplit_once('=')
        .filter(|(label, _)| !label.is_empty())
        .ok_or_else(|| format!("\"{text}\" is no service; write a label and how many may be away: role=1"))?;
    let away_max = most.parse().ok().filter(|most| *most > 0).ok_or_else(|| {
        format!("of {label} \"{most}\" may be away at once: write a number from 1 on; with 0 none could be patched")
    })?;
    Ok(Service { label: label.to_owned(), away_max })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_read_as_people_write_it() {
        let good = [
            ("unit:nginx.service", "unit:nginx.service within 10s"),
            ("tcp:443", "tcp:443 within 10s"),
            ("http:80/health?full=1", "http:80/health?full=1 within 10s"),
            ("tcp:5432 on db", "tcp:5432 on db within 10s"),
            ("http:8080/ within 1m on web", "http:8080/ on web within 1m"),
            ("http:80/health?id=200 status 204", "http:80/health?id=200 status 204 within 10s"),
            (
                "https:443/ body \"all is \\\"well\\\"\" within 250ms named shop.example",
                "https:443/ named shop.example body \"all is \\\"well\\\"\" within 250ms",
            ),
            ("command:check-shop on web within 30s", "command:check-shop on web within 30s"),
        ];
        for (text, told) in good {
            let read = probe(text).unwrap_or_else(|problem| panic!("{text}: {problem}"));
            assert_eq!(probe_text(&read), told, "{text}");
            assert_eq!(probe(told), Ok(read), "{told}");
        }
        let bad = [
            ("", "is no probe; write unit:nginx.service"),
            ("nginx", "is no probe"),
            ("unit:nginx", "write unit:nginx.service"),
            ("unit:", "is no probe"),
            ("tcp:0", "is no port; write 1 to 65535"),
            ("tcp:99999", "is no port"),
            ("http:80", "lacks its path; write http:80/"),
            ("https:443", "lacks its path; write https:443/"),
            ("http:80/ status 99", "write 100 to 599"),
            ("http:80/ body \"open", "is not closed"),
            ("http:80/ within 0ms", "write 1ms to"),
            ("tcp:443 within 250ms", "only http and https are measured"),
            ("tcp:443 status 200", "only http and https have a status"),
            ("command:/usr/bin/id", "is no name of a command"),
            ("tcp:443 on", "is no probe"),
            ("tcp:443 at web", "is no probe"),
            ("tcp:443 within 5", "has no unit"),
            ("tcp:443 within 0s", "gives no time"),
        ];
        for (text, told) in bad {
            let problem = probe(text).expect_err(text);
            assert!(problem.contains(told), "{text}: {problem}");
        }
    }

    #[test]
    fn a_service_is_a_label_and_a_number() {
        assert_eq!(service("role=2"), Ok(Service { label: "role".to_owned(), away_max: 2 }));
        for (text, told) in [
            ("role", "write a label and how many may be away: role=1"),
            ("=1", "is no service"),
            ("role=0", "with 0 none could be patched"),
            ("role=some", "write a number from 1 on"),
        ] {
            let problem = service(text).expect_err(text);
            assert!(problem.contains(told), "{text}: {problem}");
        }
    }
}
