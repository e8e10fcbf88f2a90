//! The terminal while a page is shown. It is restored however that ends: by a key, by a signal, by a panic.

use std::{
    io::{self, Stdout, Write},
    panic,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crossterm::{
    cursor::{Hide, MoveTo, Show},
    event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
    execute, queue,
    style::{Attribute, Print, SetAttribute},
    terminal::{
        BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
        LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
    },
};
use tokio::signal::unix::{SignalKind, signal};

use super::{keys::TopKey, page::PageLine};

/// A terminal without echo, with a page of its own. Dropping it gives back what was there before.
pub(super) struct Screen {
    out: Stdout,
    /// Set by a signal that ends this process.
    ended: Arc<AtomicBool>,
}

impl Screen {
    pub(super) fn open() -> io::Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        follow_signals(&ended)?;
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            restore();
            before(info);
        }));
        enable_raw_mode()?;
        let mut screen = Self { out: io::stdout(), ended };
        execute!(screen.out, EnterAlternateScreen, Hide)?;
        Ok(screen)
    }

    /// Columns and lines.
    pub(super) fn size(&self) -> (usize, usize) {
        let (columns, rows) = size().unwrap_or((80, 24));
        (columns.into(), rows.into())
    }

    /// Lines.
    pub(super) fn rows(&self) -> usize {
        self.size().1
    }

    /// Whether a signal has asked to end.
    pub(super) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    pub(super) fn draw(&mut self, lines: &[PageLine]) -> io::Result<()> {
        queue!(self.out, BeginSynchronizedUpdate)?;
        for (row, line) in (0..).zip(lines) {
            queue!(self.out, MoveTo(0, row))?;
            if line.is_selected {
                queue!(self.out, SetAttribute(Attribute::Reverse))?;
            }
            queue!(self.out, Print(&line.text), SetAttribute(Attribute::Reset))?;
            queue!(self.out, Clear(ClearType::UntilNewLine))?;
        }
        let below = u16::try_from(lines.len()).unwrap_or(u16::MAX);
        if usize::from(below) < self.rows() {
            queue!(self.out, MoveTo(0, below), Clear(ClearType::FromCursorDown))?;
        }
        queue!(self.out, EndSynchronizedUpdate)?;
        self.out.flush()
    }

    /// Waits this long for a key.
    pub(super) fn key(&self, within: Duration) -> io::Result<Option<TopKey>> {
        if !event::poll(within)? {
            return Ok(None);
        }
        Ok(match event::read()? {
            Event::Resize(..) => Some(TopKey::Resized),
            Event::Key(key) if key.kind != KeyEventKind::Release => match key.code {
                KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                    Some(TopKey::Interrupt)
                }
                KeyCode::Char(c) => Some(TopKey::Character(c)),
                KeyCode::Enter => Some(TopKey::Enter),
                KeyCode::Esc => Some(TopKey::Escape),
                KeyCode::Backspace => Some(TopKey::Backspace),
                KeyCode::Up => Some(TopKey::Up),
                KeyCode::Down => Some(TopKey::Down),
                _ => None,
            },
            _ => None,
        })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Nothing is left to do where this fails: the terminal is gone.
fn restore() {
    let _ = execute!(io::stdout(), SetAttribute(Attribute::Reset), Show, LeaveAlternateScreen);
    let _ = disable_raw_mode();
}

/// Has `ended` set by the signals that end a program. The thread for that ends with the process.
fn follow_signals(ended: &Arc<AtomicBool>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate, mut hang_up) = {
        let _entered = runtime.enter();
        let of = |kind| signal(kind);
        (of(SignalKind::interrupt())?, of(SignalKind::terminate())?, of(SignalKind::hangup())?)
    };
    let ended = Arc::clone(ended);
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
        });
        ended.store(true, Ordering::Relaxed);
    });
    Ok(())
}
