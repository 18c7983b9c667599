//! A real Debian host with systemd, made by the test bed that lies beside the reference data: a library is upgraded under
//! a running web server, and `palisade check` calls it fixed but still running until the server is restarted.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// One host of the test bed, with its own names, so that other beds on this machine are left alone.
struct Host {
    bed: PathBuf,
    state: tempfile::TempDir,
}

const NAME: &str = "c01";

impl Host {
    fn up(bed: &Path) -> Self {
        let host = Self {
            bed: bed.to_owned(),
            state: tempfile::tempdir_in("/var/tmp").expect("a directory on disk"),
        };
        // Base and mirror are built once and shared; they take two minutes.
        host.script("mkmirror-unless-there", "[ -s \"$TB_CACHE/pending-deb\" ] || ./mkmirror");
        host.script("up", &format!("./fleet add {NAME}"));
        host.script(
            "push",
            &format!("./fleet push {NAME} {} /usr/local/bin/palisade", env!("CARGO_BIN_EXE_palisade")),
        );
        host
    }

    fn bash(&self, script: &str) -> Output {
        let shared = std::env::var("PALISADE_BED").unwrap_or_else(|_| "/var/tmp/palisade-testbed".to_owned());
        Command::new("bash")
            .args(["-euc", script])
            .current_dir(&self.bed)
            .env("TB_DIR", self.state.path())
            .env("TB_CACHE", format!("{shared}/cache"))
            .env("TB_WWW", format!("{shared}/www"))
            .env("TB_KEYS", format!("{shared}/keys"))
            .env("TB_PREFIX", "pchk")
            .env("TB_NET", "10.79.0")
            .env("TB_SUITES", "bookworm bookworm-security")
            .output()
            .expect("bash starts")
    }

    fn script(&self, what: &str, script: &str) -> String {
        let output = self.bash(script);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{what}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    fn exec(&self, command: &str) -> String {
        self.script(command, &format!("./fleet exec {NAME} sh -c '{command}'"))
    }

    /// The entry of one source in a check that the host makes of itself.
    fn entry(&self, source: &str) -> Option<Value> {
        let output = self.bash(&format!("./fleet exec {NAME} palisade check --format json"));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let report: Value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
        report["entries"].as_array()?.iter().find(|entry| entry["source"] == source).cloned()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.bash("./fleet down");
    }
}

#[test]
#[cfg_attr(not(reference_data), ignore = "needs the test bed beside the reference data")]
fn a_library_upgraded_under_a_running_service_is_still_running_until_the_restart() {
    let bed = Path::new(option_env!("PALISADE_REFERENCE").unwrap_or_default()).join("../testbed");
    if !rustix::process::getuid().is_root() || !bed.is_dir() {
        eprintln!("SKIPPED: needs root's rights and the test bed");
        return;
    }
    let host = Host::up(&bed);
    host.exec("apt-get -qq update && systemctl start nginx");

    let before = host.entry("openssl").expect("a security upgrade of openssl is pending on the base image");
    assert_eq!(before["remedy"]["do"], "upgrade", "{before:#}");
    assert_eq!(before["reach"]["seen"], "listening", "nginx listens and maps libssl: {before:#}");
    assert!(before["closes"].as_array().is_some_and(|cves| !cves.is_empty()), "{before:#}");
    let command = before["command"].as_str().expect("a command that fixes it").to_owned();

    host.exec(&format!(
        "export NEEDRESTART_SUSPEND=1 DEBIAN_FRONTEND=noninteractive; {command} -y -qq </dev/null >/dev/null"
    ));
    let upgraded = host.entry("openssl").expect("the old library is still mapped");
    assert_eq!(upgraded["remedy"]["do"], "restart", "{upgraded:#}");
    let runs = upgraded["remedy"]["by"].to_string();
    assert!(runs.contains("nginx.service"), "{runs}");
    assert_eq!(upgraded["closes"], before["closes"], "the restart closes what the upgrade was for");
    let restart = upgraded["command"].as_str().expect("a command that restarts it").to_owned();
    assert!(restart.starts_with("systemctl restart ") && restart.contains("nginx.service"), "{restart}");

    host.exec("systemctl restart nginx.service");
    let runs = host.entry("openssl").map(|entry| entry["remedy"]["by"].to_string()).unwrap_or_default();
    assert!(!runs.contains("nginx.service"), "nginx was restarted: {runs}");
}
