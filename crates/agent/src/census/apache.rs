//! What Apache is told to log, and where. Takes texts of its configuration; gives logs.

use super::found::{Files, Log, Told};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where its configuration begins and its variables are, and what names are relative to.
const BEGINS: [(&str, &str, &str); 2] = [
    ("/etc/apache2/apache2.conf", "/etc/apache2/envvars", "/etc/apache2"),
    ("/etc/httpd/conf/httpd.conf", "/etc/sysconfig/httpd", "/etc/httpd"),
];
/// Where logs are on Debian if the variable is not set where we can see it.
const LOG_DIRECTORY: &str = "/var/log/apache2";
/// Formats that lines tell by themselves.
const KNOWN: [&str; 4] = ["combined", "common", "vhost_combined", "combinedio"];

/// Everything that it logs.
pub(super) fn logs(files: &mut Files<'_>) -> Told {
    let mut told = Told::default();
    for (begins, variables, root) in BEGINS {
        if !files.is_there(Path::new(begins)) {
            continue;
        }
        let mut reading = Reading { root: root.into(), ..Reading::default() };
        reading.variables.insert("APACHE_LOG_DIR".to_owned(), LOG_DIRECTORY.to_owned());
        if files.is_there(Path::new(variables))
            && let Some(text) = files.read(Path::new(variables))
        {
            reading.variables.extend(exported(&text));
        }
        reading.file(Path::new(begins), files);
        reading.tell(&mut told);
    }
    told
}

/// `export NAME=value` of a shell's file; what the shell would put in is left out, as it is empty unless somebody has several.
fn exported(text: &str) -> BTreeMap<String, String> {
    let pair = |line: &str| {
        let (name, value) = line.trim().strip_prefix("export ")?.split_once('=')?;
        let value = value.trim_matches(['"', '\'']);
        Some((name.to_owned(), value.split('$').next().unwrap_or_default().to_owned()))
    };
    text.lines().filter_map(pair).collect()
}

#[derive(Default)]
struct Reading {
    root: PathBuf,
    variables: BTreeMap<String, String>,
    formats: BTreeMap<String, String>,
    /// The format without a name, for `TransferLog`.
    unnamed: Option<String>,
    /// Where it stands, the file, and the format or its name.
    logs: Vec<(String, String, Option<String>)>,
}

impl Reading {
    fn file(&mut self, path: &Path, files: &mut Files<'_>) {
        let Some(text) = files.read(path) else { return };
        let mut whole = String::new();
        let mut began = 1;
        for (number, line) in text.lines().enumerate() {
            if whole.is_empty() {
                began = number + 1;
            }
            if let Some(line) = line.strip_suffix('\\') {
                whole.push_str(line);
                continue;
            }
            whole.push_str(line);
            let words = words(&self.filled(&std::mem::take(&mut whole)));
            self.directive(&words, path, began, files);
        }
    }

    fn directive(&mut self, words: &[String], path: &Path, line: usize, files: &mut Files<'_>) {
        let by = || format!("{}:{line}", path.display());
        let Some(name) = words.first().map(|name| name.to_ascii_lowercase()) else { return };
        match (name.as_str(), &words[1..]) {
            ("include" | "includeoptional", [pattern, ..]) => {
                let pattern = self.root.join(pattern);
                // A directory stands for everything in it.
                let pattern = if files.is_directory(&pattern) { pattern.join("*") } else { pattern };
                for included in files.find(&pattern) {
                    self.file(&included, files);
                }
            }
            ("serverroot", [root, ..]) => self.root = root.into(),
            ("define", [name, value, ..]) => {
                self.variables.insert(name.clone(), value.clone());
            }
            ("logformat", [format]) => self.unnamed = Some(format.clone()),
            ("logformat", [format, name, ..]) => {
                self.formats.insert(name.clone(), format.clone());
            }
            ("customlog", [target, format, ..]) => {
                self.logs.push((by(), target.clone(), Some(format.clone())));
            }
            ("transferlog", [target, ..]) => self.logs.push((by(), target.clone(), None)),
            _ => {}
        }
    }

    /// With variables put in; those that are not known stay.
    fn filled(&self, line: &str) -> String {
        let mut filled = String::new();
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("${") {
            filled.push_str(before);
            let value =
                after.split_once('}').and_then(|(name, after)| Some((self.variables.get(name)?, after)));
            if let Some((value, after)) = value {
                filled.push_str(value);
                rest = after;
            } else {
                filled.push_str("${");
                rest = after;
            }
        }
        filled + rest
    }

    fn tell(self, told: &mut Told) {
        for (by, target, format) in self.logs {
            let reason = if target.starts_with('|') {
                Some("it is given to a program; name the files that this writes in [census] logs")
            } else if target.starts_with("syslog") {
                Some("it is sent to syslog, which is no file")
            } else if target.starts_with("/dev/") {
                Some("it is no file that can be read again; give Apache a file")
            } else if target.contains("${") {
                Some("its name has variables that are not known here: name the log in [census] logs")
            } else {
                None
            };
            if let Some(reason) = reason {
                told.not_followed(&target, &by, reason);
                continue;
            }
            let format = match &format {
                None => self.unnamed.clone(),
                Some(name) if KNOWN.contains(&name.as_str()) => None,
                // A name, or the format itself.
                Some(name) => Some(self.formats.get(name).unwrap_or(name).clone()),
            };
            told.logs.push(Log { path: self.root.join(target), format, by });
        }
    }
}

/// The words of a line: quoted ones without quotes, `\"` for a quote; nothing of a comment.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut letters = line.trim().chars().peekable();
    if letters.peek() == Some(&'#') {
        return words;
    }
    while let Some(letter) = letters.next() {
        if letter.is_whitespace() {
            continue;
        }
        let mut word = String::new();
        if matches!(letter, '"' | '\'') {
            while let Some(next) = letters.next() {
                match next {
                    '\\' if letters.peek().is_some_and(|next| *next == letter || *next == '\\') => {
                        word.extend(letters.next());
                    }
                    _ if next == letter => break,
                    _ => word.push(next),
                }
            }
        } else {
            word.push(letter);
            while let Some(next) = letters.next_if(|next| !next.is_whitespace()) {
                word.push(next);
            }
        }
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::super::found::tests::Root;
    use super::*;

    #[test]
    fn logs_are_found_through_variables_includes_and_virtual_hosts() {
        let root = Root::new(&[
            (
                "etc/apache2/apache2.conf",
                "# CustomLog /no.log combined\nLogFormat \"%h %l %u %t \\\"%r\\\" %>s %O\" shop\n\
                 IncludeOptional sites-enabled/*.conf\nDefine WHERE /srv\nCustomLog \\\n ${WHERE}/late.log \"%h %t %r\"\n",
            ),
            ("etc/apache2/envvars", "export APACHE_LOG_DIR=/var/log/apache2$SUFFIX\n"),
            (
                "etc/apache2/sites-enabled/000.conf",
                "<VirtualHost *:80>\n  CustomLog ${APACHE_LOG_DIR}/access.log combined\n\
                 customlog /srv/shop.log shop env=!quiet\n  CustomLog \"|/usr/bin/rotatelogs /srv/x 3600\" common\n\
                 CustomLog ${NOWHERE}/y.log common\n</VirtualHost>\n",
            ),
        ]);
        let told = logs(&mut root.files());
        let logs: Vec<_> =
            told.logs.iter().map(|log| (log.path.to_str().unwrap(), log.format.as_deref())).collect();
        let wanted = [
            ("/var/log/apache2/access.log", None),
            ("/srv/shop.log", Some("%h %l %u %t \"%r\" %>s %O")),
            ("/srv/late.log", Some("%h %t %r")),
        ];
        assert_eq!(logs, wanted);
        assert_eq!(told.logs[2].by, "/etc/apache2/apache2.conf:5");
        let told: Vec<String> = told.problems.iter().map(ToString::to_string).collect();
        assert!(told.len() == 2 && told[0].contains("program") && told[1].contains("variables"), "{told:?}");
    }
}
