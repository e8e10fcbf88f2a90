//! A file as a source.

use std::{
    fs::{File, Metadata},
    io::Read,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use super::{LoadFuture, Loaded, MAX_TEXT, Source, SourceError, Stamp, StampFuture, text};

/// Limit for one reading: a local disk needs milliseconds, a network file system that is gone never answers.
const DEADLINE: Duration = Duration::from_secs(10);

/// A regular file; symbolic links are followed.
pub struct FileSource {
    path: Arc<Path>,
    label: Arc<str>,
    max_bytes: usize,
    /// Held during a system call, so that a file system that hangs blocks at most one thread.
    system_call: Arc<Semaphore>,
}

impl FileSource {
    /// The file at `path`, which need not exist yet.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.into(),
            label: path.display().to_string().into(),
            max_bytes: MAX_TEXT,
            system_call: Arc::new(Semaphore::new(1)),
        }
    }

    /// Reads at most this many bytes; a file with more is a failure.
    pub fn at_most(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }

    /// Runs `ask` on a thread that may block; `None`: not in time.
    async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(PathBuf) -> T + Send + 'static,
    ) -> Option<T> {
        let path = self.path.to_path_buf();
        let permit = Arc::clone(&self.system_call).try_acquire_owned().ok()?;
        let asked = spawn_blocking(move || {
            let answer = ask(path);
            drop(permit);
            answer
        });
        timeout(DEADLINE, asked).await.ok()?.ok()
    }
}

impl Source for FileSource {
    fn load(&self) -> LoadFuture<'_> {
        Box::pin(async {
            let max_bytes = self.max_bytes;
            let read = self.ask(move |path| read(&path, max_bytes)).await;
            read.unwrap_or(Err(SourceError::Timeout(DEADLINE)))
        })
    }

    fn stamp(&self) -> Option<StampFuture<'_>> {
        Some(Box::pin(async {
            self.ask(|path| std::fs::metadata(path).ok().map(|meta| stamp(&meta))).await.flatten()
        }))
    }

    fn label(&self) -> Arc<str> {
        Arc::clone(&self.label)
    }
}

fn read(path: &Path, max_bytes: usize) -> Result<Loaded, SourceError> {
    let failed = |error: std::io::Error| SourceError::Unreachable(error.to_string());
    // Without it, opening a named pipe waits for a writer.
    let mut options = File::options();
    let file = options.read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(SourceError::Unreachable("not a regular file".into()));
    }
    let enough = max_bytes as u64 + 1;
    let mut bytes = Vec::with_capacity(meta.len().min(enough) as usize);
    file.take(enough).read_to_end(&mut bytes).map_err(failed)?;
    text(bytes, max_bytes)
}

fn stamp(meta: &Metadata) -> Stamp {
    Stamp {
        file: (meta.dev(), meta.ino()),
        len: meta.len(),
        times: [(meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec())],
    }
}
