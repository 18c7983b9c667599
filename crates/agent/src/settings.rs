//! What the host's owner allows: `/etc/palisade/agent.toml`, read once, when the agent starts. It can only narrow what plans
//! ask. A file that cannot be read as it is meant keeps the agent from starting: a veto must not be lost in a typing error.

use jiff::tz::TimeZoneDatabase;
use rollout::converge::Local;
use rollout::plan::Window;
use rollout::plan::probe::is_command;
use rollout::window::Calendar;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use traffic::format::Custom;

/// Where the file is unless told otherwise. None at all allows everything that a plan may ask.
pub const FILE: &str = "/etc/palisade/agent.toml";
/// Bytes of it; a thousand excluded packages have 30 KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// All settings. Every one has a default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What plans may do here.
    pub plans: Plans,
    /// The agent itself.
    pub agent: Agent,
    /// What is counted in this host's web logs.
    pub census: Census,
    /// What plans may have asked here by its name.
    pub commands: Commands,
    /// What takes this host out of its service, and back.
    pub hooks: Hooks,
}

/// What takes this host out of its service before it is changed, and puts it back afterwards: command lines that are run as
/// root, each a program with its whole path and its arguments. None at all: the host serves all the while.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hooks {
    /// Before the point of no return; if it fails, nothing is begun.
    pub drain: Vec<String>,
    /// When the host is proven, or has gone back; if it fails, it is tried again.
    pub undrain: Vec<String>,
    /// How long either may take.
    pub within_seconds: u32,
}

/// How long a hook may take at most: an hour.
const HOOK_SECONDS_MAX: u32 = 3_600;

impl Default for Hooks {
    fn default() -> Self {
        Self { drain: Vec::new(), undrain: Vec::new(), within_seconds: 120 }
    }
}

impl Hooks {
    fn check(&self) -> Result<(), String> {
        if self.drain.is_empty() != self.undrain.is_empty() {
            return Err("hooks: drain and undrain come together: name both, or none".to_owned());
        }
        let lines = [&self.drain, &self.undrain];
        if let Some(program) =
            lines.iter().filter_map(|line| line.first()).find(|name| !name.starts_with('/'))
        {
            return Err(format!("hooks: {program} does not begin with /; give the whole path"));
        }
        if !(1..=HOOK_SECONDS_MAX).contains(&self.within_seconds) {
            return Err(format!("hooks: within_seconds: between 1 and {HOOK_SECONDS_MAX}"));
        }
        Ok(())
    }
}

/// Command lines by the names that plans may use for them: a program with its whole path, and its arguments. They are run as
/// the agent, without its rights.
pub type Commands = BTreeMap<String, Vec<String>>;

/// What is counted in this host's web logs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Census {
    /// Whether anything is read and counted.
    pub on: bool,
    /// Whether the configurations of nginx and Apache are asked for logs.
    pub find: bool,
    /// Logs, or patterns for them, besides those that are found.
    pub logs: Vec<PathBuf>,
    /// How lines of `logs` are written, in the web server's own words; none: lines tell.
    pub format: Option<String>,
    /// Files and directories of rules, besides our own.
    pub rules: Vec<PathBuf>,
}

impl Default for Census {
    fn default() -> Self {
        Self { on: false, find: true, logs: Vec::new(), format: None, rules: Vec::new() }
    }
}

impl Census {
    fn check(&self) -> Result<(), String> {
        if let Some(path) = self.logs.iter().chain(&self.rules).find(|path| !path.is_absolute()) {
            return Err(format!("census: {} does not begin with /; give the whole path", path.display()));
        }
        let format = self.format.as_deref().map(Custom::parse).transpose();
        format.map(drop).map_err(|problem| format!("census: {problem}"))
    }
}

/// What plans may do here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plans {
    /// No plan changes this host.
    pub never: bool,
    /// Binary or source packages that no plan changes here.
    pub excluded: Vec<String>,
    /// When plans may begin here; empty: whenever they say.
    pub windows: Vec<Window>,
}

/// The agent itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Agent {
    /// What carries plans out.
    pub hand: HandKind,
}

/// What carries plans out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HandKind {
    /// Looks, and can change nothing.
    #[default]
    Eyes,
    /// Pretends, to rehearse a whole rollout: nothing that it says was done.
    Dry,
    /// Installs what approvers have signed, with apt; by a half of its own that is root.
    Apt,
    /// The same with dnf.
    Dnf,
    /// The same with zypper.
    Zypper,
    /// The same with pacman.
    Pacman,
    /// The same with apk.
    Apk,
}

impl fmt::Display for HandKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Eyes => "eyes: looks, can change nothing; it skips every plan",
            Self::Dry => "DRY: pretends; nothing that it reports as done was done",
            Self::Apt => "apt: installs what approvers have signed",
            Self::Dnf => "dnf: installs what approvers have signed",
            Self::Zypper => "zypper: installs what approvers have signed",
            Self::Pacman => "pacman: installs what approvers have signed",
            Self::Apk => "apk: installs what approvers have signed",
        })
    }
}

/// Settings that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read settings {file}: {reason}")]
pub struct Error {
    /// The file.
    pub file: String,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl Settings {
    /// Reads the file; the defaults where there is none.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let error = |reason: String| Error { file: path.display().to_string(), reason };
        let size = match std::fs::metadata(path) {
            Ok(found) => found.len(),
            Err(problem) if problem.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(problem) => return Err(error(problem.to_string())),
        };
        if size > FILE_BYTES_MAX {
            return Err(error(format!("{size} bytes are more than {FILE_BYTES_MAX}: not a settings file")));
        }
        let text = std::fs::read_to_string(path).map_err(|problem| error(problem.to_string()))?;
        let settings: Self = advisory::settings::parse(&text).map_err(error)?;
        settings.calendar().map_err(error)?;
        settings.census.check().map_err(error)?;
        check_commands(&settings.commands).map_err(error)?;
        settings.hooks.check().map_err(error)?;
        Ok(settings)
    }

    /// As converging asks it.
    pub(crate) fn local(&self) -> Result<Local, Error> {
        let calendar = self.calendar().map_err(|reason| Error { file: FILE.to_owned(), reason })?;
        let Plans { never, excluded, .. } = self.plans.clone();
        let commands = self.commands.keys().cloned().collect();
        Ok(Local { never, excluded, commands, calendar })
    }

    fn calendar(&self) -> Result<Calendar, String> {
        Calendar::read(&self.plans.windows, &[], &zones()).map_err(|problem| problem.to_string())
    }
}

fn check_commands(commands: &Commands) -> Result<(), String> {
    for (name, line) in commands {
        if !is_command(name) {
            return Err(format!("commands: \"{name}\" is no name; letters, digits, - and _, at most 64"));
        }
        if !line.first().is_some_and(|program| program.starts_with('/')) {
            return Err(format!(
                "commands: {name}: begin with the program's whole path: [\"/usr/local/bin/{name}\"]"
            ));
        }
    }
    Ok(())
}

/// The host's own time zones, or those that we bring along.
pub(crate) fn zones() -> TimeZoneDatabase {
    TimeZoneDatabase::from_env()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Settings::read(file.path()).map_err(|error| error.reason)
    }

    #[test]
    fn a_veto_that_is_mistyped_is_no_veto_and_said_so() {
        let refused = read("[plans]\nnevr = true\n").unwrap_err();
        assert!(refused.contains("line 2") && refused.contains("did you mean \"never\"?"), "{refused}");
        assert!(read("[plans]\nnever = \"yes\"\n").is_err());
        assert!(read("[agent]\nhand = \"wet\"\n").unwrap_err().contains("eyes"));
        let window = "[[plans.windows]]\nzone = \"Europe/Nowhere\"\nevery = { weekly = [\"sunday\"] }\n\
                      opens = \"02:00:00\"\nminutes = 120\n";
        assert!(read(window).unwrap_err().contains("Europe/Nowhere"));
        let good = read(&window.replace("Nowhere", "Zurich")).unwrap();
        assert_eq!((good.plans.windows.len(), good.agent.hand), (1, HandKind::Eyes));
        assert_eq!(Settings::read(Path::new("/nowhere/agent.toml")), Ok(Settings::default()));
    }

    #[test]
    fn a_command_that_plans_may_ask_for_is_a_whole_path_under_a_plain_name() {
        let good = read("[commands]\ncheck-shop = [\"/usr/local/bin/check-shop\", \"--quick\"]\n").unwrap();
        assert_eq!(good.commands["check-shop"], ["/usr/local/bin/check-shop", "--quick"]);
        for (line, told) in [
            ("check = [\"check\"]", "whole path"),
            ("check = []", "whole path"),
            ("\"a b\" = [\"/bin/true\"]", "is no name"),
            ("check = \"/bin/true\"", "expected a sequence"),
        ] {
            let refused = read(&format!("[commands]\n{line}\n")).unwrap_err();
            assert!(refused.contains(told), "{line}: {refused}");
        }
    }

    #[test]
    fn whoever_is_drained_must_be_put_back_again() {
        let pair = "drain = [\"/usr/local/sbin/lb\", \"out\"]\nundrain = [\"/usr/local/sbin/lb\", \"in\"]\n";
        assert_eq!(read(&format!("[hooks]\n{pair}")).unwrap().hooks.within_seconds, 120);
        for (lines, told) in [
            ("drain = [\"/bin/true\"]", "come together"),
            ("undrain = [\"/bin/true\"]", "come together"),
            ("drain = [\"true\"]\nundrain = [\"/bin/true\"]", "whole path"),
            ("within_seconds = 0", "between 1 and 3600"),
            ("undrian = []", "did you mean \"undrain\"?"),
        ] {
            let refused = read(&format!("[hooks]\n{lines}\n")).unwrap_err();
            assert!(refused.contains(told), "{lines}: {refused}");
        }
    }
}
