//! What the server is told: one TOML file, read once into types.

use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Bytes of a settings file; a thousand feeds need a tenth.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Settings that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read settings {file}: {reason}")]
pub struct Error {
    /// The file, or "(none)".
    pub file: String,
    /// What is wrong and what would be right.
    pub reason: String,
}

/// All settings. Every one has a default.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The server itself.
    pub server: Server,
    /// How it speaks with agents.
    pub agents: Agents,
    /// The fleet's authority.
    pub identity: Identity,
    /// Who approves plans.
    pub trust: Trust,
    /// What hosts count in their web logs.
    pub census: Census,
    /// Where advisories come from.
    #[serde(rename = "feed")]
    pub feeds: Vec<Feed>,
    /// Logging in through somebody else's identity provider.
    pub oidc: Option<Oidc>,
    /// What is logged, and how.
    pub log: Log,
    /// Where traces go; nowhere if absent.
    pub telemetry: Option<Telemetry>,
}

impl Config {
    /// Reads a settings file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let error = |reason: String| Error { file: path.display().to_string(), reason };
        let size = std::fs::metadata(path).map_err(|problem| error(problem.to_string()))?.len();
        if size > FILE_BYTES_MAX {
            return Err(error(format!("{size} bytes are more than {FILE_BYTES_MAX}: not a settings file")));
        }
        let text = std::fs::read_to_string(path).map_err(|problem| error(problem.to_string()))?;
        Self::parse(&text).map_err(error)
    }

    /// Reads settings; the error says what is wrong and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = advisory::settings::parse(text)?;
        config.check()?;
        Ok(config)
    }

    /// The store's URL: as stated, read from the file stated, or SQLite in the data directory.
    pub fn store_url(&self) -> Result<String, Error> {
        let Server { data, store, store_file, .. } = &self.server;
        match (store_file, store.is_empty()) {
            (Some(file), _) => {
                let read = std::fs::read_to_string(file);
                let text = read.map_err(|problem| Error {
                    file: file.display().to_string(),
                    reason: format!("{problem}; server.store_file holds the store's URL"),
                })?;
                Ok(text.trim().to_owned())
            }
            (None, false) => Ok(store.clone()),
            (None, true) => Ok(format!("sqlite://{}", data.join("palisade.db").display())),
        }
    }

    /// The file whose key opens the authority's.
    pub fn authority_key(&self) -> PathBuf {
        self.identity.key_file.clone().unwrap_or_else(|| self.server.data.join("authority.key"))
    }

    fn check(&self) -> Result<(), String> {
        let within = |name: &str, value: u32, least: u32, most: u32| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(format!("{name} = {value} is outside {least} to {most}"))
        };
        within("agents.check_in_seconds", self.agents.check_in_seconds, 1, 86_400)?;
        within("agents.certificate_days", self.agents.certificate_days, 1, 30)?;
        within("agents.silent_minutes", self.agents.silent_minutes, 1, 525_600)?;
        within("agents.hints_max", self.agents.hints_max, 0, 1_000_000)?;
        within("census.every_seconds", self.census.every_seconds, 1, 86_400)?;
        within("census.hours_days", self.census.hours_days, 15, 90)?;
        within("census.days", self.census.days, 90, 3_650)?;
        if self.server.names.is_empty() {
            return Err("server.names is empty: name at least one address by which agents reach the server"
                .to_owned());
        }
        if self.server.store_file.is_some() && !self.server.store.is_empty() {
            return Err("server.store and server.store_file are both given: keep one".to_owned());
        }
        for (at, feed) in self.feeds.iter().enumerate() {
            within(&format!("feed \"{}\": every_minutes", feed.name), feed.every_minutes, 1, 525_600)?;
            let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
            if feed.name.is_empty() || feed.name.len() > 64 || !feed.name.chars().all(plain) {
                return Err(format!(
                    "feed name \"{}\": 1 to 64 letters, digits, - _ . are wanted",
                    feed.name
                ));
            }
            if self.feeds[..at].iter().any(|other| other.name == feed.name) {
                return Err(format!("two feeds are named \"{}\": rename one", feed.name));
            }
        }
        if let Some(Telemetry { otlp, sampled, .. }) = &self.telemetry {
            if !otlp.starts_with("http://") && !otlp.starts_with("https://") {
                return Err(format!("telemetry.otlp = \"{otlp}\": http://HOST:4318 is wanted"));
            }
            if !(0.0..=1.0).contains(sampled) {
                return Err(format!("telemetry.sampled = {sampled} is outside 0 to 1"));
            }
        }
        Ok(())
    }
}

/// The server itself.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Its directory: the embedded store, backups.
    pub data: PathBuf,
    /// The store: `sqlite:///PATH`, `postgres://USER@HOST/DATABASE`. Empty: SQLite in `data`.
    pub store: String,
    /// File that holds the store's URL, for one with a password: readable by the server alone.
    pub store_file: Option<PathBuf>,
    /// Where people's requests are heard, HTTPS.
    pub api: SocketAddr,
    /// Where agents are heard, mTLS.
    pub agents: SocketAddr,
    /// Where metrics and health are told, plain HTTP, without a login.
    pub metrics: SocketAddr,
    /// Names and addresses by which it is reached; they go into its certificate.
    pub names: Vec<String>,
}

/// How the server speaks with agents.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Agents {
    /// How often an agent checks in, seconds.
    pub check_in_seconds: u32,
    /// How long a host's certificate is good, days; at most 30.
    pub certificate_days: u32,
    /// A host not heard of for so long is told as silent, minutes.
    pub silent_minutes: u32,
    /// Hosts of rollouts that may keep a connection open, to be told at once when something changes.
    pub hints_max: u32,
}

/// The fleet's authority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Identity {
    /// File whose key opens the authority's; the same for all servers of a fleet. `authority.key` in `data` if absent.
    pub key_file: Option<PathBuf>,
}

/// Who approves plans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trust {
    /// The server holds the approvers' key, too, and founds the trust with it: whoever captures the server can install what
    /// they like. Has no effect once people approve.
    pub one_key: bool,
}

/// What hosts count in their web logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Census {
    /// How often a host tells what it counted, seconds.
    pub every_seconds: u32,
    /// For how long hours are kept, days: at least the fortnight that growth is measured against, and the day itself.
    pub hours_days: u32,
    /// For how long the fleet's days are kept.
    pub days: u32,
}

/// One feed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feed {
    /// Its name in findings, alarms and commands.
    pub name: String,
    /// A path, or an http(s) URL.
    pub location: String,
    /// How often it is asked, minutes.
    #[serde(default = "Feed::default_minutes")]
    pub every_minutes: u32,
    /// Alarm when its newest record is older than this, days; 0: never.
    #[serde(default = "Feed::default_stale_days")]
    pub stale_days: u32,
    /// For which release it is, where it does not say so itself (updateinfo): `almalinux:9`.
    #[serde(default)]
    pub release: String,
}

impl Feed {
    fn default_minutes() -> u32 {
        60
    }

    fn default_stale_days() -> u32 {
        14
    }
}

/// Logging in through OpenID Connect: authorization code with PKCE.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    /// The provider's issuer URL.
    pub issuer: String,
    /// Our id there.
    pub client_id: String,
    /// File with our secret there; none for a public client.
    pub client_secret_file: Option<PathBuf>,
    /// Where the provider sends people back: `https://palisade.example:8470/login/callback`.
    pub redirect: String,
    /// Claim that holds a person's groups.
    #[serde(default = "Oidc::default_groups_claim")]
    pub groups_claim: String,
    /// Group → role. A person in no named group is refused.
    pub roles: std::collections::BTreeMap<String, String>,
}

impl Oidc {
    fn default_groups_claim() -> String {
        "groups".to_owned()
    }
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `text` or `json`.
    pub format: LogFormat,
    /// As tracing's filters have it: `info`, `server=debug,info`.
    pub filter: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Traces for an OpenTelemetry collector.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// The collector, OTLP over HTTP: `http://collector:4318`; `/v1/traces` is where it takes traces.
    pub otlp: String,
    /// `service.name` of all traces.
    #[serde(default = "Telemetry::default_service")]
    pub service: String,
    /// The share of traces that is sent, 0 to 1; where a caller began the trace, the caller decides.
    #[serde(default = "Telemetry::default_sampled")]
    pub sampled: f64,
}

impl Telemetry {
    fn default_service() -> String {
        "palisade".to_owned()
    }

    fn default_sampled() -> f64 {
        1.0
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            data: PathBuf::from("/var/lib/palisade"),
            store: String::new(),
            store_file: None,
            api: SocketAddr::from(([127, 0, 0, 1], 8470)),
            agents: SocketAddr::from(([127, 0, 0, 1], 8471)),
            metrics: SocketAddr::from(([127, 0, 0, 1], 8472)),
            names: vec!["localhost".to_owned()],
        }
    }
}

impl Default for Agents {
    fn default() -> Self {
        Self { check_in_seconds: 60, certificate_days: 30, silent_minutes: 15, hints_max: 20_000 }
    }
}

impl Default for Census {
    fn default() -> Self {
        Self { every_seconds: 300, hours_days: 15, days: 400 }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned() }
    }
}
