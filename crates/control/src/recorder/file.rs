//! Records in a file, which may be moved away, and is put aside when it is full.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rtun_settings::{RecordFile, RotationSettings};
use rtun_state::rotation::{Tidier, put_aside};
use tokio::sync::Semaphore;

use crate::{
    background::in_background,
    plugin::{
        Addressed, Answering, PluginError,
        recording::{Record, Recorder},
    },
};

/// A file that grows by each record.
pub(super) struct FileRecorder {
    label: String,
    file: Arc<Mutex<GrowingFile>>,
    /// Held while the system writes, so that a file system that hangs blocks at most one thread.
    system_call: Arc<Semaphore>,
}

/// The file, of which nothing is open before the first record.
struct GrowingFile {
    path: PathBuf,
    separator: String,
    rotation: Option<RotationSettings>,
    tidier: Option<Tidier>,
    open: Option<OpenFile>,
    /// What is left of a record of which only a part could be written.
    rest: Vec<u8>,
}

struct OpenFile {
    file: File,
    /// Device and inode.
    identity: (u64, u64),
    /// Bytes in it.
    size: u64,
}

impl FileRecorder {
    pub(super) fn new(target: &RecordFile) -> Self {
        let RecordFile { path, separator, rotation } = target;
        let file = GrowingFile {
            path: path.clone(),
            separator: separator.clone(),
            rotation: rotation.clone(),
            tidier: None,
            open: None,
            rest: Vec::new(),
        };
        Self {
            label: path.display().to_string(),
            file: Arc::new(Mutex::new(file)),
            system_call: Arc::new(Semaphore::new(1)),
        }
    }

    async fn write(&self, text: String) -> Result<(), PluginError> {
        let permit = Arc::clone(&self.system_call).try_acquire_owned();
        let permit = permit.map_err(|_| {
            PluginError::NotWritten("the system still writes what came before".into())
        })?;
        let file = Arc::clone(&self.file);
        let written = in_background(move || {
            // A poisoned lock still guards a whole file: at worst a part of a record is written twice.
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let written = file.write(&text);
            drop(permit);
            written
        });
        written.await.map_err(|error| PluginError::NotWritten(error.to_string()))
    }
}

impl Addressed for FileRecorder {
    fn address(&self) -> &str {
        &self.label
    }
}

impl Recorder for FileRecorder {
    fn record<'a>(&'a self, record: &'a Record) -> Answering<'a, ()> {
        Box::pin(self.write(record.text()))
    }
}

impl GrowingFile {
    /// Writes a record with what follows it. After an error it has to be the same record again, of which the rest is written.
    fn write(&mut self, text: &str) -> io::Result<()> {
        self.follow()?;
        if self.rest.is_empty() {
            let record = [text, &self.separator].concat();
            self.make_room(record.len() as u64)?;
            self.rest = record.into_bytes();
        }
        let Some(open) = &mut self.open else { return Err(io::ErrorKind::NotFound.into()) };
        while !self.rest.is_empty() {
            match open.file.write(&self.rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    open.size += written as u64;
                    self.rest.drain(..written);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Opens the file, also where another one is, or none, under its name.
    fn follow(&mut self) -> io::Result<()> {
        if let Some(open) = &self.open {
            let found = fs::metadata(&self.path);
            if found.is_ok_and(|found| identity(&found) == open.identity) {
                return Ok(());
            }
        }
        self.open = None;
        if let Some(folder) = self.path.parent().filter(|it| !it.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        self.open = Some(OpenFile::new(&self.path)?);
        if let (Some(rotation), None) = (&self.rotation, &self.tidier) {
            let tidier = Tidier::start(&self.path, rotation)?;
            tidier.request();
            self.tidier = Some(tidier);
        }
        Ok(())
    }

    /// Puts the file aside if it would grow past its size.
    fn make_room(&mut self, more: u64) -> io::Result<()> {
        let (Some(rotation), Some(open)) = (&self.rotation, &self.open) else { return Ok(()) };
        if open.size == 0 || open.size.saturating_add(more) <= rotation.max_size {
            return Ok(());
        }
        put_aside(&self.path, rotation)?;
        self.open = Some(OpenFile::new(&self.path)?);
        if let Some(tidier) = &self.tidier {
            tidier.request();
        }
        Ok(())
    }
}

impl OpenFile {
    fn new(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        // Without it, opening a named pipe waits for a reader.
        let options = options.create(true).append(true).custom_flags(libc::O_NONBLOCK);
        let file = options.open(path)?;
        let metadata = file.metadata()?;
        Ok(Self { file, identity: identity(&metadata), size: metadata.len() })
    }
}

fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn recorder(path: &Path, rotation: Option<RotationSettings>) -> FileRecorder {
        FileRecorder::new(&RecordFile { path: path.to_owned(), separator: "\n".into(), rotation })
    }

    fn record(n: u8) -> Record {
        Record::new(Ipv4Addr::new(10, 0, 0, n).into(), "null".into())
    }

    #[tokio::test]
    async fn a_full_file_is_put_aside_between_records() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("more/records");
        let rotation = RotationSettings {
            max_size: 32,
            max_age: None,
            max_backups: None,
            local_time: false,
            compress: false,
        };
        let recorder = recorder(&path, Some(rotation));
        for n in 0..10 {
            recorder.record(&record(n)).await.unwrap();
        }
        let mut files: Vec<_> =
            fs::read_dir(path.parent().unwrap()).unwrap().map(|it| it.unwrap().path()).collect();
        // The times in the names of those put aside are in order; the one that grows comes last.
        files.sort_by_key(|file| (*file == path, file.clone()));
        let texts: Vec<_> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        assert!(texts.len() == 4 && texts.iter().all(|text| text.len() <= 32), "{texts:?}");
        let expected: String = (0..10).map(|n| format!("10.0.0.{n}\n")).collect();
        assert_eq!(texts.concat(), expected);
    }

    #[tokio::test]
    async fn a_file_that_was_moved_or_removed_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        let recorder = recorder(&path, None);
        fs::write(&path, "before\n").unwrap();
        recorder.record(&record(1)).await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "before\n10.0.0.1\n");
        fs::rename(&path, folder.path().join("moved")).unwrap();
        recorder.record(&record(2)).await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "10.0.0.2\n");
        fs::remove_file(&path).unwrap();
        recorder.record(&record(3)).await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "10.0.0.3\n");
    }

    #[tokio::test]
    async fn what_the_system_refuses_is_an_error_and_no_wait() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [Path::new("/dev/full"), &pipe, Path::new("/proc/none/records")] {
            let error = recorder(path, None).record(&record(1)).await.unwrap_err();
            assert!(matches!(error, PluginError::NotWritten(_)), "{path:?}: {error}");
        }
    }

    #[test]
    fn the_rest_of_a_record_follows_what_was_written_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        let recorder = recorder(&path, None);
        let mut file = recorder.file.lock().unwrap();
        file.write("10.0.0.1").unwrap();
        file.rest = b".2\n".to_vec();
        file.open.as_mut().unwrap().file.write_all(b"10.0.0").unwrap();
        file.write("10.0.0.2").unwrap();
        file.write("10.0.0.3").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "10.0.0.1\n10.0.0.2\n10.0.0.3\n");
    }
}
