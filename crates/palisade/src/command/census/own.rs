//! Whether our own hosts are among the sources: then one of them attacks others, or us, and that is an incident.
//!
//! Ours are what `--own` names, the addresses of this machine's interfaces, and the addresses that a centre saw its hosts
//! come from. Where this cannot be told it is a problem, never "none".

use super::prefix::Prefix;
use crate::client::{Access, Client, access_path};
use advisory::Problem;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use traffic::census::report::{SourceRow, sources_of};
use traffic::census::{Census, Key, Pseudonyms};
use traffic::format::{Octets, Source};
use traffic::rules::Rules;

/// A list of own networks that is longer is no such list: 1 MiB.
const LIST_BYTES_MAX: u64 = 1 << 20;
/// Hosts of a centre that are asked for.
const HOSTS_MAX: usize = 1_000_000;

/// Networks and addresses that are ours.
#[derive(Debug, Default)]
pub(super) struct Own {
    singles: BTreeSet<IpAddr>,
    networks: Vec<Prefix>,
}

impl Own {
    /// From the lists that were named, this machine, and the centre that the user has access to.
    pub(super) fn gather(lists: &[PathBuf]) -> Result<(Self, Vec<Problem>)> {
        let mut own = Self::default();
        let mut problems = Vec::new();
        for list in lists {
            own.list(list)?;
        }
        let interfaces = ["/proc/net/fib_trie", "/proc/net/if_inet6"].map(std::fs::read_to_string);
        let [v4, v6] = interfaces.map(Result::unwrap_or_default);
        addresses_v4(&v4).chain(addresses_v6(&v6)).filter(is_told_apart).for_each(|address| own.add(address));
        if let Some(path) = access_path(None).ok().filter(|path| path.exists())
            && let Err(error) = own.fleet(&path)
        {
            let problem = Problem::new("look for own hosts", "the centre", format!("{error:#}"));
            problems.push(
                problem.remedy("name their addresses with --own, or ask again when the centre answers"),
            );
        }
        Ok((own, problems))
    }

    fn add(&mut self, address: IpAddr) {
        self.singles.insert(address.to_canonical());
    }

    fn list(&mut self, path: &Path) -> Result<()> {
        let text = short_text(path).with_context(|| format!("read own networks from {}", path.display()))?;
        for (number, line) in (1..).zip(text.lines()) {
            let word = line.split('#').next().unwrap_or_default().trim();
            match Prefix::parse(word) {
                _ if word.is_empty() => {}
                Some(prefix) if prefix.is_single() => self.add(prefix.address()),
                Some(prefix) => self.networks.push(prefix),
                None => bail!(
                    "read own networks from {}: line {number} is neither an address nor a network; write 192.0.2.7 or 192.0.2.0/24",
                    path.display()
                ),
            }
        }
        Ok(())
    }

    fn fleet(&mut self, access: &Path) -> Result<()> {
        let client = Client::new(&Access::read(access)?)?;
        for host in client.list("/hosts", &[], HOSTS_MAX)? {
            let address = host["address"].as_str().and_then(|address| address.parse().ok());
            address.filter(is_told_apart).into_iter().for_each(|address| self.add(address));
        }
        Ok(())
    }

    /// Whether an address is ours.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.singles.contains(&address.to_canonical())
            || self.networks.iter().any(|network| network.contains(address))
    }

    /// Sources that are ours, and why that cannot be told of all of them. Pseudonyms are compared with those of our own
    /// addresses: networks stay networks under a key.
    pub(super) fn among(
        &self,
        census: &Census,
        rules: &Rules,
        key: &Key,
    ) -> (Vec<SourceRow>, Option<Problem>) {
        let problem = |reason: &str| Problem::new("look for own hosts", "the sources", reason);
        let setup = census.setup();
        let (rows, mut unsure) = if !setup.pseudonyms {
            (sources_of(census, rules, |source| source.ip().is_some_and(|address| self.has(address))), None)
        } else if setup.key == key.id() {
            let disguised = self.under(key);
            let mut rows =
                sources_of(census, rules, |source| source.ip().is_some_and(|address| disguised.has(address)));
            // Our own addresses are no secret from us.
            let mut pseudonyms = Pseudonyms::new(key);
            for address in &self.singles {
                let told = pseudonyms.of(source(*address)).to_string();
                rows.iter_mut()
                    .filter(|row| row.source == told)
                    .for_each(|row| row.source = address.to_string());
            }
            (rows, None)
        } else {
            let unknown = problem("sources are pseudonyms under another key");
            (Vec::new(), Some(unknown.remedy("give the same --key as when they were counted")))
        };
        if unsure.is_none() && census.one_source_in() > 1 {
            let reason =
                format!("there were too many to keep; one in {} was looked at", census.one_source_in());
            unsure = Some(problem(&reason).remedy("count fewer days at once"));
        }
        (rows, unsure)
    }

    fn under(&self, key: &Key) -> Self {
        let mut pseudonyms = Pseudonyms::new(key);
        let mut of = |address: IpAddr| pseudonyms.of(source(address)).ip().unwrap_or(address);
        Self {
            singles: self.singles.iter().map(|address| of(*address)).collect(),
            networks: self
                .networks
                .iter()
                .map(|network| Prefix::new(of(network.address()), network.bits()))
                .collect(),
        }
    }
}

/// Whether an address is one host's, to everybody who sees it: not the loopback, not one of a link.
fn is_told_apart(address: &IpAddr) -> bool {
    let of_link = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !address.is_loopback() && !address.is_unspecified() && !of_link
}

fn source(address: IpAddr) -> Source {
    match address {
        IpAddr::V4(address) => Source::from_octets(Octets::V4(address.octets())),
        IpAddr::V6(address) => Source::from_octets(Octets::V6(address.octets())),
    }
}

/// The text of a file that ought to be short.
pub(super) fn short_text(path: &Path) -> Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?.take(LIST_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LIST_BYTES_MAX {
        bail!("it is larger than 1 MiB");
    }
    Ok(text)
}

/// Addresses of interfaces in the kernel's tree of routes: a leaf, and in a line below it that it is local.
fn addresses_v4(trie: &str) -> impl Iterator<Item = IpAddr> + '_ {
    let mut leaf = None;
    trie.lines().filter_map(move |line| {
        if let Some((_, address)) = line.split_once("|-- ") {
            leaf = address.trim().parse().ok();
            return None;
        }
        leaf.filter(|_| line.trim() == "/32 host LOCAL").map(|address: std::net::Ipv4Addr| address.into())
    })
}

/// Addresses of interfaces in `if_inet6`: 32 hex digits at the beginning of each line.
fn addresses_v6(table: &str) -> impl Iterator<Item = IpAddr> + '_ {
    table.lines().filter_map(|line| {
        let digits = line.get(..32)?;
        Some(Ipv6Addr::from_bits(u128::from_str_radix(digits, 16).ok()?).into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIE: &str = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 192.0.2.0\n        \
        /24 link UNICAST\n     |-- 192.0.2.7\n        /32 host LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL\n     \
        |-- 192.0.2.255\n        /32 link BROADCAST\n";
    const TABLE: &str = "20010db8000000000000000000000007 02 40 00 80     eth0\n\
        00000000000000000000000000000001 01 80 10 80       lo\nfe800000000000000000000000000001 02 40 20 80     eth0\n";

    #[test]
    fn addresses_of_this_machine_are_read_and_its_loopback_is_not_one() {
        let found: Vec<String> = addresses_v4(TRIE)
            .chain(addresses_v6(TABLE))
            .filter(is_told_apart)
            .map(|address| address.to_string())
            .collect();
        assert_eq!(found, ["192.0.2.7", "2001:db8::7"]);
    }
}
