//! The machine's own apt, aimed at a root directory. It only ever reads there: caches, logs and downloads go to a
//! private directory, and of a foreign root's settings only a few harmless ones are honoured.

use crate::job::sight::free_bytes;
use crate::program::Program;
use exposure::inventory::{Gap, Part, System};
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Settings of a foreign root that are honoured: they change what apt would choose, and can run nothing.
const HONOURED: [&str; 6] = [
    "APT::Default-Release",
    "APT::Install-Recommends",
    "APT::Install-Suggests",
    "APT::Machine-ID",
    "APT::Get::Always-Include-Phased-Updates",
    "APT::Get::Never-Include-Phased-Updates",
];

/// With less free than this a failure of apt is taken for one of space: its two caches are 64 MiB on a host with all
/// components enabled.
const FREE_BYTES_MIN: u64 = 64 << 20;

/// apt on one root.
#[derive(Debug)]
pub struct Apt {
    pub(super) root: PathBuf,
    pub(super) system: System,
    /// What every call is told on its command line.
    options: Vec<OsString>,
    /// Settings file that replaces the machine's; for a foreign root only.
    settings: Option<PathBuf>,
    /// Our own place for caches and downloads; `None` for a root that apt is never asked about.
    private: Option<TempDir>,
}

impl Apt {
    /// The machine's apt, aimed at `root`, a directory that `system` describes. Nothing of `root` is run or changed.
    ///
    /// Errors, as a gap in the candidates, if there is no apt here or no place for its caches.
    pub fn open(root: &Path, system: &System) -> Result<Self, Gap> {
        if !crate::program::is_installed("apt-get") {
            return Err(Gap {
                part: Part::Candidates,
                object: "apt-get".to_owned(),
                reason: "not installed here, so archives and upgrades cannot be looked at".to_owned(),
                remedy: "run palisade on a machine with apt".to_owned(),
            });
        }
        let no_place = |error: io::Error| Gap {
            part: Part::Candidates,
            object: std::env::temp_dir().display().to_string(),
            reason: format!("apt's caches cannot be put there: {error}"),
            remedy: "free some space, or set TMPDIR".to_owned(),
        };
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        let mut apt =
            Self { root, system: system.clone(), options: Vec::new(), settings: None, private: None };
        if names_archives(&apt.root) || !apt.is_foreign() {
            let private = tempfile::Builder::new().prefix("palisade-apt-").tempdir().map_err(no_place)?;
            // apt's download user has to get in; there is nothing secret inside.
            std::fs::set_permissions(private.path(), PermissionsExt::from_mode(0o755)).map_err(no_place)?;
            apt.configure(private.path()).map_err(no_place)?;
            apt.private = Some(private);
        }
        Ok(apt)
    }

    /// A directory that goes with `self`; `None` for a root that names no archive and holds no index, about which there
    /// is nothing to ask.
    pub(super) fn private(&self) -> Option<&Path> {
        self.private.as_ref().map(TempDir::path)
    }

    /// Whether the root is another than the running machine's.
    pub(super) fn is_foreign(&self) -> bool {
        self.root != Path::new("/")
    }

    /// `apt-get`, `apt-config` or another of apt's programs, aimed at the root.
    pub(super) fn program(&self, name: &str) -> Program {
        let mut program = Program::new(name).args(self.options.iter().cloned());
        if let Some(settings) = &self.settings {
            program = program.env("APT_CONFIG", settings);
        }
        program
    }

    /// What to do about a failure of apt: `otherwise`, unless the disk that its caches lie on is as good as full.
    pub(super) fn remedy(&self, otherwise: &str) -> String {
        let Some(place) = self.private().and_then(Path::parent) else { return otherwise.to_owned() };
        if rustix::fs::statvfs(place).is_ok_and(|found| free_bytes(&found) < FREE_BYTES_MIN) {
            format!("free some space in {}, or set TMPDIR", place.display())
        } else {
            otherwise.to_owned()
        }
    }

    /// A new directory for downloads, writable for apt's own download user. It goes with `self` at the latest.
    pub(super) fn download_directory(&self) -> io::Result<TempDir> {
        let private =
            self.private().ok_or_else(|| io::Error::other("there is no archive to download from"))?;
        let directory = tempfile::Builder::new().prefix("download-").tempdir_in(private)?;
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755))?;
        // Whom apt downloads as.
        if let Some(uid) = crate::user::id("_apt") {
            // Fails where we are not root: then apt downloads as ourselves anyway.
            let _ = chown(directory.path(), Some(uid), None);
        }
        Ok(directory)
    }

    fn configure(&mut self, cache: &Path) -> io::Result<()> {
        // Debug::NoLocking: nobody else's work is blocked, and no lock file is needed to look.
        self.option("Debug::NoLocking=1");
        // One cache for all our calls, and none of the machine's is touched. The second one only serves to build it.
        self.option_path("Dir::Cache::pkgcache=", &cache.join("pkgcache.bin"));
        self.option("Dir::Cache::srcpkgcache=");
        self.option("APT::Get::Show-User-Simulation-Note=false");
        if self.is_foreign() {
            self.configure_foreign(cache)?;
        }
        Ok(())
    }

    fn configure_foreign(&mut self, cache: &Path) -> io::Result<()> {
        let nothing = cache.join("no-settings.d");
        std::fs::create_dir(&nothing)?;
        std::fs::create_dir_all(cache.join("archives/partial"))?;
        // The machine's settings are not the root's, and the root's could name programs to run.
        let settings = cache.join("apt.conf");
        let text = format!(
            "Dir::Etc::parts \"{0}\";\nDir::Etc::main \"{0}/none\";\n",
            nothing.to_string_lossy().replace('"', "")
        );
        std::fs::write(&settings, text)?;
        self.settings = Some(settings);
        let root = self.root.clone();
        self.option_path("Dir=", &root);
        self.option_path("Dir::State::status=", &root.join("var/lib/dpkg/status"));
        self.option_path("Dir::Cache=", cache);
        self.option_path("Dir::Log=", cache);
        let arch = self.system.arch.clone();
        self.option(format!("APT::Architecture={arch}"));
        // Without this list apt would ask the machine's dpkg.
        self.option(format!("APT::Architectures::={arch}"));
        let others = std::fs::read_to_string(root.join("var/lib/dpkg/arch")).unwrap_or_default();
        for other in others.lines().map(str::trim).filter(|other| !other.is_empty() && *other != arch) {
            self.option(format!("APT::Architectures::={other}"));
        }
        for (name, value) in self.honoured_settings() {
            self.option(format!("{name}={value}"));
        }
        Ok(())
    }

    /// What the root itself has set of [`HONOURED`]. apt-config only reads; it runs nothing.
    fn honoured_settings(&self) -> Vec<(String, String)> {
        let etc = self.root.join("etc/apt");
        let mut program = Program::new("apt-config");
        if let Some(settings) = &self.settings {
            program = program.env("APT_CONFIG", settings);
        }
        // apt-config reads further files with --config-file, in this order.
        let mut files: Vec<PathBuf> = std::fs::read_dir(etc.join("apt.conf.d"))
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_none_or(|extension| extension == "conf") && path.is_file())
            .collect();
        files.sort();
        files.extend(Some(etc.join("apt.conf")).filter(|path| path.is_file()));
        if files.is_empty() {
            return Vec::new();
        }
        for file in files {
            program = program.arg("-c").arg(file);
        }
        let dump = program.arg("dump").run_ok();
        let text =
            dump.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        settings(&text).filter(|(name, _)| HONOURED.contains(&name.as_str())).collect()
    }

    fn option(&mut self, option: impl Into<OsString>) {
        self.options.push("-o".into());
        self.options.push(option.into());
    }

    fn option_path(&mut self, name: &str, path: &Path) {
        let mut option = OsString::from(name);
        option.push(path);
        self.option(option);
    }
}

/// Whether a root names an archive or holds an index.
fn names_archives(root: &Path) -> bool {
    // What cannot be listed may hold something.
    let holds = |directory: &str, wanted: fn(&str) -> bool| match std::fs::read_dir(root.join(directory)) {
        Ok(mut entries) => {
            entries.any(|entry| entry.map_or(true, |entry| entry.file_name().to_str().is_none_or(wanted)))
        }
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    };
    let index = |name: &str| name.ends_with("Release") || name.contains("Packages");
    std::fs::symlink_metadata(root.join("etc/apt/sources.list")).is_ok()
        || holds("etc/apt/sources.list.d", |_| true)
        || holds("var/lib/apt/lists", index)
}

/// The settings that `apt-config dump` prints: (name, value), those with a value.
pub(super) fn settings(dump: &str) -> impl Iterator<Item = (String, String)> {
    dump.lines().filter_map(|line| {
        let (name, value) = line.strip_suffix(';')?.split_once(' ')?;
        let value = value.trim().trim_matches('"');
        (!value.is_empty()).then(|| (name.to_owned(), value.to_owned()))
    })
}
