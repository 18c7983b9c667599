//! Watching on a terminal: bars, the gate's numbers, waits, hosts under change, and what changed last.

use super::bars::{LEGEND, bar};
use super::follow::News;
use super::scene::{Scene, books};
use super::{End, Session};
use crate::answers::{Number, Rollout, Wave};
use crate::command::rollout::ordered;
use crate::output::lines::span;
use crate::output::rollout::{clock, failures, headline, numbers_first};
use crate::output::table::clean;
use agent::program::is_stopped;
use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use ratatui::{Frame, Terminal};
use std::io::stdout;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a key is waited for before the screen is looked at again.
const KEY_WITHIN: Duration = Duration::from_millis(100);
/// The screen is drawn at least so often: times on it go on.
const DRAW_EVERY: Duration = Duration::from_secs(1);
/// Cells of a bar: longer ones say no more.
const BAR_MAX: usize = 40;
/// Reasons of failed hosts that are shown.
const FAILURES_MAX: usize = 4;
/// Reason of what is ordered with one key.
const BY_KEY: &str = "ordered while watching";

/// What the person is asked at the foot of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// Whether to pause.
    Pause,
    /// Whether to halt.
    Halt,
}

/// The terminal as it is while we draw; given back when this is dropped, also by a panic.
struct Screen;

impl Screen {
    fn open() -> Result<Self> {
        enable_raw_mode().context("draw on the terminal")?;
        execute!(stdout(), EnterAlternateScreen).context("draw on the terminal")?;
        Ok(Self)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The cursor is hidden by drawing.
        let _ = execute!(stdout(), LeaveAlternateScreen, ratatui::crossterm::cursor::Show);
        let _ = disable_raw_mode();
    }
}

pub(super) fn run(
    mut scene: Scene,
    news: &Receiver<News>,
    session: &Session,
    sender: &SyncSender<News>,
    colours: bool,
) -> Result<(End, Rollout)> {
    let _screen = Screen::open()?;
    let mut terminal = Terminal::new(CrosstermBackend::new(stdout())).context("draw on the terminal")?;
    let mut question = None;
    let mut drawn: Option<Instant> = None;
    loop {
        let mut stale = drawn.is_none_or(|at| at.elapsed() >= DRAW_EVERY);
        loop {
            let now = Timestamp::now();
            match news.try_recv() {
                Ok(News::Seen(rollout, jobs)) => _ = scene.seen(*rollout, jobs, now),
                Ok(News::Silent(why)) => _ = scene.silent(&why, now),
                Ok(News::Refused(problem)) => return Err(problem),
                Ok(News::Ordered(Ok(done))) => scene.note(&[format!("you {done} it")], now),
                Ok(News::Ordered(Err(problem))) => scene.note(&[problem], now),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => bail!("watch: nobody follows the rollout any more"),
            }
            stale = true;
        }
        if scene.is_told(Timestamp::now()) {
            return Ok((End::Over, scene.rollout));
        }
        if is_stopped() {
            return Ok((End::Interrupted, scene.rollout));
        }
        if stale {
            terminal
                .draw(|frame| draw(frame, &scene, question, Timestamp::now(), colours))
                .context("draw on the terminal")?;
            drawn = Some(Instant::now());
        }
        if !event::poll(KEY_WITHIN).context("read a key")? {
            continue;
        }
        // A key, or another size: both are shown at once.
        drawn = None;
        let Event::Key(key) = event::read().context("read a key")? else { continue };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        question = match (key.code, question) {
            (KeyCode::Char('c'), _) if control => return Ok((End::Interrupted, scene.rollout)),
            (KeyCode::Char('y' | 'Y'), Some(asked)) => {
                order(asked, session, &scene, sender);
                None
            }
            (KeyCode::Char('q' | 'Q') | KeyCode::Esc, None) => return Ok((End::Left, scene.rollout)),
            (KeyCode::Char('p' | 'P'), None) => Some(Question::Pause),
            (KeyCode::Char('h' | 'H'), None) => Some(Question::Halt),
            // Any other key is a no.
            (_, Some(_) | None) => None,
        };
    }
}

/// Orders what was confirmed, without keeping the screen waiting for the server.
fn order(question: Question, session: &Session, scene: &Scene, sender: &SyncSender<News>) {
    let (what, done) = match question {
        Question::Pause => ("pause", "paused"),
        Question::Halt => ("halt", "halted"),
    };
    let session = Session { client: session.client.clone(), json: false };
    let (plan, sender) = (scene.rollout.plan, sender.clone());
    thread::spawn(move || {
        let told =
            ordered(&session, what, plan, BY_KEY).map(|_| done).map_err(|problem| format!("{problem:#}"));
        // Nobody may be watching any more.
        let _ = sender.send(News::Ordered(told));
    });
}

/// Draws everything.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    scene: &Scene,
    question: Option<Question>,
    now: Timestamp,
    colours: bool,
) {
    let rollout = &scene.rollout;
    let area = frame.area();
    let gate = rollout.waves.iter().find(|wave| !wave.gate.is_empty());
    let gate_rows = gate.map_or(1, |wave| rows(wave.gate.len()));
    let host_rows = rows(scene.jobs.len().min(8));
    let failures = failure_lines(rollout);
    let [head, waves, waits, why, middle, events, foot] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(rows(rollout.waves.len()).min(area.height / 3) + 1),
        Constraint::Length(rows(rollout.waits.len().clamp(1, 3)) + 2),
        Constraint::Length(rows(failures.len())),
        Constraint::Length(gate_rows.max(host_rows) + 2),
        Constraint::Min(2),
        Constraint::Length(2),
    ])
    .areas(area);
    let title = Line::from(clean(&rollout.title)).style(Style::new().add_modifier(Modifier::BOLD));
    frame.render_widget(Paragraph::new(vec![title, state(rollout, now, colours)]), head);
    frame.render_widget(Paragraph::new(wave_lines(rollout, waves, colours)), waves);
    frame.render_widget(Paragraph::new(wait_lines(rollout)), waits);
    frame.render_widget(Paragraph::new(failures), why);
    let [left, hosts] =
        Layout::horizontal([Constraint::Percentage(60), Constraint::Percentage(40)]).spacing(2).areas(middle);
    frame.render_widget(Paragraph::new(gate_lines(gate, now, colours)), left);
    frame.render_widget(Paragraph::new(host_lines(scene, hosts, now)), hosts);
    frame.render_widget(Paragraph::new(change_lines(scene, events)), events);
    frame.render_widget(Paragraph::new(foot_lines(scene, question, now, colours)), foot);
}

fn rows(many: usize) -> u16 {
    u16::try_from(many).unwrap_or(u16::MAX)
}

fn painted(text: String, colour: Color, colours: bool) -> Span<'static> {
    if colours { Span::styled(text, Style::new().fg(colour)) } else { Span::raw(text) }
}

fn titled(text: &str) -> Line<'static> {
    Line::styled(text.to_owned(), Style::new().add_modifier(Modifier::BOLD))
}

fn state(rollout: &Rollout, now: Timestamp, colours: bool) -> Line<'static> {
    let colour = match rollout.state.as_str() {
        "wave" | "complete" => Color::Green,
        "halted" | "aborted" | "retracted" => Color::Red,
        _ => Color::Yellow,
    };
    painted(headline(rollout, now), colour, colours).into()
}

/// A bar for each wave. Where there are more than fit, those around the one under way.
fn wave_lines(rollout: &Rollout, area: Rect, colours: bool) -> Vec<Line<'static>> {
    let room = usize::from(area.height.saturating_sub(1)).max(1);
    let current = rollout.waves.iter().position(|wave| !matches!(wave.phase.as_str(), "-" | "done"));
    let last = rollout.waves.len().saturating_sub(room);
    let from = current.unwrap_or_default().saturating_sub(room / 2).min(last);
    let shown: &[Wave] = rollout.waves.get(from..).unwrap_or_default();
    let name_width =
        rollout.waves.iter().map(|wave| wave.name.chars().count()).max().unwrap_or_default().min(20);
    // Number, name, phase and brackets; then the counts, which may be cut.
    let bar_width = (usize::from(area.width).saturating_sub(name_width + 14) / 2).min(BAR_MAX);
    shown
        .iter()
        .take(room)
        .map(|wave| {
            let name: String = clean(&wave.name).chars().take(name_width).collect();
            let mut spans =
                vec![Span::raw(format!("{:>2} {name:name_width$} {:4} [", wave.number, clean(&wave.phase)))];
            spans.extend(bar(wave, bar_width, colours));
            spans.push(Span::raw(format!("] {}", books(wave))));
            Line::from(spans)
        })
        .collect()
}

fn gate_lines(wave: Option<&Wave>, now: Timestamp, colours: bool) -> Vec<Line<'static>> {
    let Some(wave) = wave else {
        return vec![titled("gate"), Line::raw("  it is read once a wave has settled")];
    };
    let mut title = format!("gate of wave {}", wave.number);
    if let Some(until) = wave.soak_until.filter(|until| *until > now) {
        title = format!("{title}, watched for {} more", span(until.duration_since(now)));
    }
    let mut lines = vec![titled(&title)];
    lines.extend(wave.gate.iter().map(|number| gate_line(number, colours)));
    lines
}

fn gate_line(number: &Number, colours: bool) -> Line<'static> {
    let colour = match number.says.as_str() {
        "open" => Color::Green,
        "hold" => Color::Yellow,
        _ => Color::Red,
    };
    let says = painted(format!("  {:4} ", clean(&number.says)), colour, colours);
    Line::from(vec![says, Span::raw(numbers_first(number))])
}

fn wait_lines(rollout: &Rollout) -> Vec<Line<'static>> {
    let mut lines = vec![titled("waits")];
    lines.extend(rollout.waits.iter().map(|wait| Line::raw(format!("  {}", clean(wait)))));
    if rollout.waits.is_empty() {
        lines.push(Line::raw("  for nothing"));
    }
    lines
}

/// Why hosts failed, and a line of room after it; nothing where none did.
fn failure_lines(rollout: &Rollout) -> Vec<Line<'static>> {
    let failures = failures(rollout);
    if failures.is_empty() {
        return Vec::new();
    }
    let more = failures.len().saturating_sub(FAILURES_MAX);
    let mut lines = vec![titled("why hosts failed")];
    lines.extend(failures.into_iter().take(FAILURES_MAX).map(|line| Line::raw(format!("  {line}"))));
    if more > 0 {
        lines.push(Line::raw(format!("  and {more} more: see the rollout's status")));
    }
    lines.push(Line::raw(""));
    lines
}

/// Hosts under change and in trouble, those that have been for longest first.
fn host_lines(scene: &Scene, area: Rect, now: Timestamp) -> Vec<Line<'static>> {
    let room = usize::from(area.height.saturating_sub(2));
    let since = |job: &crate::answers::Job| scene.since.get(&job.host.id).copied().or(job.reported_at);
    let mut jobs: Vec<_> = scene.jobs.iter().collect();
    jobs.sort_by_key(|job| (since(job).unwrap_or(Timestamp::MAX), job.host.clone()));
    let mut lines = vec![titled("hosts")];
    let shown = if jobs.len() > room { room.saturating_sub(1) } else { jobs.len() };
    for job in jobs.iter().take(shown) {
        let name = if job.host.name.is_empty() { job.host.id.to_string() } else { clean(&job.host.name) };
        let ago =
            since(job).map(|since| format!(", {}", span(now.duration_since(since)))).unwrap_or_default();
        lines.push(Line::raw(format!("  {name} {}{ago}", clean(&job.state))));
    }
    if shown < jobs.len() {
        lines.push(Line::raw(format!("  and {} more", jobs.len() - shown)));
    }
    lines
}

/// What changed last; the latest at the bottom.
fn change_lines(scene: &Scene, area: Rect) -> Vec<Line<'static>> {
    let room = usize::from(area.height.saturating_sub(1));
    let mut lines = vec![titled("changes")];
    let from = scene.changes.len().saturating_sub(room);
    lines.extend(
        scene.changes.iter().skip(from).map(|(at, text)| Line::raw(format!("  {} {text}", clock(*at)))),
    );
    lines
}

fn foot_lines(
    scene: &Scene,
    question: Option<Question>,
    now: Timestamp,
    colours: bool,
) -> Vec<Line<'static>> {
    let first = match &scene.silent {
        Some((since, _)) => painted(
            format!(
                "the server has not answered for {}; it is asked again",
                span(now.duration_since(*since))
            ),
            Color::Red,
            colours,
        ),
        None => Span::raw(LEGEND),
    };
    let second = match question {
        None => "q leaves  p pauses  h halts".to_owned(),
        Some(Question::Pause) => {
            "Pause? No more hosts begin, and it goes on only when approvers sign that. y / n".to_owned()
        }
        Some(Question::Halt) => {
            "HALT? No more hosts begin, and it goes on only when approvers sign that. y / n".to_owned()
        }
    };
    vec![first.into(), titled(&second)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::{Failure, Job};
    use crate::golden;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    fn drawn(scene: &Scene, question: Option<Question>, size: (u16, u16)) -> String {
        let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
        let now = golden::at("2027-03-06T03:25:00Z");
        terminal.draw(|frame| draw(frame, scene, question, now, false)).unwrap();
        let buffer = terminal.backend().buffer();
        let mut text = String::new();
        for row in buffer.content().chunks(usize::from(size.0)) {
            let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    fn scene() -> Scene {
        let jobs: Vec<Job> = serde_json::from_value(json!([
            { "host": { "id": "0199c4f8-0000-7000-8000-000000000005", "name": "web-05" }, "state": "lost",
              "reported_at": "2027-03-06T02:10:00Z", "text": "lost" },
            { "host": { "id": "0199c4f8-0000-7000-8000-000000000006", "name": "web-06" }, "state": "applying",
              "reported_at": "2027-03-06T03:24:10Z", "text": "applying" },
        ]))
        .unwrap();
        let mut scene = Scene::new(golden::rollout(), jobs);
        let changed = ["wave 1: 3 of 4 proven, 1 lost".to_owned(), "wave 1, gate".to_owned()];
        scene.note(&changed, golden::at("2027-03-06T02:20:00Z"));
        scene
    }

    #[test]
    fn a_screen_shows_waves_gate_waits_hosts_and_changes() {
        golden::same("watch-screen", &drawn(&scene(), None, (100, 28)));
    }

    #[test]
    fn a_screen_shows_why_hosts_failed() {
        let mut scene = scene();
        let why = |number: u32| format!("http:80/ of nginx.service: restarted {number} times\u{1b}");
        let name = "web-04".to_owned();
        scene.rollout.failures = vec![Failure { host: String::new(), name, why: (1..=4).map(why).collect() }];
        scene.rollout.failures_unheard = 2;
        golden::same("watch-screen-why", &drawn(&scene, None, (100, 34)));
    }

    #[test]
    fn a_small_screen_keeps_what_matters_and_asks_before_it_halts() {
        let mut scene = scene();
        scene.silent("nobody answers", golden::at("2027-03-06T03:24:00Z"));
        golden::same("watch-screen-small", &drawn(&scene, Some(Question::Halt), (80, 24)));
        // Whatever the size, nothing breaks.
        for size in [(1, 1), (20, 5), (300, 3), (40, 100)] {
            drawn(&scene, None, size);
        }
    }
}
