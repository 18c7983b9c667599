//! Asks registries whose network an address is of (RDAP, RFC 9082 and 9083). Only where the user asks for it: each question
//! tells the registry an address that attacked us.

use super::contacts::{Contact, mail};
use super::prefix::Prefix;
use serde_json::Value;
use std::net::IpAddr;
use std::time::Duration;
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

/// One question, redirections to the registry that knows included.
const DEADLINE: Duration = Duration::from_secs(10);
/// Answers have some 10 KiB.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
const REDIRECTS_MAX: u32 = 4;
/// Registries shut out who asks much more at once.
const QUESTIONS_MAX: u32 = 100;
/// Entities inside each other: a contact of an organisation of a registrar.
const DEPTH_MAX: u8 = 4;

/// Asks one server, which may send us on to others.
#[derive(Debug)]
pub(super) struct Rdap {
    agent: Agent,
    server: String,
    questions: u32,
}

impl Rdap {
    /// Of a server: `https://rdap.example`.
    pub(super) fn new(server: &str) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(DEADLINE))
            .max_redirects(REDIRECTS_MAX)
            .https_only(server.starts_with("https:"))
            .http_status_as_error(false)
            .user_agent(concat!("palisade/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .build();
        Self { agent: config.new_agent(), server: server.trim_end_matches('/').to_owned(), questions: 0 }
    }

    /// The network that an address is of and whom to write to; or why that cannot be told.
    pub(super) fn contact(&mut self, address: IpAddr) -> Result<Contact, String> {
        if self.questions >= QUESTIONS_MAX {
            return Err(format!("{QUESTIONS_MAX} networks were asked for already"));
        }
        if agent::program::is_stopped() {
            return Err("interrupted".into());
        }
        self.questions += 1;
        let question = format!("{}/ip/{address}", self.server);
        let asked = self.agent.get(&question).header("Accept", "application/rdap+json").call();
        let mut response = asked.map_err(|error| format!("{}: {error}", self.server))?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("{} answers {status}", self.server));
        }
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| format!("{}: {error}", self.server))?;
        let answer: Value =
            serde_json::from_slice(&body).map_err(|error| format!("{}: {error}", self.server))?;
        read(&answer, address)
            .ok_or_else(|| format!("the answer of {} names no network that it is in", self.server))
    }
}

/// The network of an answer: the widest of its blocks that holds the address, which has to be in it.
fn read(answer: &Value, address: IpAddr) -> Option<Contact> {
    let blocks = answer["cidr0_cidrs"].as_array().into_iter().flatten().filter_map(|block| {
        let start = block["v4prefix"].as_str().or_else(|| block["v6prefix"].as_str())?;
        Prefix::parse(&format!("{start}/{}", block["length"].as_u64()?))
    });
    let range = || {
        let end = |name: &str| answer[name].as_str()?.parse::<IpAddr>().ok();
        Some(spanned(end("startAddress")?, end("endAddress")?))
    };
    let network = blocks
        .filter(|block| block.contains(address))
        .min_by_key(Prefix::bits)
        .or_else(range)
        .filter(|network| network.contains(address) && network.bits() > 0)?;
    Some(Contact { network, mail: abuse(&answer["entities"], DEPTH_MAX) })
}

/// The smallest network with both ends.
fn spanned(start: IpAddr, end: IpAddr) -> Prefix {
    let most: u8 = if start.is_ipv4() { 32 } else { 128 };
    let both = (0..=most).rev().map(|bits| Prefix::new(start, bits)).find(|network| network.contains(end));
    both.unwrap_or(Prefix::new(start, 0))
}

/// The first address of mail of an entity whose role is abuse, however deep.
fn abuse(entities: &Value, depth: u8) -> Option<String> {
    let entities = || entities.as_array().into_iter().flatten();
    let of_role = entities().filter(|entity| {
        entity["roles"].as_array().into_iter().flatten().any(|role| role.as_str() == Some("abuse"))
    });
    let mut mails = of_role.filter_map(|entity| {
        entity["vcardArray"][1].as_array()?.iter().find_map(|property| {
            (property[0] == "email").then(|| property[3].as_str().and_then(mail)).flatten()
        })
    });
    mails.next().or_else(|| {
        let deeper = depth.checked_sub(1)?;
        entities().find_map(|entity| abuse(&entity["entities"], deeper))
    })
}
