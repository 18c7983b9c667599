//! What is replayed to patched services: `http:80/ of nginx.service on web at 5/s for 20s`.

use super::duration;
use serde::Serialize;

/// A replay as the server is asked for it; what is absent has the server's default.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct AskedReplay {
    pub(crate) port: u16,
    pub(crate) unit: String,
    pub(crate) tls: bool,
    pub(crate) host: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) signatures: Vec<String>,
    pub(crate) rate_per_second: Option<u32>,
    pub(crate) round_seconds: Option<u32>,
    pub(crate) pause_seconds: Option<u32>,
    pub(crate) failed_percent_max: Option<u32>,
    pub(crate) slower_times_max: Option<u32>,
    pub(crate) memory_percent_max: Option<u32>,
}

/// What a replay looks like.
const REPLAYS: &str = "http:80/ or https:443/ of nginx.service; then, if wanted, \"named shop.example\", \"on GROUP\", \"at 5/s\", \"for 20s\", \"pause 30s\", \
                       \"failed 2%\", \"slower 5x\", \"memory 50%\"";

/// A replay: `http:PORT/PATH of UNIT`, or `https`, and words in pairs. What is sent is named apart from it, or follows from the plan.
pub(crate) fn replay(text: &str) -> Result<AskedReplay, String> {
    let refused = || format!("\"{text}\" is no replay; write {REPLAYS}");
    let mut words = text.split_whitespace();
    let (tls, place) = match words.next().and_then(|word| word.split_once(':')) {
        Some((scheme @ ("http" | "https"), place)) => (scheme == "https", place),
        Some(_) | None => return Err(refused()),
    };
    let at = place.find('/').unwrap_or(place.len());
    let port = place[..at].parse().ok().filter(|port| *port > 0).ok_or_else(refused)?;
    let path = (at < place.len()).then(|| place[at..].to_owned());
    let mut asked = AskedReplay { port, tls, path, ..AskedReplay::default() };
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(refused)?;
        let number = |after: &str| {
            let number = value.strip_suffix(after).and_then(|number| number.parse::<u32>().ok());
            number.ok_or_else(|| format!("\"{word} {value}\" in \"{text}\": write a number and {after}"))
        };
        match word {
            "of" if value.contains('.') => value.clone_into(&mut asked.unit),
            "of" => {
                return Err(format!("\"{value}\" is no unit's full name; write of {value}.service"));
            }
            "named" => asked.host = Some(value.to_owned()),
            "on" => asked.group = Some(value.to_owned()),
            "at" => asked.rate_per_second = Some(number("/s")?),
            "for" => asked.round_seconds = Some(duration(value)?),
            "pause" => asked.pause_seconds = Some(duration(value)?),
            "failed" => asked.failed_percent_max = Some(number("%")?),
            "slower" => asked.slower_times_max = Some(number("x")?),
            "memory" => asked.memory_percent_max = Some(number("%")?),
            _ => return Err(refused()),
        }
    }
    if asked.unit.is_empty() {
        return Err(format!("\"{text}\" does not say which unit serves it; write of nginx.service"));
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_is_read_as_people_write_it() {
        let read = replay(
            "http:8080/health of shop.service on web at 10/s for 1m pause 5s failed 1% slower 3x memory 20%",
        );
        let read = read.expect("it is good");
        assert_eq!(
            (read.port, read.path.as_deref(), read.unit.as_str()),
            (8080, Some("/health"), "shop.service")
        );
        assert_eq!((read.group.as_deref(), read.rate_per_second), (Some("web"), Some(10)));
        assert_eq!((read.round_seconds, read.pause_seconds), (Some(60), Some(5)));
        #[cfg(feature = "server")]
        serde_json::from_value::<server::planning::replay::AskedReplay>(serde_json::json!(&read))
            .expect("the server reads it");
        let terms = (read.failed_percent_max, read.slower_times_max, read.memory_percent_max);
        assert_eq!(terms, (Some(1), Some(3), Some(20)));
        let short = replay("http:80 of nginx.service").expect("it is good");
        assert_eq!((short.port, short.tls, short.path, short.rate_per_second), (80, false, None, None));
        let tls = replay("https:443/ of nginx.service named shop.example").expect("it is good");
        assert_eq!((tls.port, tls.tls, tls.host.as_deref()), (443, true, Some("shop.example")));
        for (text, told) in [
            ("", "is no replay; write http:80/ or https:443/ of nginx.service"),
            ("ftp:21/ of nginx.service", "is no replay"),
            ("http:0/ of nginx.service", "is no replay"),
            ("http:80/", "does not say which unit"),
            ("http:80/ of nginx", "write of nginx.service"),
            ("http:80/ of nginx.service at 5", "write a number and /s"),
            ("http:80/ of nginx.service slower 5", "write a number and x"),
            ("http:80/ of nginx.service for 20", "has no unit"),
            ("http:80/ of nginx.service on", "is no replay"),
            ("http:80/ of nginx.service with CVE-1", "is no replay"),
        ] {
            let problem = replay(text).expect_err(text);
            assert!(problem.contains(told), "{text}: {problem}");
        }
    }
}
