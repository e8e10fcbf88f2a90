//! Files of a log or of records that are put aside: their names, which of them stay, and that they are compressed.
//!
//! The names are those of GOST: `rtun-2026-11-28T22-51-37.351.log` for `rtun.log`, with `.gz` after it when compressed.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::mpsc::{SyncSender, sync_channel},
    thread,
};

use flate2::{Compression, write::GzEncoder};
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use rtun_settings::RotationSettings;
use tracing::warn;

const TIME: &str = "%Y-%m-%dT%H-%M-%S%.3f";

/// Names tried for one file before it stays where it is: one for each millisecond.
const TRIES: i64 = 1000;

/// Puts the file at `path` aside.
///
/// # Errors
///
/// The system's; or that names of the whole next second are taken.
pub fn put_aside(path: &Path, settings: &RotationSettings) -> io::Result<()> {
    let now = Timestamp::now();
    for n in 0..TRIES {
        let name = backup_name(path, now + SignedDuration::from_millis(n), settings.local_time);
        if !name.exists() && !compressed(&name).exists() {
            return fs::rename(path, name);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Removes and compresses what was put aside, on a thread of its own, which ends when this is dropped.
pub struct Tidier(SyncSender<()>);

impl Tidier {
    /// For what is put aside of `path`.
    ///
    /// # Errors
    ///
    /// The system gives no thread.
    pub fn start(path: &Path, settings: &RotationSettings) -> io::Result<Self> {
        // One request stands for all that came before it.
        let (sender, requests) = sync_channel(1);
        let (path, settings) = (path.to_owned(), settings.clone());
        thread::Builder::new().name("tidier".into()).spawn(move || {
            while requests.recv().is_ok() {
                if let Err(error) = tidy(&path, &settings, Timestamp::now()) {
                    let path = path.display();
                    warn!(%path, "files that were put aside are not tidied up: {error}");
                }
            }
        })?;
        Ok(Self(sender))
    }

    /// To be called after each file that was put aside.
    pub fn request(&self) {
        let _ = self.0.try_send(());
    }
}

fn tidy(path: &Path, settings: &RotationSettings, now: Timestamp) -> io::Result<()> {
    let mut backups = backups(path, settings.local_time)?;
    backups.sort_by(|one, other| other.cmp(one));
    for (n, (time, backup)) in backups.into_iter().enumerate() {
        let age = now.duration_since(time);
        let is_old = settings
            .max_age
            .is_some_and(|max| SignedDuration::try_from(max).is_ok_and(|max| age > max));
        if is_old || settings.max_backups.is_some_and(|max| n >= max) {
            fs::remove_file(backup)?;
        } else if settings.compress && backup.extension().is_none_or(|it| it != "gz") {
            compress(&backup)?;
        }
    }
    Ok(())
}

/// What was put aside of `path`, each with the time of its name. Files of other names are nobody's business here.
fn backups(path: &Path, local_time: bool) -> io::Result<Vec<(Timestamp, PathBuf)>> {
    let (stem, extension) = parts(path);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder(path))? {
        let entry = entry?;
        let name = entry.file_name();
        let time = name.to_str().and_then(|name| {
            let name = name.strip_suffix(".gz").unwrap_or(name);
            let time = name.strip_prefix(&*stem)?.strip_prefix('-')?.strip_suffix(&*extension)?;
            let time = DateTime::strptime(TIME, time).ok()?;
            let zone = if local_time { TimeZone::system() } else { TimeZone::UTC };
            zone.to_ambiguous_timestamp(time).compatible().ok()
        });
        found.extend(time.map(|time| (time, entry.path())));
    }
    Ok(found)
}

/// Replaces a file by its compressed form. One that is not whole has another name, and is written again.
fn compress(path: &Path) -> io::Result<()> {
    let mut part = compressed(path).into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let mut options = OpenOptions::new();
    let to = options.create(true).write(true).truncate(true).mode(0o600).open(&part)?;
    let mut from = File::open(path)?;
    to.set_permissions(from.metadata()?.permissions())?;
    let mut to = GzEncoder::new(to, Compression::default());
    io::copy(&mut from, &mut to)?;
    to.finish()?;
    fs::rename(&part, compressed(path))?;
    fs::remove_file(path)
}

fn backup_name(path: &Path, at: Timestamp, local_time: bool) -> PathBuf {
    let (stem, extension) = parts(path);
    let zone = if local_time { TimeZone::system() } else { TimeZone::UTC };
    let time = at.to_zoned(zone).strftime(TIME);
    folder(path).join(format!("{stem}-{time}{extension}"))
}

fn compressed(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    name.into()
}

/// The name without its extension, and the extension with its dot.
fn parts(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.map(|it| it.to_string_lossy().into_owned());
    let extension = text(path.extension()).map_or_else(String::new, |it| format!(".{it}"));
    (text(path.file_stem()).unwrap_or_default(), extension)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::{io::Read, time::Duration};

    use flate2::read::GzDecoder;

    use super::*;

    fn settings() -> RotationSettings {
        RotationSettings {
            max_size: 1,
            max_age: None,
            max_backups: None,
            local_time: false,
            compress: false,
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    const DAYS: [&str; 3] =
        ["2026-11-26T10-00-00.000", "2026-11-27T10-00-00.000", "2026-11-28T10-00-00.000"];

    /// Three files that were put aside, and others that are not the log's.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for day in DAYS {
            fs::write(folder.path().join(format!("rtun-{day}.log")), day).unwrap();
        }
        for other in ["rtun-notes.log", "rtun.log", "other-2026-11-26T10-00-00.000.log"] {
            fs::write(folder.path().join(other), other).unwrap();
        }
        folder
    }

    fn tidied(settings: &RotationSettings) -> Vec<String> {
        let folder = folder();
        let now = "2026-11-28T12:00:00Z".parse().unwrap();
        tidy(&folder.path().join("rtun.log"), settings, now).unwrap();
        let others = ["rtun-notes.log", "rtun.log", "other-2026-11-26T10-00-00.000.log"];
        let found = names(folder.path());
        assert!(others.iter().all(|other| found.iter().any(|it| it == other)), "{found:?}");
        found.into_iter().filter(|name| !others.contains(&&**name)).collect()
    }

    #[test]
    fn as_many_as_configured_stay_and_none_that_is_too_old() {
        let all = DAYS.map(|day| format!("rtun-{day}.log"));
        assert_eq!(tidied(&settings()), all);
        let two = RotationSettings { max_backups: Some(2), ..settings() };
        assert_eq!(tidied(&two), all[1..]);
        let day = Duration::from_secs(24 * 60 * 60);
        let young = RotationSettings { max_age: Some(day), ..settings() };
        assert_eq!(tidied(&young), all[2..]);
    }

    #[test]
    fn what_is_compressed_can_be_read_and_counts_as_before() {
        let folder = folder();
        let path = folder.path().join("rtun.log");
        let compressing = RotationSettings { compress: true, max_backups: Some(2), ..settings() };
        let now = "2026-11-28T12:00:00Z".parse().unwrap();
        tidy(&path, &compressing, now).unwrap();
        tidy(&path, &compressing, now).unwrap();
        let found = names(folder.path());
        let packed: Vec<_> = found.iter().filter(|name| name.ends_with(".gz")).collect();
        assert_eq!(packed.len(), 2, "{found:?}");
        assert!(
            !found.iter().any(|name| name.starts_with(&format!("rtun-{}", DAYS[0]))),
            "{found:?}"
        );
        let file = File::open(folder.path().join(packed[1])).unwrap();
        let mut text = String::new();
        GzDecoder::new(file).read_to_string(&mut text).unwrap();
        assert_eq!(text, DAYS[2]);
    }

    #[test]
    fn a_name_that_is_taken_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for n in 0..20 {
            fs::write(&path, n.to_string()).unwrap();
            put_aside(&path, &settings()).unwrap();
        }
        assert_eq!(names(folder.path()).len(), 20);
        assert_eq!(backups(&path, false).unwrap().len(), 20, "they are recognised");
    }
}
