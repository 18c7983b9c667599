//! What nginx is told to log, and where. Takes texts of its configuration; gives logs.

use super::found::{Files, Log, Told};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where its configuration begins, relative to the root.
const BEGINS: [&str; 2] = ["/etc/nginx/nginx.conf", "/usr/local/nginx/conf/nginx.conf"];
/// What names without a directory are relative to, by packager.
const PREFIXES: [&str; 3] = ["/usr/share/nginx", "/usr/local/nginx", "/etc/nginx"];
/// What it logs to when it is not told (Debian, Fedora, Alpine).
const DEFAULT: &str = "/var/log/nginx/access.log";

/// One statement: where it begins, its words, and how many blocks it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Statement {
    line: usize,
    words: Vec<String>,
    depth: usize,
}

/// Everything that it logs.
pub(super) fn logs(files: &mut Files<'_>) -> Told {
    let mut reading = Reading::default();
    for begins in BEGINS {
        if files.is_there(Path::new(begins)) {
            reading.file(Path::new(begins), 0, files);
        }
    }
    reading.told(files)
}

#[derive(Default)]
struct Reading {
    formats: BTreeMap<String, String>,
    /// Where it stands, and its words.
    logs: Vec<(String, Vec<String>)>,
    is_there: bool,
    /// Whether what is logged outside of servers was said.
    says_default: bool,
}

impl Reading {
    fn file(&mut self, path: &Path, depth: usize, files: &mut Files<'_>) {
        let Some(text) = files.read(path) else { return };
        self.is_there = true;
        for statement in statements(&text) {
            let depth = depth + statement.depth;
            let words = statement.words;
            match words.first().map(String::as_str) {
                Some("include") => {
                    for pattern in &words[1..] {
                        let pattern = Path::new("/etc/nginx").join(pattern);
                        for included in files.find(&pattern) {
                            self.file(&included, depth, files);
                        }
                    }
                }
                Some("log_format") if words.len() > 2 => {
                    let text = words[2..].iter().filter(|word| !word.starts_with("escape="));
                    self.formats.insert(words[1].clone(), text.map(String::as_str).collect());
                }
                Some("access_log") if words.len() > 1 => {
                    self.says_default |= depth <= 1;
                    self.logs.push((format!("{}:{}", path.display(), statement.line), words));
                }
                _ => {}
            }
        }
    }

    fn told(self, files: &Files<'_>) -> Told {
        let mut told = Told::default();
        for (by, words) in self.logs {
            let target = words[1].as_str();
            if target == "off" {
                continue;
            }
            let reason = if target.starts_with("syslog:") {
                Some("it is sent to syslog, which is no file")
            } else if target.starts_with("/dev/") {
                Some("it is no file that can be read again; give nginx a file")
            } else if target.contains('$') {
                Some("its name has variables: name what they become in [census] logs")
            } else if words.iter().any(|word| word == "gzip" || word.starts_with("gzip=")) {
                Some("it is packed while it is written; leave gzip away")
            } else {
                None
            };
            if let Some(reason) = reason {
                told.not_followed(target, &by, reason);
                continue;
            }
            // The second word is a format, unless it is a parameter.
            let name = words.get(2).map_or("combined", String::as_str);
            let name = if name.contains('=') { "combined" } else { name };
            let format = self.formats.get(name).cloned();
            if format.is_none() && name != "combined" {
                told.problem(
                    &by,
                    &format!("there is no log_format {name}; lines are read by what they look like"),
                );
            }
            told.logs.push(Log { path: placed(target, files), format, by });
        }
        if self.is_there && !self.says_default && files.is_there(Path::new(DEFAULT)) {
            told.logs.push(Log { path: DEFAULT.into(), format: None, by: "nginx's default".to_owned() });
        }
        told
    }
}

fn placed(target: &str, files: &Files<'_>) -> PathBuf {
    let candidates = PREFIXES.map(|prefix| Path::new(prefix).join(target));
    candidates.iter().find(|path| files.is_there(path)).unwrap_or(&candidates[0]).clone()
}

/// The statements of a text, in their order. What is no configuration gives whatever it gives.
fn statements(text: &str) -> Vec<Statement> {
    let mut found = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let (mut depth, mut line, mut began) = (0_usize, 1, 1);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\n' => line += 1,
            _ if letter.is_whitespace() => {}
            '#' => while letters.next_if(|letter| *letter != '\n').is_some() {},
            ';' | '{' => {
                if !words.is_empty() {
                    found.push(Statement { line: began, words: std::mem::take(&mut words), depth });
                }
                depth += usize::from(letter == '{');
            }
            '}' => {
                words.clear();
                depth = depth.saturating_sub(1);
            }
            _ => {
                if words.is_empty() {
                    began = line;
                }
                let mut word = String::new();
                if matches!(letter, '"' | '\'') {
                    while let Some(next) = letters.next() {
                        line += usize::from(next == '\n');
                        match next {
                            '\\' => match letters.next() {
                                // Only quotes and backslashes are escaped; of anything else the backslash stays.
                                Some(quoted @ ('"' | '\'' | '\\')) => word.push(quoted),
                                Some('t') => word.push('\t'),
                                Some('n') => word.push('\n'),
                                Some('r') => word.push('\r'),
                                Some(other) => word.extend(['\\', other]),
                                None => {}
                            },
                            _ if next == letter => break,
                            _ => word.push(next),
                        }
                    }
                } else {
                    word.push(letter);
                    // `${name}` is one word.
                    let mut braces = 0;
                    while let Some(next) = letters.next_if(|next| {
                        let is_variable = *next == '{' && word.ends_with('$') || *next == '}' && braces > 0;
                        is_variable || !next.is_whitespace() && !matches!(next, ';' | '{' | '}')
                    }) {
                        braces = if next == '{' {
                            1
                        } else if next == '}' {
                            0
                        } else {
                            braces
                        };
                        word.push(next);
                    }
                }
                words.push(word);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::found::tests::Root;
    use super::*;

    #[test]
    fn logs_are_found_where_servers_name_them_with_the_format_they_name() {
        let root = Root::new(&[
            (
                "etc/nginx/nginx.conf",
                "user www-data; # access_log /no.log;\nhttp {\n  log_format shop escape=default\n    '$remote_addr [$time_local] '\n\
                 \t\"\\\"$request\\\" $status\";\n  access_log /var/log/nginx/access.log;\n  include sites-enabled/*;\n}\n",
            ),
            (
                "etc/nginx/sites-enabled/shop",
                "server { listen 80;\n location / { access_log /srv/shop.log shop buffer=32k; }\n\
                 location /health { access_log off; }\n access_log syslog:server=unix:/dev/log;\n\
                 access_log /srv/$host.log; access_log /srv/plain.log buffer=4k; access_log logs/a.log gone; }\n",
            ),
        ]);
        let told = logs(&mut root.files());
        let logs: Vec<_> = told
            .logs
            .iter()
            .map(|log| (log.path.to_str().unwrap(), log.format.as_deref(), log.by.as_str()))
            .collect();
        let shop = "/etc/nginx/sites-enabled/shop";
        let wanted = [
            ("/var/log/nginx/access.log", None, "/etc/nginx/nginx.conf:6"),
            ("/srv/shop.log", Some("$remote_addr [$time_local] \"$request\" $status"), &format!("{shop}:2")),
            ("/srv/plain.log", None, &format!("{shop}:5")),
            ("/usr/share/nginx/logs/a.log", None, &format!("{shop}:5")),
        ];
        assert_eq!(logs, wanted);
        let told: Vec<String> = told.problems.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(
            told[0].contains("syslog") && told[1].contains("variables") && told[2].contains("gone"),
            "{told:?}"
        );
    }
}
