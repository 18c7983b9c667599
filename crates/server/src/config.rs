//! What the server is told: one TOML file, read once into types.

use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;

/// All settings. Every one has a default.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The server itself.
    pub server: Server,
    /// How it speaks with agents.
    pub agents: Agents,
    /// Where advisories come from.
    #[serde(rename = "feed")]
    pub feeds: Vec<Feed>,
    /// Logging in through somebody else's identity provider.
    pub oidc: Option<Oidc>,
    /// What is logged, and how.
    pub log: Log,
}

/// The server itself.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Its directory: the embedded store, backups.
    pub data: PathBuf,
    /// The store: `sqlite:///PATH`, `postgres://USER@HOST/DATABASE`. Empty: SQLite in `data`.
    pub store: String,
    /// Where people's requests are heard, HTTPS.
    pub api: SocketAddr,
    /// Where agents are heard, mTLS.
    pub agents: SocketAddr,
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

impl Default for Config {
    fn default() -> Self {
        Self {
            server: Server::default(),
            agents: Agents::default(),
            feeds: Vec::new(),
            oidc: None,
            log: Log::default(),
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            data: PathBuf::from("/var/lib/palisade"),
            store: String::new(),
            api: SocketAddr::from(([127, 0, 0, 1], 8470)),
            agents: SocketAddr::from(([127, 0, 0, 1], 8471)),
            names: vec!["localhost".to_owned()],
        }
    }
}

impl Default for Agents {
    fn default() -> Self {
        Self { check_in_seconds: 60, certificate_days: 30, silent_minutes: 15 }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned() }
    }
}
