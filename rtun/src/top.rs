//! `rtun top`: the hosts of running hubs by what they do now, on a page of a terminal.

mod keys;
mod page;
mod sample;
mod screen;

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::Args as ClapArgs;

use self::{
    keys::{TopState, TopStep},
    sample::TopSample,
    screen::Screen,
};
use crate::{
    EXIT_FAILURE,
    asking::{AskedProcesses, is_heard},
    complain,
    hosts::SortBy,
    say,
};

/// How often the keyboard and signals are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// The hosts of the running hubs of this machine by what they do now: traffic, queues, drops
///
/// Keys: t traffic, n name, a age, u queue, d drops; / to search; up, down, Enter for one host, Esc back; q to quit.
/// Where the output is no terminal it prints once.
///
/// Exit status: 0, or 1 when there is no running rtun that this user may ask.
#[derive(ClapArgs)]
pub(crate) struct Top {
    #[command(flatten)]
    asked: AskedProcesses,
    /// Look again at this interval
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = crate::status::period)]
    interval: Duration,
    /// What hosts are sorted by
    #[arg(long, value_enum, default_value = "traffic")]
    sort: SortBy,
    /// Print one JSON object a line, at each interval
    #[arg(long)]
    json: bool,
    /// With --json, end after this many
    #[arg(long, value_name = "COUNT", requires = "json")]
    samples: Option<u64>,
    /// Only hosts with this in their name, address or namespace
    search: Option<String>,
}

impl Top {
    pub(crate) fn run(self) -> ExitCode {
        let state = TopState::new(self.sort, self.search.clone().unwrap_or_default());
        match (self.json, io::stdout().is_terminal() && io::stdin().is_terminal()) {
            (true, _) => self.print_samples(&state),
            (false, false) => match TopSample::ask(&self.asked, &state, usize::MAX) {
                Ok(sample) => say(&page::plain(&sample, &state)),
                Err(status) => status,
            },
            (false, true) => match self.show(state) {
                Ok(status) => status,
                Err(error) => {
                    complain(&format!("rtun: the terminal cannot be used: {error}"));
                    ExitCode::from(EXIT_FAILURE)
                }
            },
        }
    }

    fn print_samples(&self, state: &TopState) -> ExitCode {
        let mut left = self.samples;
        while left != Some(0) {
            let sample = match TopSample::ask(&self.asked, state, usize::MAX) {
                Ok(sample) => sample,
                Err(status) => return status,
            };
            match serde_json::to_string(&sample) {
                Ok(json) if is_heard(&json) => {}
                // A reader that has gone has seen enough.
                Ok(_) => return ExitCode::SUCCESS,
                Err(error) => {
                    complain(&format!("rtun: {error}"));
                    return ExitCode::from(EXIT_FAILURE);
                }
            }
            left = left.map(|left| left - 1);
            if left != Some(0) {
                thread::sleep(self.interval);
            }
        }
        ExitCode::SUCCESS
    }

    fn show(&self, mut state: TopState) -> io::Result<ExitCode> {
        // AskedProcesses first, so that what is wrong is said on an ordinary terminal.
        let mut sample = match TopSample::ask(&self.asked, &state, 1) {
            Ok(sample) => sample,
            Err(status) => return Ok(status),
        };
        let mut screen = Screen::open()?;
        let mut due = Instant::now();
        loop {
            if Instant::now() >= due {
                match TopSample::ask(&self.asked, &state, screen.rows()) {
                    Ok(next) => sample = next,
                    Err(status) => return Ok(status),
                }
                due = Instant::now() + self.interval;
                screen.draw(&page::lines(&sample, &mut state, screen.size()))?;
            }
            if screen.is_ended() {
                return Ok(ExitCode::SUCCESS);
            }
            let Some(key) = screen.key(LOOK)? else { continue };
            match state.press(key, &sample.hosts) {
                TopStep::Quit => return Ok(ExitCode::SUCCESS),
                TopStep::Ask => due = Instant::now(),
                TopStep::Draw => screen.draw(&page::lines(&sample, &mut state, screen.size()))?,
            }
        }
    }
}
