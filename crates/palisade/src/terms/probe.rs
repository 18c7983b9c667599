//! What must answer on a host afterwards, and how many of a service may be away: `http:80/health on web within 5s`,
//! `role=2`.

use super::duration;
use rollout::plan::{Asked, Probe};

/// How long a probe may take, unless it says.
const TIMEOUT_SECONDS: u32 = 10;
/// What a probe looks like.
const PROBES: &str =
    "unit:nginx.service, tcp:443 or http:80/health; then, if wanted, \"on GROUP\" and \"within 5s\"";

/// A service: every value of a host's label is one, and so many hosts of each may be away at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// Name of the label.
    pub(crate) label: String,
    /// Hosts.
    pub(crate) away_max: u32,
}

/// A probe: `unit:UNIT`, `tcp:PORT` or `http:PORT/PATH`; `on GROUP`; `within TIME`.
pub(crate) fn probe(text: &str) -> Result<Probe, String> {
    let refused = || format!("\"{text}\" is no probe; write {PROBES}");
    let mut words = text.split_whitespace();
    let what = asked(words.next().ok_or_else(refused)?)?;
    let (mut group, mut timeout_seconds) = (None, TIMEOUT_SECONDS);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(refused)?;
        match word {
            "on" => group = Some(value.to_owned()),
            "within" => timeout_seconds = duration(value)?,
            _ => return Err(refused()),
        }
    }
    if timeout_seconds == 0 {
        return Err(format!("\"{text}\" gives no time to answer; write within 5s"));
    }
    Ok(Probe { group, what, timeout_seconds })
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
        Some(("http", rest)) => {
            let place = rest.find('/').ok_or_else(|| format!("\"{text}\" lacks its path; write {text}/"))?;
            Ok(Asked::HttpPath { port: port(&rest[..place])?, path: rest[place..].to_owned() })
        }
        Some(("https", _)) => Err(format!(
            "\"{text}\": probes do not speak TLS; write http:PORT/PATH of a health page, or tcp:443"
        )),
        Some(_) | None => Err(refused()),
    }
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
    use super::super::probe_text;
    use super::*;

    #[test]
    fn a_probe_is_read_as_people_write_it() {
        let good = [
            ("unit:nginx.service", "unit:nginx.service within 10s"),
            ("tcp:443", "tcp:443 within 10s"),
            ("http:80/health?full=1", "http:80/health?full=1 within 10s"),
            ("tcp:5432 on db", "tcp:5432 on db within 10s"),
            ("http:8080/ within 1m on web", "http:8080/ on web within 1m"),
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
            ("https:443/", "probes do not speak TLS"),
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
