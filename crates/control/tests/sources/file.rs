//! A file.

use std::{
    ffi::CString,
    fs::{self, File},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    time::Duration,
};

use rtun_control::{FileSource, Loaded, MAX_TEXT, Source, SourceError};

use crate::battery::{Act, Stage, TEXT, battery};

struct OnDisk {
    directory: PathBuf,
    path: PathBuf,
    source: FileSource,
}

impl OnDisk {
    fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("rtun-sources-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let path = directory.join("table");
        Self { source: FileSource::new(&path), path, directory }
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Stage for OnDisk {
    fn source(&self) -> &dyn Source {
        &self.source
    }

    fn play(&mut self, act: Act) -> bool {
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_dir(&self.path);
        match act {
            Act::Right => fs::write(&self.path, TEXT).unwrap(),
            Act::Refuse => fs::create_dir(&self.path).unwrap(),
            Act::Empty => fs::write(&self.path, "").unwrap(),
            Act::TooLarge => {
                File::create(&self.path).unwrap().set_len(MAX_TEXT as u64 + 1).unwrap();
            }
            Act::NotUtf8 => fs::write(&self.path, b"10.0.0.0/8 \xff").unwrap(),
            Act::Gone => {}
            Act::Slow | Act::Hang | Act::CutShort => return false,
        }
        true
    }
}

#[tokio::test]
async fn a_file_passes_the_battery() {
    assert_eq!(battery(&mut OnDisk::new(), Duration::from_secs(5)).await, 6);
}

#[tokio::test]
async fn a_named_pipe_is_refused_and_not_waited_for() {
    let path = std::env::temp_dir().join(format!("rtun-sources-pipe-{}", std::process::id()));
    let name = CString::new(path.as_os_str().as_bytes()).unwrap();
    nix::unistd::mkfifo(name.as_c_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let result = FileSource::new(&path).load().await;
    fs::remove_file(&path).unwrap();
    assert_eq!(result.unwrap_err().to_string(), "cannot be read: not a regular file");
}

#[tokio::test]
async fn a_file_with_more_than_is_allowed_is_refused() {
    let path = std::env::temp_dir().join(format!("rtun-sources-bound-{}", std::process::id()));
    fs::write(&path, "0123456789").unwrap();
    let at_most = |max_bytes| FileSource::new(&path).at_most(max_bytes);
    assert_eq!(at_most(9).load().await, Err(SourceError::TooLarge(9)));
    assert_eq!(at_most(10).load().await, Ok(Loaded::Text("0123456789".into())));
    fs::remove_file(&path).unwrap();
}
