//! Whom to write to about a network: a table that the user has, and what registries say where that was asked.

use super::own::short_text;
use super::prefix::Prefix;
use super::rdap::Rdap;
use advisory::Problem;
use anyhow::{Context, Result, bail};
use std::net::IpAddr;
use std::path::Path;

/// Where a table says nothing, sources are of one network when they share so many bits: what is the smallest network that
/// is handed on between providers.
const V4_BITS: u8 = 24;
const V6_BITS: u8 = 48;
/// Longest address of mail (RFC 5321).
const MAIL_BYTES_MAX: usize = 254;

/// A network, and whom to write to about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Contact {
    pub(super) network: Prefix,
    /// Nothing where nobody is known.
    pub(super) mail: Option<String>,
}

/// Where contacts are looked for.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    table: Vec<Contact>,
    rdap: Option<Rdap>,
    /// What registries said.
    asked: Vec<Contact>,
    pub(super) problems: Vec<Problem>,
}

impl Contacts {
    /// With the table in a file: a network and an address of mail in each line.
    pub(super) fn new(table: Option<&Path>, rdap: Option<Rdap>) -> Result<Self> {
        let table = table.map(|path| {
            let doing = || format!("read contacts from {}", path.display());
            let text = short_text(path).with_context(doing)?;
            let mut contacts = Vec::new();
            for (number, line) in (1..).zip(text.lines()) {
                let line = line.split('#').next().unwrap_or_default();
                let mut words = line.split_whitespace();
                let Some(network) = words.next() else { continue };
                match (Prefix::parse(network), words.next().and_then(mail), words.next()) {
                    (Some(network), Some(mail), None) => contacts.push(Contact { network, mail: Some(mail) }),
                    _ => bail!(
                        "{}: line {number} is no network with an address of mail; write 192.0.2.0/24 abuse@example.net",
                        doing()
                    ),
                }
            }
            Ok(contacts)
        });
        Ok(Self { table: table.transpose()?.unwrap_or_default(), rdap, ..Self::default() })
    }

    /// The network that an address is of, and whom to write to.
    pub(super) fn of(&mut self, address: IpAddr) -> Contact {
        let narrowest = |contacts: &[Contact]| {
            let fitting = contacts.iter().filter(|contact| contact.network.contains(address));
            fitting.max_by_key(|contact| contact.network.bits()).cloned()
        };
        if let Some(known) = narrowest(&self.table).or_else(|| narrowest(&self.asked)) {
            return known;
        }
        let bits = if address.to_canonical().is_ipv4() { V4_BITS } else { V6_BITS };
        let mut contact = Contact { network: Prefix::new(address, bits), mail: None };
        if let Some(rdap) = &mut self.rdap {
            match rdap.contact(address) {
                Ok(found) => contact = found,
                Err(reason) => {
                    let problem = Problem::new("look up contact", address.to_string(), reason);
                    self.problems.push(problem.remedy("add its network to the table of --contacts"));
                }
            }
            self.asked.push(contact.clone());
        }
        contact
    }
}

/// An address of mail, if it is one that can stand in a header: nothing that a registry says is taken unread.
pub(super) fn mail(text: &str) -> Option<String> {
    let (name, domain) = text.rsplit_once('@')?;
    let sound = |part: &str, others: &[char]| {
        !part.is_empty()
            && part.chars().all(|letter| letter.is_ascii_alphanumeric() || others.contains(&letter))
    };
    let fits = sound(name, &['.', '-', '_', '+', '=']) && sound(domain, &['.', '-']) && domain.contains('.');
    (fits && text.len() <= MAIL_BYTES_MAX).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_mail_brings_no_line_of_its_own() {
        assert_eq!(mail("abuse@example.net").as_deref(), Some("abuse@example.net"));
        for wrong in [
            "abuse@example.net\nBcc: all@example.net",
            "abuse",
            "@example.net",
            "a b@example.net",
            "<a@b.c>",
            "a@b",
        ] {
            assert_eq!(mail(wrong), None, "{wrong}");
        }
    }
}
