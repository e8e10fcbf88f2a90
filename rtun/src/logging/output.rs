//! Where log lines go: whole lines, whose every character is seen, to a stream or to a file that may be moved away.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use nix::fcntl::OFlag;
use rtun_core::text::is_invisible;
use rtun_settings::LogOutput;
use tracing::warn;
use tracing_subscriber::fmt::MakeWriter;

use crate::complain;

/// A destination; clones write to the same.
#[derive(Clone)]
pub(super) struct Output {
    to: Arc<Mutex<To>>,
    is_json: Arc<AtomicBool>,
}

struct To {
    target: LogTarget,
    /// Whether writing or making it again fails, which was said.
    failing: bool,
}

enum LogTarget {
    Nowhere,
    Stderr,
    Stdout,
    File { path: PathBuf, file: File },
}

impl Output {
    /// Opens a destination. `is_json` says in which form lines come.
    pub(super) fn open(output: &LogOutput, is_json: Arc<AtomicBool>) -> io::Result<Self> {
        let to = To { target: LogTarget::open(output)?, failing: false };
        Ok(Self { to: Arc::new(Mutex::new(to)), is_json })
    }

    /// Goes over to another destination, or stays where it is.
    pub(super) fn go_to(&self, output: &LogOutput) -> io::Result<()> {
        let target = LogTarget::open(output)?;
        *self.to() = To { target, failing: false };
        Ok(())
    }

    /// Opens a file by its name again, or keeps the one it has.
    pub(super) fn reopen(&self) -> io::Result<()> {
        let mut to = self.to();
        if let LogTarget::File { path, file } = &mut to.target {
            *file = open(path)?;
            to.failing = false;
        }
        Ok(())
    }

    /// Makes a file again that is no longer where it was opened.
    pub(super) fn look_after(&self) {
        let mut to = self.to();
        let To { target: LogTarget::File { path, file }, failing } = &mut *to else { return };
        let is_there = fs::metadata(&*path).is_ok_and(|found| {
            let own = file.metadata();
            own.is_ok_and(|own| (own.dev(), own.ino()) == (found.dev(), found.ino()))
        });
        if is_there {
            return;
        }
        match open(path) {
            Ok(new) => {
                *file = new;
                *failing = false;
                let path = path.clone();
                // The line goes to the file, whose lock is held here.
                drop(to);
                warn!(path = %path.display(), "the log's file had gone and is made again");
            }
            Err(error) if !*failing => {
                *failing = true;
                let path = path.display();
                complain(&format!(
                    "rtun: the log's file has gone and cannot be made again: {path}: {error}"
                ));
            }
            Err(_) => {}
        }
    }

    /// A poisoned lock still guards a whole destination.
    fn to(&self) -> MutexGuard<'_, To> {
        self.to.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogTarget {
    fn open(output: &LogOutput) -> io::Result<Self> {
        Ok(match output {
            LogOutput::None => Self::Nowhere,
            LogOutput::Stderr => Self::Stderr,
            LogOutput::Stdout => Self::Stdout,
            LogOutput::File(path) => Self::File { path: path.clone(), file: open(path)? },
        })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Stderr => io::stderr().write_all(line),
            Self::Stdout => io::stdout().lock().write_all(line),
            Self::File { file, .. } => file.write_all(line),
        }
    }
}

/// A pipe that nobody reads is an error, not a wait without an end.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)
}

/// Takes one line.
pub(super) struct LogLine<'a>(&'a Output);

impl<'a> MakeWriter<'a> for Output {
    type Writer = LogLine<'a>;

    fn make_writer(&'a self) -> LogLine<'a> {
        LogLine(self)
    }
}

impl Write for LogLine<'_> {
    /// Takes all of it: one call is one line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let escaped = escape(line, self.0.is_json.load(Ordering::Relaxed));
        let mut to = self.0.to();
        match to.target.write(escaped.as_deref().map_or(line, str::as_bytes)) {
            Ok(()) => to.failing = false,
            Err(error) if !to.failing => {
                to.failing = true;
                complain(&format!("rtun: log lines are lost: {error}"));
            }
            Err(_) => {}
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The line with everything escaped that a terminal would obey or a reader would not see, its end not counted; `None`:
/// there is nothing to escape.
fn escape(line: &[u8], is_json: bool) -> Option<String> {
    let line = std::str::from_utf8(line).ok()?;
    let (content, end) = match line.strip_suffix('\n') {
        Some(content) => (content, "\n"),
        None => (line, ""),
    };
    if !content.chars().any(is_invisible) {
        return None;
    }
    let mut escaped = String::with_capacity(line.len() + 32);
    for c in content.chars() {
        if !is_invisible(c) {
            escaped.push(c);
        } else if is_json {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.extend(c.escape_unicode());
        }
    }
    escaped.push_str(end);
    Some(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIDDEN: &str = "a\u{61c}b\u{ad}c\u{180e}d\u{fff9}e\u{e0041}f\u{202e}g";

    #[test]
    fn what_nobody_sees_is_escaped_in_either_form() {
        let json = format!("{}\n", serde_json::json!({ "host": HIDDEN }));
        let escaped = escape(json.as_bytes(), true).unwrap();
        assert!(!escaped.trim_end().chars().any(is_invisible), "{escaped}");
        let read: serde_json::Value = serde_json::from_str(&escaped).unwrap();
        assert_eq!(read["host"], HIDDEN, "it means the same");
        assert_eq!(
            escape("INFO joined host=a\u{61c}\nERROR forged \u{e0041}\n".as_bytes(), false)
                .unwrap(),
            "INFO joined host=a\\u{61c}\\u{a}ERROR forged \\u{e0041}\n"
        );
        assert_eq!(escape("INFO plain ä\n".as_bytes(), false), None);
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("log");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(open(&pipe).is_err());
    }
}
