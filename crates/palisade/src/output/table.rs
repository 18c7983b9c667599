//! The answer for people: a line per entry, the first ones in full, what could not be judged, and how to go on.

use advisory::Kind;
use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, TableStyle, Width,
};
use exposure::report::{Change, Entry, Finding, Other, Remedy, Report, Seen};
use exposure::ssvc::Decision;
use exposure::verdict::{Fix, Verdict};
use std::fmt::Write;

/// How many entries are told in full unless all are asked for.
const FULL_ENTRIES: usize = 3;
/// How many CVEs, pieces of evidence or other updates are listed before "and N more".
const LIST_MAX: usize = 6;

/// Terminals with fewer columns get a table without installed versions.
const NARROW_COLUMNS: u16 = 130;
/// What a version may take of a line before it is cut in two.
const VERSION_COLUMNS: u16 = 24;

/// How to draw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Columns to fit in; `None` for as wide as it gets.
    pub(crate) width: Option<u16>,
    /// Whether to colour.
    pub(crate) colours: bool,
    /// Whether to list everything.
    pub(crate) all: bool,
}

/// The whole answer.
pub(crate) fn report(report: &Report, look: Look) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{} · {}{} · {} packages · {}\n",
        named(&report.host, "(no name)"),
        named(&report.system.pretty, "unknown system"),
        if report.root == "/" { String::new() } else { format!(" in {}", clean(&report.root)) },
        report.summary.packages,
        report.observed.strftime("%Y-%m-%d %H:%M UTC"),
    );
    headline(report, look, &mut out);
    if !report.entries.is_empty() {
        out.push('\n');
        out.push_str(&overview(report, look));
        out.push('\n');
        let full = if look.all { report.entries.len() } else { FULL_ENTRIES.min(report.entries.len()) };
        for (place, entry) in report.entries.iter().take(full).enumerate() {
            out.push('\n');
            block(place + 1, entry, look, &mut out);
        }
        if full < report.entries.len() {
            let _ = writeln!(
                out,
                "\n{} more in full with --all; one of them with --explain {}.",
                report.entries.len() - full,
                clean(&report.entries[full].source)
            );
        }
    }
    others(&report.other, look, &mut out);
    undetermined(report, look, &mut out);
    for note in &report.notes {
        out.push_str(&wrapped(&clean(note), "note: ", "      ", look));
    }
    out
}

fn headline(report: &Report, look: Look, out: &mut String) {
    let summary = &report.summary;
    if report.entries.is_empty() {
        if report.undetermined.is_empty() {
            let _ = writeln!(out, "Clean: no security fix is missing, and everything could be judged.");
        } else {
            let _ = writeln!(
                out,
                "Not known to be clean: nothing was found, but {} could not be judged (below).",
                count(report.undetermined.len(), "thing", "things")
            );
        }
        return;
    }
    let decisions: Vec<String> = [
        (summary.act, Decision::Act),
        (summary.attend, Decision::Attend),
        (summary.track_closely, Decision::TrackClosely),
        (summary.track, Decision::Track),
    ]
    .into_iter()
    .filter(|(many, _)| *many > 0)
    .map(|(many, decision)| format!("{many} {decision}"))
    .collect();
    let closed = match (summary.cves_closed, summary.unread) {
        (closed, 0) => count(closed, "CVE", "CVEs"),
        (closed, unread) => {
            format!("at least {} ({unread} could not be read)", count(closed, "CVE", "CVEs"))
        }
    };
    let open = match summary.cves_open {
        0 => "none known stays".to_owned(),
        1 => "1 stays".to_owned(),
        many => format!("{many} stay"),
    };
    let text = format!(
        "{} with something to do ({}); fixes at hand close {closed}; {open} open; {} listening, {} running.",
        count(report.entries.len(), "source package", "source packages"),
        decisions.join(", "),
        summary.listening,
        summary.running,
    );
    out.push_str(&wrapped(&text, "", "", look));
}

fn overview(report: &Report, look: Look) -> String {
    let mut table = Table::new();
    table.load_style(TableStyle::new()).set_content_arrangement(ContentArrangement::Dynamic);
    match look.width {
        Some(width) => table.set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    if look.colours {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let head = |text: &str| Cell::new(text).add_attribute(Attribute::Bold);
    // On a narrow terminal only the fixed version fits; the installed one stands in the entry in full.
    let narrow = look.width.is_some_and(|width| width < NARROW_COLUMNS);
    let versions_head = if narrow { "fixed" } else { "installed → fixed" };
    table.set_header(["#", "decision", "source", versions_head, "CVEs", "reach", "due"].map(head));
    for (place, entry) in report.entries.iter().enumerate() {
        let decision = Cell::new(entry.rank.decision);
        table.add_row([
            Cell::new(place + 1).set_alignment(CellAlignment::Right),
            match colour(entry.rank.decision) {
                Some(colour) => decision.fg(colour),
                None => decision,
            },
            Cell::new(clean(&entry.source)),
            Cell::new(if narrow { fixed(entry) } else { versions(entry) }),
            Cell::new(cve_count(entry)).set_alignment(CellAlignment::Right),
            Cell::new(if narrow { reach_word(entry).to_owned() } else { reachable(entry) }),
            Cell::new(entry.rank.due.map(|due| due.to_string()).unwrap_or_default()),
        ]);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        // Number, decision, count and date are never wrapped.
        if [0, 1, 4, 6].contains(&index) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        if index == 2 || index == 3 {
            let columns = if index == 2 { 14 } else { VERSION_COLUMNS };
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(columns)));
        }
    }
    table.trim_fmt()
}

fn colour(decision: Decision) -> Option<Color> {
    match decision {
        Decision::Act => Some(Color::Red),
        Decision::Attend => Some(Color::Yellow),
        Decision::TrackClosely => Some(Color::Cyan),
        Decision::Track => None,
    }
}

fn versions(entry: &Entry) -> String {
    let Some(change) = entry.changes.iter().find(|change| change.to.is_some()).or(entry.changes.first())
    else {
        return String::new();
    };
    format!("{} → {}", clean(&change.from), fixed(entry))
}

/// The version that fixes it, or what does instead.
fn fixed(entry: &Entry) -> String {
    match (entry.changes.iter().find_map(|change| change.to.as_ref()), &entry.remedy) {
        (Some(to), _) => clean(to),
        (None, Remedy::Restart { .. }) => "restart".to_owned(),
        (None, Remedy::Reboot { .. }) => "reboot".to_owned(),
        (None, Remedy::Blocked { .. }) => "blocked".to_owned(),
        (None, Remedy::Upgrade | Remedy::None { .. }) => "no fix".to_owned(),
    }
}

fn cve_count(entry: &Entry) -> String {
    match (entry.closes.len(), entry.stay_open.len()) {
        (0, 0) if entry.unread => "?".to_owned(),
        (0, 0) => "–".to_owned(),
        (closes, 0) if entry.unread => format!("{closes}+?"),
        (closes, 0) => closes.to_string(),
        (closes, open) => format!("{closes}+{open} open"),
    }
}

fn reachable(entry: &Entry) -> String {
    let more = entry.reach.evidence.len().saturating_sub(1);
    let more = if more == 0 { String::new() } else { format!(" +{more}") };
    match entry.reach.seen {
        Seen::Listening | Seen::ListeningLocally | Seen::Running => clean(entry.reach.because()) + &more,
        Seen::NotRunning => "not running".to_owned(),
        Seen::Unknown => "not known".to_owned(),
    }
}

/// The same in a word, for narrow terminals.
fn reach_word(entry: &Entry) -> &'static str {
    match entry.reach.seen {
        Seen::Listening => "listens",
        Seen::ListeningLocally => "local",
        Seen::Running => "runs",
        Seen::NotRunning => "idle",
        Seen::Unknown => "unknown",
    }
}

/// One entry in full.
fn block(place: usize, entry: &Entry, look: Look, out: &mut String) {
    let max = if look.all { usize::MAX } else { LIST_MAX };
    let class = entry.class.map(|class| format!(" ({class})")).unwrap_or_default();
    let kind = match entry.kind {
        Kind::Security => "",
        Kind::Regression => ", repairs an earlier update",
        Kind::PointRelease => ", point release",
        Kind::EndOfLife => ", end of life",
        Kind::Maintenance => ", maintenance",
    };
    let _ = writeln!(
        out,
        "{place:>3}. {}: {}  {}{class}{kind}",
        entry.rank.decision,
        clean(&entry.source),
        versions(entry)
    );
    let mut line = |label: &str, text: &str| {
        out.push_str(&wrapped(text, &format!("     {label:<10} "), &" ".repeat(16), look));
    };
    match (entry.closes.is_empty(), entry.unread) {
        (false, false) => line("closes", &list(&entry.closes, max)),
        (false, true) => line("closes", &format!("at least {}", list(&entry.closes, max))),
        (true, true) => line("closes", "not known: its changelog could not be read"),
        (true, false) if entry.remedy == Remedy::Upgrade => line("closes", "names no CVE"),
        (true, false) => {}
    }
    if !entry.stay_open.is_empty() {
        line("stay open", &list(&entry.stay_open, max));
    }
    if !entry.bulletins.is_empty() {
        line("bulletins", &list(&entry.bulletins, max));
    }
    for (index, evidence) in entry.reach.evidence.iter().take(max).enumerate() {
        line(if index == 0 { "reach" } else { "" }, &clean(evidence));
    }
    if entry.reach.evidence.len() > max {
        line("", &format!("and {} more", entry.reach.evidence.len() - max));
    }
    for (index, reason) in entry.rank.reasons.iter().enumerate() {
        line(if index == 0 { "why" } else { "" }, &clean(reason));
    }
    match &entry.remedy {
        Remedy::Upgrade => {}
        Remedy::Restart { by } => line("restart", &list(by, max)),
        Remedy::Reboot { by } => line("reboot", &list(by, max)),
        Remedy::Blocked { why } => line("blocked", &clean(why)),
        Remedy::None { why } => line("no fix", &clean(why)),
    }
    if let Some(command) = &entry.command {
        // Never wrapped: it is there to be copied.
        let _ = writeln!(out, "     {:<10} {}", "fix", clean(command));
    }
}

fn others(others: &[Other], look: Look, out: &mut String) {
    if others.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "\n{} that nothing calls a security fix:",
        count(others.len(), "other update", "other updates")
    );
    if look.all {
        for other in others {
            let _ = writeln!(
                out,
                "     {} ({}, {}): {}",
                clean(&other.source),
                other.class,
                clean(&other.note),
                moves(&other.changes)
            );
        }
    } else {
        let names: Vec<String> = others.iter().map(|other| other.source.clone()).collect();
        let _ = writeln!(out, "     {}", list(&names, LIST_MAX * 2));
    }
}

fn moves(changes: &[Change]) -> String {
    let all: Vec<String> = changes
        .iter()
        .map(|change| match &change.to {
            Some(to) => format!("{} {} → {}", clean(&change.name), clean(&change.from), clean(to)),
            None => format!("{} {}", clean(&change.name), clean(&change.from)),
        })
        .collect();
    all.join(", ")
}

fn undetermined(report: &Report, look: Look, out: &mut String) {
    if report.undetermined.is_empty() {
        out.push('\n');
        return;
    }
    let max = if look.all { usize::MAX } else { LIST_MAX * 2 };
    let title = format!("{} could not be judged:", count(report.undetermined.len(), "thing", "things"));
    let _ = writeln!(out, "\n{}", paint(&title, look));
    for unjudged in report.undetermined.iter().take(max) {
        out.push_str(&wrapped(&clean(&unjudged.to_string()), "   ? ", "     ", look));
    }
    if report.undetermined.len() > max {
        let _ = writeln!(out, "   ? and {} more; --all lists them", report.undetermined.len() - max);
    }
    out.push('\n');
}

fn paint(text: &str, look: Look) -> String {
    if look.colours { format!("\x1b[33m{text}\x1b[0m") } else { text.to_owned() }
}

/// Everything known about one id: each verdict and how it was reached.
pub(crate) fn explained(id: &str, findings: &[Finding], entries: &[&Entry], look: Look) -> String {
    let mut out = String::new();
    for entry in entries {
        block(1, entry, Look { all: true, ..look }, &mut out);
        out.push('\n');
    }
    for finding in findings {
        let explanation = &finding.explanation;
        let _ = writeln!(
            out,
            "{} on {}: {}",
            clean(&finding.advisory),
            clean(&explanation.package),
            verdict(&finding.verdict)
        );
        let mut line = |label: &str, text: &str| {
            if !text.is_empty() {
                let _ = writeln!(out, "     {label:<10} {}", clean(text));
            }
        };
        line("CVEs", &finding.cves.join(" "));
        line("rule", &explanation.rule);
        line("installed", &explanation.installed);
        line("claimed", &explanation.claimed);
        line("order", &explanation.order.map(|order| order.to_string()).unwrap_or_default());
        line("document", &explanation.document);
        line("sha256", &explanation.sha256);
        line("freshness", &explanation.freshness);
    }
    if findings.is_empty() && entries.is_empty() {
        let _ = writeln!(
            out,
            "{}: no advisory that was read speaks about it on this host. That is no verdict: it may not be named in the feeds given (--feed), or its package may not be installed.",
            clean(id)
        );
    }
    out
}

fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Affected { fix: Fix::Fetchable { version } } => {
            format!("affected; fix {} can be installed", clean(version))
        }
        Verdict::Affected { fix: Fix::Announced { version, why } } => {
            format!("affected; fix {} is announced but cannot be installed: {}", clean(version), clean(why))
        }
        Verdict::Affected { fix: Fix::None { why } } => format!("affected; no fix: {}", clean(why)),
        Verdict::FixedStillRunning { by } => format!("fixed but still running: {}", list(by, usize::MAX)),
        Verdict::Fixed => "fixed".to_owned(),
        Verdict::NotAffected { why } => format!("not affected: {}", clean(why)),
        Verdict::Undetermined { why } => format!("undetermined: {}", clean(&why.to_string())),
    }
}

fn list(items: &[String], max: usize) -> String {
    let mut text = items.iter().take(max).map(|item| clean(item)).collect::<Vec<_>>().join(", ");
    if items.len() > max {
        let _ = write!(text, " and {} more", items.len() - max);
    }
    text
}

/// Prose broken at blanks to fit the terminal, with a line break at its end.
pub(crate) fn wrapped(text: &str, first: &str, next: &str, look: Look) -> String {
    let width = look.width.map_or(usize::MAX, usize::from).max(next.len() + 20);
    let options = textwrap::Options::new(width)
        .initial_indent(first)
        .subsequent_indent(next)
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .word_separator(textwrap::WordSeparator::AsciiSpace);
    textwrap::fill(text, options) + "\n"
}

fn count(many: usize, one: &str, more: &str) -> String {
    if many == 1 { format!("1 {one}") } else { format!("{many} {more}") }
}

fn named(text: &str, otherwise: &str) -> String {
    if text.is_empty() { otherwise.to_owned() } else { clean(text) }
}

/// Text from package databases and feeds, without control characters: it must not steer the reader's terminal.
pub(crate) fn clean(text: &str) -> String {
    let steers = |letter: char| {
        letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|letter| if steers(letter) { '\u{fffd}' } else { letter }).collect()
}
