//! Ranking: from evidence to one of four decisions, with the reason for each step.
//!
//! The decision table is the deployer table of CERT/CC's SSVC ("Deployer Patch Application Priority" 1.0.0). Its four
//! outcomes carry the names that CISA made known: immediate is *act*, out-of-cycle is *attend*, scheduled is *track
//! closely*, defer is *track*. What is not known is taken for the worse, and the reason says so.

use advisory::signal::{Exploitation, Signals, cvss};
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use serde::{Deserialize, Serialize};
use std::fmt;

/// From this EPSS probability on, exploitation is taken for likely: ranked like a public proof of concept, never like
/// active exploitation, because EPSS forecasts and does not observe.
pub const EPSS_LIKELY_MIN: f64 = 0.1;

/// How urgent an entry is; later is more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// Fix with the next regular maintenance.
    Track,
    /// Fix with the next regular maintenance, and watch for changes.
    TrackClosely,
    /// Fix sooner than regular maintenance.
    Attend,
    /// Fix now.
    Act,
}

impl fmt::Display for Decision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Track => "track",
            Self::TrackClosely => "track*",
            Self::Attend => "attend",
            Self::Act => "act",
        })
    }
}

/// SSVC "System Exposure": how reachable the vulnerable code is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exposure {
    /// Installed, not running.
    Small,
    /// Running, or listening for this host only.
    Controlled,
    /// Reachable from the network.
    Open,
}

impl fmt::Display for Exposure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Small => "small",
            Self::Controlled => "controlled",
            Self::Open => "open",
        })
    }
}

/// SSVC "Human Impact", given as the host's mission label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mission {
    /// Nobody would notice.
    Low,
    /// Work would be disturbed; what a host without a label counts as.
    #[default]
    Medium,
    /// A mission-essential function would suffer.
    High,
    /// The mission would fail, or people would be hurt.
    VeryHigh,
}

impl fmt::Display for Mission {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::VeryHigh => "very high",
        })
    }
}

/// The four decision points of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Points {
    /// Evidence of exploitation, the strongest among the entry's CVEs.
    pub exploitation: Exploitation,
    /// How reachable it is here.
    pub exposure: Exposure,
    /// Whether an attack can be automated.
    pub automatable: bool,
    /// What the host is for.
    pub mission: Mission,
}

/// Days that each decision allows from publication to fix. A policy, not a fact: SSVC names no days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Deadlines {
    /// For [`Decision::Act`].
    pub act_days: i64,
    /// For [`Decision::Attend`].
    pub attend_days: i64,
    /// For [`Decision::TrackClosely`].
    pub track_closely_days: i64,
    /// For [`Decision::Track`].
    pub track_days: i64,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { act_days: 2, attend_days: 7, track_closely_days: 30, track_days: 90 }
    }
}

/// Where an entry stands in the queue, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rank {
    /// What to do.
    pub decision: Decision,
    /// By when: the earliest KEV due date, or publication plus the policy's days.
    pub due: Option<Date>,
    /// The decision points it was read from.
    pub points: Points,
    /// Whether exploitation was told by a signal, not taken for the worse.
    pub exploitation_known: bool,
    /// One reason per decision point and one for the due date.
    pub reasons: Vec<String>,
}

/// The deployer table, row by row: exploitation, exposure, automatable, then low, medium, high, very high impact.
#[expect(clippy::match_same_arms, reason = "rows stand as in the published table")]
pub fn decide(points: Points) -> Decision {
    use Decision::{Act, Attend, Track, TrackClosely};
    use Exploitation::{Active, None, PublicPoc};
    use Exposure::{Controlled, Open, Small};
    let row = match (points.exploitation, points.exposure, points.automatable) {
        (None, Small, false) => [Track, Track, TrackClosely, TrackClosely],
        (None, Small, true) => [Track, TrackClosely, TrackClosely, TrackClosely],
        (None, Controlled, false) => [Track, TrackClosely, TrackClosely, TrackClosely],
        (None, Controlled, true) => [TrackClosely, TrackClosely, TrackClosely, TrackClosely],
        (None, Open, false) => [Track, TrackClosely, TrackClosely, TrackClosely],
        (None, Open, true) => [TrackClosely, TrackClosely, TrackClosely, Attend],
        (PublicPoc, Small, false) => [Track, TrackClosely, TrackClosely, TrackClosely],
        (PublicPoc, Small, true) => [TrackClosely, TrackClosely, TrackClosely, TrackClosely],
        (PublicPoc, Controlled, false) => [Track, TrackClosely, TrackClosely, TrackClosely],
        (PublicPoc, Controlled, true) => [TrackClosely, TrackClosely, TrackClosely, Attend],
        (PublicPoc, Open, false) => [TrackClosely, TrackClosely, TrackClosely, Attend],
        (PublicPoc, Open, true) => [TrackClosely, TrackClosely, Attend, Attend],
        (Active, Small, false) => [TrackClosely, TrackClosely, Attend, Attend],
        (Active, Small, true) => [TrackClosely, Attend, Attend, Attend],
        (Active, Controlled, false) => [TrackClosely, TrackClosely, Attend, Attend],
        (Active, Controlled, true) => [Attend, Attend, Attend, Attend],
        (Active, Open, false) => [TrackClosely, Attend, Attend, Act],
        (Active, Open, true) => [Attend, Attend, Act, Act],
    };
    match points.mission {
        Mission::Low => row[0],
        Mission::Medium => row[1],
        Mission::High => row[2],
        Mission::VeryHigh => row[3],
    }
}

/// What an entry is about, as far as ranking asks.
#[derive(Clone, Copy, Debug)]
pub struct Hole<'a> {
    /// CVEs it closes or leaves open.
    pub cves: &'a [String],
    /// What it closes could not be read, or not all of it.
    pub unread: bool,
    /// When it was first published.
    pub published: Option<Timestamp>,
}

/// Ranks one entry, reachable as `exposure` because of `exposed_by`.
pub fn rank(
    hole: Hole<'_>,
    exposure: Exposure,
    exposed_by: &str,
    mission: Mission,
    signals: &Signals,
    deadlines: Deadlines,
) -> Rank {
    let Hole { cves, published, .. } = hole;
    let (exploitation, known, exploited_because) = exploitation(hole, signals);
    let (automatable, automatable_because) = automatable_of(cves, signals);
    let points = Points { exploitation, exposure, automatable, mission };
    let decision = decide(points);
    let (due, due_because) = due(cves, decision, published, signals, deadlines);
    Rank {
        decision,
        due,
        points,
        exploitation_known: known,
        reasons: vec![
            exploited_because,
            format!("exposure {exposure}: {exposed_by}"),
            automatable_because,
            format!("mission impact {mission}"),
            due_because,
        ],
    }
}

/// How much it is exploited, whether that is known, and why.
fn exploitation(hole: Hole<'_>, signals: &Signals) -> (Exploitation, bool, String) {
    let cves = hole.cves;
    if let Some((cve, entry)) = cves.iter().find_map(|cve| signals.kev.get(cve).map(|entry| (cve, entry))) {
        let ransomware = if entry.ransomware { ", used by ransomware" } else { "" };
        let because = format!("exploitation active: {cve} in KEV since {}{ransomware}", entry.added);
        return (Exploitation::Active, true, because);
    }
    let said = cves
        .iter()
        .filter_map(|cve| Some((signals.ssvc.get(cve)?.exploitation?, cve)))
        .max_by_key(|(exploitation, _)| *exploitation);
    if let Some((Exploitation::Active, cve)) = said {
        return (Exploitation::Active, true, format!("exploitation active: SSVC decision points of {cve}"));
    }
    let score = cves
        .iter()
        .filter_map(|cve| Some((signals.epss.get(cve)?.probability, cve)))
        .max_by(|left, right| left.0.total_cmp(&right.0));
    if let Some((probability, cve)) = score
        && probability >= EPSS_LIKELY_MIN
    {
        let percent = probability * 100.0;
        let because = format!(
            "exploitation likely: EPSS of {cve} is {percent:.0} %, taken like a public proof of concept"
        );
        return (Exploitation::PublicPoc, true, because);
    }
    if let Some((Exploitation::PublicPoc, cve)) = said {
        let because = format!("public proof of concept: SSVC decision points of {cve}");
        return (Exploitation::PublicPoc, true, because);
    }
    let worse = |why: &str| {
        let because = format!("exploitation not known: {why}; taken like a public proof of concept");
        (Exploitation::PublicPoc, false, because)
    };
    if hole.unread {
        return worse("what it closes could not be read");
    }
    if cves.is_empty() {
        return (Exploitation::None, false, "no exploitation known: it names no CVE".to_owned());
    }
    match (signals.kev_released, signals.epss_date) {
        (Some(_), Some(date)) => {
            let because = format!("no exploitation known: not in KEV, EPSS of {date} below 10 %");
            (Exploitation::None, true, because)
        }
        (Some(_) | None, None) | (None, Some(_)) => worse("KEV and EPSS were not both given"),
    }
}

fn automatable_of(cves: &[String], signals: &Signals) -> (bool, String) {
    let said = |cve: &String| {
        signals.ssvc.get(cve).and_then(|points| points.automatable).or_else(|| {
            let judged: Vec<bool> = signals
                .cvss
                .get(cve)?
                .iter()
                .filter_map(|vector| Some(cvss(vector).ok()?.automatable))
                .collect();
            (!judged.is_empty()).then(|| judged.contains(&true))
        })
    };
    let judged: Vec<(&String, Option<bool>)> = cves.iter().map(|cve| (cve, said(cve))).collect();
    if let Some((cve, _)) = judged.iter().find(|(_, said)| *said == Some(true)) {
        return (true, format!("automatable: by the CVSS vector or SSVC points of {cve}"));
    }
    match judged.iter().find(|(_, said)| said.is_none()) {
        Some((cve, _)) => (true, format!("automatable not known: no CVSS vector for {cve}; taken for yes")),
        None if cves.is_empty() => (true, "automatable not known: no CVE is named; taken for yes".to_owned()),
        None => (false, "not automatable: every CVE needs access, privileges or a user's help".to_owned()),
    }
}

fn due(
    cves: &[String],
    decision: Decision,
    published: Option<Timestamp>,
    signals: &Signals,
    deadlines: Deadlines,
) -> (Option<Date>, String) {
    let kev = cves.iter().filter_map(|cve| Some((signals.kev.get(cve)?.due, cve))).min();
    let days = match decision {
        Decision::Act => deadlines.act_days,
        Decision::Attend => deadlines.attend_days,
        Decision::TrackClosely => deadlines.track_closely_days,
        Decision::Track => deadlines.track_days,
    };
    let policy = published
        .and_then(|published| TimeZone::UTC.to_datetime(published).date().checked_add(days.days()).ok());
    match (kev, policy) {
        (Some((due, cve)), policy) if policy.is_none_or(|policy| due <= policy) => {
            (Some(due), format!("due {due}: KEV's date for {cve}"))
        }
        (_, Some(due)) => (Some(due), format!("due {due}: {days} days after publication, for {decision}")),
        (_, None) => (None, "no due date: publication date not known".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use advisory::signal::{EpssScore, KevEntry};
    use jiff::civil::date;

    fn rank_of(cves: &[&str], exposure: Exposure, mission: Mission, signals: &Signals) -> Rank {
        let cves: Vec<String> = cves.iter().map(|&cve| cve.to_owned()).collect();
        let published: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
        let hole = Hole { cves: &cves, unread: false, published: Some(published) };
        rank(hole, exposure, "test", mission, signals, Deadlines::default())
    }

    fn kev(due: Date) -> KevEntry {
        KevEntry { added: date(2026, 10, 1), due, ransomware: false, product: "x".to_owned() }
    }

    #[test]
    fn no_decision_gets_milder_when_any_point_gets_worse() {
        let exploitations = [Exploitation::None, Exploitation::PublicPoc, Exploitation::Active];
        let exposures = [Exposure::Small, Exposure::Controlled, Exposure::Open];
        let missions = [Mission::Low, Mission::Medium, Mission::High, Mission::VeryHigh];
        for (e, &exploitation) in exploitations.iter().enumerate() {
            for (x, &exposure) in exposures.iter().enumerate() {
                for automatable in [false, true] {
                    for (m, &mission) in missions.iter().enumerate() {
                        let here = Points { exploitation, exposure, automatable, mission };
                        let worse = [
                            exploitations.get(e + 1).map(|&exploitation| Points { exploitation, ..here }),
                            exposures.get(x + 1).map(|&exposure| Points { exposure, ..here }),
                            (!automatable).then_some(Points { automatable: true, ..here }),
                            missions.get(m + 1).map(|&mission| Points { mission, ..here }),
                        ];
                        for worse in worse.into_iter().flatten() {
                            assert!(decide(worse) >= decide(here), "{worse:?} ranks below {here:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_corners_of_the_deployer_table_hold() {
        let corner = |exploitation, exposure, automatable, mission| {
            decide(Points { exploitation, exposure, automatable, mission })
        };
        assert_eq!(corner(Exploitation::None, Exposure::Small, false, Mission::Low), Decision::Track);
        assert_eq!(corner(Exploitation::None, Exposure::Open, true, Mission::VeryHigh), Decision::Attend);
        assert_eq!(
            corner(Exploitation::PublicPoc, Exposure::Controlled, true, Mission::VeryHigh),
            Decision::Attend
        );
        assert_eq!(corner(Exploitation::Active, Exposure::Small, true, Mission::Medium), Decision::Attend);
        assert_eq!(corner(Exploitation::Active, Exposure::Open, false, Mission::VeryHigh), Decision::Act);
        assert_eq!(corner(Exploitation::Active, Exposure::Open, true, Mission::High), Decision::Act);
    }

    #[test]
    fn an_epss_score_is_never_active_exploitation() {
        let mut signals = Signals { epss_date: Some(date(2026, 11, 1)), ..Signals::default() };
        signals.epss.insert("CVE-2026-1".to_owned(), EpssScore { probability: 0.97, percentile: 0.999 });
        let rank = rank_of(&["CVE-2026-1"], Exposure::Open, Mission::High, &signals);
        assert_eq!(rank.points.exploitation, Exploitation::PublicPoc);
    }

    #[test]
    fn without_signal_feeds_silence_is_not_taken_for_safety() {
        let rank = rank_of(&["CVE-2026-1"], Exposure::Open, Mission::High, &Signals::default());
        assert_eq!(rank.points.exploitation, Exploitation::PublicPoc);
        assert!(rank.points.automatable);
        assert!(rank.reasons[0].contains("not known"), "{:?}", rank.reasons);
    }

    #[test]
    fn the_earlier_of_kev_date_and_policy_is_due() {
        let mut signals = Signals::default();
        signals.kev.insert("CVE-2026-1".to_owned(), kev(date(2026, 11, 3)));
        let rank = rank_of(&["CVE-2026-1"], Exposure::Small, Mission::Low, &signals);
        assert_eq!(rank.due, Some(date(2026, 11, 3)));
        signals.kev.insert("CVE-2026-1".to_owned(), kev(date(2027, 3, 1)));
        let rank = rank_of(&["CVE-2026-1"], Exposure::Open, Mission::VeryHigh, &signals);
        assert_eq!((rank.decision, rank.due), (Decision::Act, Some(date(2026, 11, 3))));
    }
}
