//! `palisade rollout watch`: follows a rollout until it ends; a screen on a terminal, lines elsewhere.

mod bars;
mod follow;
mod lines;
mod scene;
mod screen;

use super::rollout::HostNames;
use super::session::{Session, look, print};
use crate::answers::Rollout;
use crate::output::rollout::status;
use crate::{EXIT_INTERRUPTED, terminal};
use anyhow::Result;
use follow::{fetch, follow};
use jiff::Timestamp;
use scene::Scene;
use std::process::ExitCode;
use std::sync::mpsc;
use uuid::Uuid;

/// It ended otherwise than it was meant to.
const EXIT_STOPPED: u8 = 1;
/// It was left before it ended.
const EXIT_LEFT: u8 = 2;

/// How watching ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The rollout did.
    Over,
    /// The person left.
    Left,
    /// Ctrl-C, or a signal.
    Interrupted,
}

pub(crate) fn run(session: &Session, plan: Uuid, as_lines: bool) -> Result<ExitCode> {
    // What is wrong from the start is told as any other command does.
    let (rollout, jobs) = fetch(&session.client, plan, &mut HostNames::default())?;
    let scene = Scene::new(rollout, jobs);
    let (sender, news) = mpsc::sync_channel(16);
    follow(session.client.clone(), plan, sender.clone());
    let (end, rollout) = if as_lines || session.json || !terminal::is_screen() {
        lines::run(scene, &news, session.json)?
    } else {
        let colours = terminal::colours(crate::cli::Colour::Auto);
        let (end, rollout) = screen::run(scene, &news, session, &sender, colours)?;
        // The screen is gone; what it showed last stays above the prompt.
        print(&status(&rollout, Timestamp::now(), look()))?;
        (end, rollout)
    };
    Ok(match end {
        End::Over => code(&rollout),
        End::Left => ExitCode::from(EXIT_LEFT),
        End::Interrupted => ExitCode::from(EXIT_INTERRUPTED),
    })
}

fn code(rollout: &Rollout) -> ExitCode {
    if rollout.state == "complete" { ExitCode::SUCCESS } else { ExitCode::from(EXIT_STOPPED) }
}
