//! Where log lines go: to a stream or to a file that may be moved away or put aside.
//!
//! A thread writes the lines, so that a disk or a reader that is slow, full or gone holds nothing up but the log.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    mem,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use nix::fcntl::OFlag;
use rtun_settings::{LogOutput, RotationSettings};
use rtun_state::rotation::{Tidier, put_aside};
use tracing::warn;

use crate::complain;

/// Bytes of lines that wait for one destination. Lines beyond it are lost, and counted.
const MAX_QUEUE: usize = 4 * 1024 * 1024;

/// At the end, lines that wait have this long to be written.
const LAST_LINES: Duration = Duration::from_secs(2);

/// A destination. At its end the lines that wait are written.
pub(super) struct Output {
    shared: Arc<OutputState>,
    settings: (LogOutput, Option<RotationSettings>),
}

struct OutputState {
    queue: Mutex<LineQueue>,
    /// Notified when the queue has something for the thread, and when the thread has written everything.
    changed: Condvar,
    /// Lines that were lost and not yet reported.
    lost: AtomicU64,
    /// Whether the last line could not be written.
    failing: AtomicBool,
    /// The file that is written now. The thread holds the lock only while it puts the file aside.
    file: Mutex<Option<FileIdentity>>,
}

#[derive(Default)]
struct LineQueue {
    items: VecDeque<QueuedItem>,
    bytes: usize,
    is_writing: bool,
    is_closed: bool,
}

enum QueuedItem {
    Line(String),
    /// From now on, this file.
    File(File),
}

/// Tells whether a file is still where it was opened.
struct FileIdentity {
    path: PathBuf,
    device: u64,
    inode: u64,
    /// Whether it could not be made again, which was said.
    is_missing: bool,
}

enum LogTarget {
    Nowhere,
    Stderr,
    Stdout,
    File(LogFile),
}

struct LogFile {
    path: PathBuf,
    file: File,
    /// Bytes in it.
    size: u64,
    rotation: Option<(RotationSettings, Tidier)>,
    /// Whether a line in it is not whole.
    is_broken: bool,
    /// Whether it could not be put aside, which was said.
    stays: bool,
}

impl Output {
    /// Opens a destination.
    pub(super) fn open(
        output: &LogOutput,
        rotation: Option<&RotationSettings>,
    ) -> io::Result<Self> {
        let mut identity = None;
        let target = match output {
            LogOutput::None => LogTarget::Nowhere,
            LogOutput::Stderr => LogTarget::Stderr,
            LogOutput::Stdout => LogTarget::Stdout,
            LogOutput::File(path) => {
                if let Some(folder) = path.parent().filter(|it| !it.as_os_str().is_empty()) {
                    fs::create_dir_all(folder)?;
                }
                let file = open(path)?;
                identity = Some(FileIdentity::of(path, &file)?);
                let rotation = match rotation {
                    Some(settings) => Some((settings.clone(), Tidier::start(path, settings)?)),
                    None => None,
                };
                LogTarget::File(LogFile::new(path.clone(), file, rotation)?)
            }
        };
        let shared = Arc::new(OutputState {
            queue: Mutex::default(),
            changed: Condvar::new(),
            lost: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            file: Mutex::new(identity),
        });
        let of_thread = Arc::clone(&shared);
        thread::Builder::new().name("log".into()).spawn(move || of_thread.write_all(target))?;
        Ok(Self { shared, settings: (output.clone(), rotation.cloned()) })
    }

    /// Whether it is this destination.
    pub(super) fn is(&self, output: &LogOutput, rotation: Option<&RotationSettings>) -> bool {
        (&self.settings.0, self.settings.1.as_ref()) == (output, rotation)
    }

    /// Takes a line, its end included. Never waits for the destination.
    pub(super) fn write(&self, line: String) {
        if self.settings.0 == LogOutput::None {
            return;
        }
        let mut queue = self.shared.queue();
        if queue.bytes + line.len() > MAX_QUEUE {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.bytes += line.len();
        queue.items.push_back(QueuedItem::Line(line));
        self.shared.changed.notify_all();
    }

    /// Opens a file by its name again; after an error the one that was open is written on.
    pub(super) fn reopen(&self) -> io::Result<()> {
        let mut file = self.shared.file();
        if let Some(identity) = &mut *file {
            let new = open(&identity.path)?;
            *identity = FileIdentity::of(&identity.path, &new)?;
            self.shared.go_to(new);
        }
        Ok(())
    }

    /// To be called every second: makes a file again that is no longer where it was opened, and says what was lost, once lines
    /// are taken again. How many that are.
    pub(super) fn look_after(&self) -> u64 {
        self.make_file_again();
        if self.shared.failing.load(Ordering::Relaxed) {
            return 0;
        }
        let lines = self.shared.lost.swap(0, Ordering::Relaxed);
        if lines > 0 {
            let output = self.name();
            warn!(lines, output, "log lines were lost: their destination was full or slow");
        }
        lines
    }

    fn make_file_again(&self) {
        // The thread may be at the file itself: then there is time in a second.
        let Ok(mut file) = self.shared.file.try_lock() else { return };
        let Some(identity) = &mut *file else { return };
        let found = fs::metadata(&identity.path);
        if found.is_ok_and(|it| (it.dev(), it.ino()) == (identity.device, identity.inode)) {
            return;
        }
        let opened = open(&identity.path);
        match opened.and_then(|new| Ok((FileIdentity::of(&identity.path, &new)?, new))) {
            Ok((its_identity, new)) => {
                *identity = its_identity;
                self.shared.go_to(new);
                let path = identity.path.display();
                warn!(%path, "the log's file had gone and is made again");
            }
            Err(error) if !identity.is_missing => {
                identity.is_missing = true;
                let path = identity.path.display();
                complain(&format!(
                    "rtun: the log's file has gone and cannot be made again: {path}: {error}"
                ));
            }
            Err(_) => {}
        }
    }

    fn name(&self) -> String {
        match &self.settings.0 {
            LogOutput::None => "none".into(),
            LogOutput::Stderr => "stderr".into(),
            LogOutput::Stdout => "stdout".into(),
            LogOutput::File(path) => path.display().to_string(),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        queue.is_closed = true;
        self.shared.changed.notify_all();
        let is_busy = |queue: &mut LineQueue| queue.is_writing || !queue.items.is_empty();
        let waited = self.shared.changed.wait_timeout_while(queue, LAST_LINES, is_busy);
        let left = waited.unwrap_or_else(PoisonError::into_inner).0.items.len();
        let lost = self.shared.lost.load(Ordering::Relaxed);
        let lines = lost.saturating_add(u64::try_from(left).unwrap_or(u64::MAX));
        // Who does not read the standard error would not read this either, and have us wait.
        if lines > 0 && self.settings.0 != LogOutput::Stderr {
            complain(&format!("rtun: {lines} log lines are lost: {}", self.name()));
        }
    }
}

impl OutputState {
    /// The thread: writes what comes until the queue is closed and empty.
    fn write_all(&self, mut target: LogTarget) {
        let mut batch = VecDeque::new();
        loop {
            {
                let mut queue = self.queue();
                queue.is_writing = false;
                if queue.items.is_empty() {
                    self.changed.notify_all();
                }
                let is_idle = |queue: &mut LineQueue| queue.items.is_empty() && !queue.is_closed;
                let waited = self.changed.wait_while(queue, is_idle);
                queue = waited.unwrap_or_else(PoisonError::into_inner);
                if queue.items.is_empty() {
                    return;
                }
                mem::swap(&mut queue.items, &mut batch);
                queue.is_writing = true;
            }
            for item in batch.drain(..) {
                match item {
                    QueuedItem::Line(line) => {
                        self.write_line(&mut target, line.as_bytes());
                        self.queue().bytes -= line.len();
                    }
                    QueuedItem::File(new) => {
                        if let LogTarget::File(file) = &mut target {
                            file.go_to(new);
                        }
                    }
                }
            }
        }
    }

    fn write_line(&self, target: &mut LogTarget, line: &[u8]) {
        let written = match target {
            LogTarget::Nowhere => Ok(()),
            LogTarget::Stderr => io::stderr().write_all(line),
            LogTarget::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(line).and_then(|()| stdout.flush())
            }
            LogTarget::File(file) => {
                if file.is_full(line.len()) {
                    self.put_aside(file);
                }
                file.write(line)
            }
        };
        match written {
            Ok(()) => self.failing.store(false, Ordering::Relaxed),
            Err(error) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                if !self.failing.swap(true, Ordering::Relaxed) {
                    complain(&format!("rtun: log lines are lost: {error}"));
                }
            }
        }
    }

    /// Puts a full file aside and begins another; when that fails the full one is written on.
    fn put_aside(&self, log: &mut LogFile) {
        let Some((settings, tidier)) = &log.rotation else { return };
        let mut identity = self.file();
        let begun = put_aside(&log.path, settings).and_then(|()| {
            let new = open(&log.path)?;
            *identity = Some(FileIdentity::of(&log.path, &new)?);
            Ok(new)
        });
        match begun {
            Ok(new) => {
                tidier.request();
                log.go_to(new);
                log.stays = false;
            }
            Err(error) if !log.stays => {
                log.stays = true;
                let path = log.path.display();
                complain(&format!("rtun: the log's file cannot be put aside: {path}: {error}"));
            }
            Err(_) => {}
        }
    }

    fn go_to(&self, new: File) {
        self.queue().items.push_back(QueuedItem::File(new));
        self.changed.notify_all();
    }

    /// A poisoned lock still guards a whole queue.
    fn queue(&self) -> MutexGuard<'_, LineQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A poisoned lock still guards a whole identity.
    fn file(&self) -> MutexGuard<'_, Option<FileIdentity>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileIdentity {
    fn of(path: &Path, file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let (device, inode) = (metadata.dev(), metadata.ino());
        Ok(Self { path: path.to_owned(), device, inode, is_missing: false })
    }
}

impl LogFile {
    fn new(
        path: PathBuf,
        file: File,
        rotation: Option<(RotationSettings, Tidier)>,
    ) -> io::Result<Self> {
        let size = file.metadata()?.len();
        if let Some((_, tidier)) = &rotation {
            tidier.request();
        }
        Ok(Self { path, file, size, rotation, is_broken: false, stays: false })
    }

    fn go_to(&mut self, new: File) {
        self.size = new.metadata().map_or(0, |it| it.len());
        self.file = new;
        self.is_broken = false;
    }

    /// Whether a line of `len` bytes belongs into the next file.
    fn is_full(&self, len: usize) -> bool {
        let max = self.rotation.as_ref().map(|(settings, _)| settings.max_size);
        max.is_some_and(|max| self.size > 0 && self.size.saturating_add(len as u64) > max)
    }

    /// Writes a line, whole or not at all as a reader sees it: what is left of one that broke off is ended first.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_broken {
            self.write_bytes(b"\n")?;
            self.is_broken = false;
        }
        self.write_bytes(line)
    }

    fn write_bytes(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.size += written as u64;
                    bytes = &bytes[written..];
                    self.is_broken = !bytes.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A pipe that nobody reads is an error, not a wait without an end.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)
}

#[cfg(test)]
mod tests {
    use std::{io::Read, os::unix::net::UnixStream};

    use super::*;

    #[test]
    fn a_pipe_that_nobody_reads_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("log");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(open(&pipe).is_err());
    }

    fn file(path: &Path, rotation: Option<&RotationSettings>) -> Output {
        Output::open(&LogOutput::File(path.to_owned()), rotation).unwrap()
    }

    #[test]
    fn a_full_file_is_put_aside_between_lines_and_nothing_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/rtun.log");
        let rotation = RotationSettings {
            max_size: 1000,
            max_age: None,
            max_backups: None,
            local_time: false,
            compress: false,
        };
        let output = file(&path, Some(&rotation));
        for n in 0..100 {
            output.write(format!("line {n:094}\n"));
        }
        drop(output);
        let mut lines = Vec::new();
        let files: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(files.len(), 10, "{files:?}");
        for entry in files {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            assert_eq!(text.len(), 1000);
            lines.extend(text.lines().map(str::to_owned));
        }
        lines.sort();
        let expected: Vec<_> = (0..100).map(|n| format!("line {n:094}")).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn what_a_full_disk_loses_is_counted_and_waits_for_nobody() {
        let output = file(Path::new("/dev/full"), None);
        for _ in 0..100 {
            output.write("line\n".into());
        }
        let start = std::time::Instant::now();
        while output.shared.lost.load(Ordering::Relaxed) < 100 {
            assert!(start.elapsed() < Duration::from_secs(10), "they are counted");
            thread::sleep(Duration::from_millis(1));
        }
        assert!(output.shared.failing.load(Ordering::Relaxed));
    }

    #[test]
    fn a_reader_that_does_not_read_costs_no_more_than_the_queue() {
        let (mut reader, writer) = UnixStream::pair().unwrap();
        let output = Output::open(&LogOutput::Stderr, None).unwrap();
        // The thread of a stream that blocks, without taking the real one away from the tests.
        let state = Arc::new(OutputState {
            queue: Mutex::default(),
            changed: Condvar::new(),
            lost: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            file: Mutex::new(None),
        });
        let mut output = mem::ManuallyDrop::new(output);
        output.shared = Arc::clone(&state);
        let stuck = File::from(std::os::fd::OwnedFd::from(writer));
        let thread = thread::spawn(move || {
            let log = LogFile::new(PathBuf::new(), stuck, None).unwrap();
            state.write_all(LogTarget::File(log));
        });
        let line = "x".repeat(1023) + "\n";
        let lines = 3 * MAX_QUEUE / line.len();
        for _ in 0..lines {
            output.write(line.clone());
        }
        let lost = output.shared.lost.load(Ordering::Relaxed);
        assert!(lost > 0, "{lost} of {lines}");
        assert!(output.shared.queue().bytes <= MAX_QUEUE);
        output.shared.queue().is_closed = true;
        output.shared.changed.notify_all();
        let mut read = Vec::new();
        let reading = thread::spawn(move || {
            reader.read_to_end(&mut read).unwrap();
            read.len()
        });
        thread.join().unwrap();
        let written = lines - usize::try_from(lost).unwrap();
        assert_eq!(reading.join().unwrap(), written * line.len(), "all others are written");
    }

    #[test]
    fn a_line_that_broke_off_does_not_spoil_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = LogFile::new(path.clone(), open(&path).unwrap(), None).unwrap();
        log.write(b"one\n").unwrap();
        log.write_bytes(b"tw").unwrap();
        log.is_broken = true;
        log.write(b"three\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntw\nthree\n");
    }
}
