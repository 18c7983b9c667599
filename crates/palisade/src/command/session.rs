//! A command's session with a server: asks, and prints lists and single things as tables or JSON.

use crate::cli::fleet::Asking;
use crate::client::{Access, Client, access_path};
use crate::output::listing::{self, Column};
use crate::output::table::Look;
use crate::terminal;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::Write;
use std::process::ExitCode;

/// A client, and how to print what it says.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) json: bool,
}

impl Session {
    pub(crate) fn open(asking: &Asking) -> Result<Self> {
        let access = Access::read(&access_path(asking.access.as_deref())?)?;
        Ok(Self { client: Client::new(&access)?, json: asking.json })
    }

    /// Findings, with evidence for reading.
    pub(crate) fn findings(
        &self,
        mut findings: Vec<Value>,
        columns: &[Column],
        none: &str,
    ) -> Result<ExitCode> {
        if !self.json {
            for finding in &mut findings {
                let words = finding["evidence"].as_str().map(|words| listing::evidence(words).to_owned());
                finding["evidence"] = words.into();
            }
        }
        self.list(&findings, columns, none)
    }

    pub(crate) fn list(&self, items: &[Value], columns: &[Column], none: &str) -> Result<ExitCode> {
        if self.json {
            return print(&(serde_json::to_string_pretty(items)? + "\n"));
        }
        if items.is_empty() {
            eprintln!("palisade: {none}");
            return Ok(ExitCode::SUCCESS);
        }
        print(&listing::table(items, columns, look()))
    }

    pub(crate) fn card(&self, item: &Value, rows: &[Column]) -> Result<ExitCode> {
        if self.json {
            return print(&(serde_json::to_string_pretty(item)? + "\n"));
        }
        print(&listing::card(item, rows))
    }

    /// The id of the host called `name`, or with this id.
    pub(crate) fn host(&self, name: &str) -> Result<String> {
        // A selector's text in quotes is taken as it is.
        let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
        let found = self.client.list("/hosts", &[("selector", &format!("name=\"{quoted}\""))], 2)?;
        let id = |host: &Value| host["id"].as_str().map(str::to_owned);
        match found.as_slice() {
            [host] => id(host).context("the server's answer has no id"),
            [] => Ok(name.to_owned()),
            [_, ..] => bail!("\"{name}\" names several hosts; use an id of \"palisade host list\""),
        }
    }
}

/// How lists are drawn here.
pub(crate) fn look() -> Look {
    Look { width: terminal::width(), colours: terminal::colours(crate::cli::Colour::Auto), all: false }
}

/// Prints; a reader that went away is no error.
pub(crate) fn print(text: &str) -> Result<ExitCode> {
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// `NAME=VALUE` words.
pub(crate) fn pairs(words: &[String]) -> Result<Vec<(String, String)>> {
    words
        .iter()
        .map(|word| match word.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            Some(_) | None => bail!("\"{word}\" is not of the form NAME=VALUE"),
        })
        .collect()
}
