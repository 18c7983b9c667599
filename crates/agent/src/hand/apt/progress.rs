//! How far apt says that it is: lines of its status descriptor, among everything else that it says.

/// One line of apt's status descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// `pmstatus:PACKAGE:PERCENT:TEXT`, and `dlstatus` with a number for the package.
    At { percent: u8, text: String },
    /// `pmerror:PACKAGE:PERCENT:TEXT`
    Failed { package: String, text: String },
}

impl Progress {
    /// Reads one line; `None` for one that is none of these.
    pub(super) fn read(line: &str) -> Option<Self> {
        let (kind, rest) = line.split_once(':')?;
        // A package of another architecture has a colon of its own (`libc6:i386`): the percent tells where it ends.
        let mut package_end = None;
        let mut from = 0;
        while let Some(colon) = rest[from..].find(':') {
            let end = from + colon;
            let after = &rest[end + 1..];
            let percent = after.split(':').next().and_then(|number| number.parse::<f32>().ok());
            if let Some(percent) = percent.filter(|percent| (0.0..=100.0).contains(percent)) {
                package_end = Some((end, percent));
                break;
            }
            from = end + 1;
        }
        let (end, percent) = package_end?;
        let text = rest[end + 1..].split_once(':')?.1.trim().to_owned();
        match kind {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 100")]
            "pmstatus" | "dlstatus" => Some(Self::At { percent: percent as u8, text }),
            "pmerror" => Some(Self::Failed { package: rest[..end].to_owned(), text }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_and_errors_are_told_from_everything_else_that_apt_says() {
        let at = |percent, text: &str| Some(Progress::At { percent, text: text.into() });
        assert_eq!(
            Progress::read("dlstatus:1:20.0000:Retrieving file 1 of 2"),
            at(20, "Retrieving file 1 of 2")
        );
        assert_eq!(
            Progress::read("pmstatus:libssl3:amd64:45.4545:Unpacking libssl3:amd64 (amd64)"),
            at(45, "Unpacking libssl3:amd64 (amd64)")
        );
        assert_eq!(
            Progress::read("pmerror:bed-lamp:60.0:installed bed-lamp package post-installation script subprocess returned error exit status 1"),
            Some(Progress::Failed {
                package: "bed-lamp".into(),
                text: "installed bed-lamp package post-installation script subprocess returned error exit status 1".into()
            })
        );
        for other in
            ["Setting up libssl3:amd64 (3.0.20) ...", "pmconffile:/etc/x:1.0:'a' 'b'", "pmstatus:x", ""]
        {
            assert_eq!(Progress::read(other), None, "{other}");
        }
    }
}
