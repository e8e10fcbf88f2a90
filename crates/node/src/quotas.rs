//! The quotas of a process: services that name the same one share its count, which is saved for the next start.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rtun_control::in_background;
use rtun_core::limit::{QuotaMeter, QuotaTerms, QuotaUse};
use rtun_settings::{Config, VolumeQuota};
use rtun_state::{StateDir, StateError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::counters::NamedMeter;

/// The file in the state directory.
const FILE: &str = "quotas.json";

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// How often windows are opened and closed, and counts saved that are due.
const TICK: Duration = Duration::from_secs(1);

/// All quotas that services use, kept up to date by a task that ends when this is dropped.
pub(crate) struct QuotaBook {
    shared: Arc<Mutex<BTreeMap<String, OpenQuota>>>,
    _task: AbortOnDropHandle<()>,
}

/// The count of a quota cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum QuotaError {
    /// Its file is refused, or the system refuses.
    #[error("quota {name:?}: {source}")]
    Store {
        /// Whose file it is.
        name: String,
        /// Why not.
        source: StateError,
    },
    /// Its file holds something else.
    #[error(
        "quota {name:?}: {} holds no counts of quotas, so it is not overwritten: {why}; move it away, or name another file",
        path.display()
    )]
    Content {
        /// Whose file it is.
        name: String,
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

struct OpenQuota {
    settings: VolumeQuota,
    meter: Arc<QuotaMeter>,
    store: Option<QuotaFile>,
    /// As it was saved last.
    saved: QuotaUse,
    save_at: Instant,
    /// Whether it was reported that the quota is used up.
    reported: bool,
}

/// Where counts are saved.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct QuotaFile {
    directory: PathBuf,
    name: String,
}

/// The count of one quota in a file, as GOST writes it. Times are in nanoseconds since 1970, 0 for none.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct QuotaRecord {
    used: u64,
    #[serde(default)]
    limit: u64,
    #[serde(default)]
    starts_at: i64,
    #[serde(default)]
    expires_at: i64,
    #[serde(default)]
    updated_at: i64,
}

impl QuotaBook {
    /// No quotas yet. The task runs on the runtime that this is called on.
    pub(crate) fn new() -> Self {
        let shared = Arc::<Mutex<BTreeMap<String, OpenQuota>>>::default();
        let task = AbortOnDropHandle::new(tokio::spawn(keep(Arc::clone(&shared))));
        Self { shared, _task: task }
    }

    /// Opens the quotas of `config` that are not open yet, with what was counted before the last end.
    pub(crate) async fn open(
        &self,
        config: &Config,
        state: Option<&Arc<StateDir>>,
    ) -> Result<(), QuotaError> {
        for settings in config.services.iter().flat_map(|service| service.kind.volumes()) {
            let store = QuotaFile::of(settings, state);
            let is_open = |quota: &OpenQuota| quota.store == store;
            if locked(&self.shared).get(&settings.name).is_some_and(is_open) {
                continue;
            }
            let name = settings.name.clone();
            let before = match store.clone() {
                Some(file) => in_background(move || file.usage(&name)).await?,
                None => {
                    warn!(
                        quota = name,
                        "there is no state directory, so this quota counts from 0 at each start"
                    );
                    QuotaUse::default()
                }
            };
            let meter = Arc::new(QuotaMeter::new(settings.terms, before, unix_time()));
            let quota = OpenQuota {
                settings: settings.clone(),
                meter,
                store,
                saved: before,
                save_at: Instant::now() + settings.flush,
                reported: false,
            };
            locked(&self.shared).insert(settings.name.clone(), quota);
        }
        Ok(())
    }

    /// The quotas of these settings, which are open.
    pub(crate) fn meters(&self, volumes: &[VolumeQuota]) -> Vec<NamedMeter> {
        let open = locked(&self.shared);
        let meter = |volume: &VolumeQuota| {
            let quota = open.get(&volume.name)?;
            Some((volume.name.clone(), Arc::clone(&quota.meter)))
        };
        volumes.iter().filter_map(meter).collect()
    }

    /// Puts the terms of `config` in force, and saves and forgets the quotas that it does not use.
    pub(crate) async fn commit(&self, config: &Config) {
        let volumes: BTreeMap<&str, &VolumeQuota> = config
            .services
            .iter()
            .flat_map(|service| service.kind.volumes())
            .map(|volume| (&*volume.name, volume))
            .collect();
        let gone: Vec<OpenQuota> = {
            let mut open = locked(&self.shared);
            for quota in open.values_mut() {
                let Some(volume) = volumes.get(&*quota.settings.name) else { continue };
                if quota.settings != **volume {
                    quota.settings = (*volume).clone();
                    quota.meter.set_terms(volume.terms, unix_time());
                }
            }
            let is_gone = |name: &&String| !volumes.contains_key(&***name);
            let names: Vec<String> = open.keys().filter(is_gone).cloned().collect();
            names.iter().filter_map(|name| open.remove(name)).collect()
        };
        save(gone.iter().filter_map(OpenQuota::record).collect()).await;
    }

    /// Sets what the quota `name` has counted, and saves it; whether some service uses it.
    pub(crate) async fn reset(&self, name: &str, used: u64) -> bool {
        let record = {
            let mut open = locked(&self.shared);
            let Some(quota) = open.get_mut(name) else { return false };
            quota.meter.reset(used, unix_time());
            quota.saved = quota.meter.usage();
            quota.record()
        };
        save(record.into_iter().collect()).await;
        true
    }

    /// Saves every count.
    pub(crate) async fn save_all(&self) {
        let records = locked(&self.shared).values().filter_map(OpenQuota::record).collect();
        save(records).await;
    }
}

impl OpenQuota {
    fn record(&self) -> Option<(QuotaFile, String, QuotaRecord)> {
        let store = self.store.clone()?;
        let QuotaTerms { limit, starts, expires, .. } = self.meter.terms();
        let record = QuotaRecord {
            used: self.meter.used(),
            limit,
            starts_at: nanos(starts),
            expires_at: nanos(expires),
            updated_at: nanos(Some(unix_time())),
        };
        Some((store, self.settings.name.clone(), record))
    }

    /// Opens and closes its window; whether it is to be saved now.
    fn tick(&mut self) -> bool {
        self.meter.tick(unix_time());
        let is_exceeded = self.meter.is_exceeded();
        if is_exceeded != self.reported {
            self.reported = is_exceeded;
            let (quota, used) = (&self.settings.name, self.meter.used());
            match is_exceeded {
                true => warn!(
                    quota,
                    used,
                    limit = self.settings.terms.limit,
                    "the quota is used up, so nothing passes"
                ),
                false => info!(quota, used, "the quota lets packets pass again"),
            }
        }
        let usage = self.meter.usage();
        let is_due = Instant::now() >= self.save_at && usage != self.saved;
        if is_due {
            self.saved = usage;
            self.save_at = Instant::now() + self.settings.flush;
        }
        is_due
    }
}

async fn keep(shared: Arc<Mutex<BTreeMap<String, OpenQuota>>>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let due = {
            let mut open = locked(&shared);
            let due = open.values_mut().filter_map(|quota| quota.tick().then(|| quota.record())?);
            due.collect()
        };
        save(due).await;
    }
}

/// Writes each file once. What cannot be saved is tried again when the count has changed.
async fn save(records: Vec<(QuotaFile, String, QuotaRecord)>) {
    if records.is_empty() {
        return;
    }
    in_background(move || {
        let mut files = BTreeMap::<QuotaFile, Vec<(String, QuotaRecord)>>::new();
        for (file, name, record) in records {
            files.entry(file).or_default().push((name, record));
        }
        for (file, records) in files {
            let quotas: Vec<_> = records.iter().map(|(name, _)| name.clone()).collect();
            if let Err(error) = file.write(records) {
                warn!(
                    quotas = quotas.join(" "),
                    "what these quotas have counted cannot be saved: {error}"
                );
            }
        }
    })
    .await;
}

impl QuotaFile {
    fn of(settings: &VolumeQuota, state: Option<&Arc<StateDir>>) -> Option<Self> {
        let Some(path) = &settings.file else {
            return state.map(|state| Self { directory: state.path().into(), name: FILE.into() });
        };
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Some(Self { directory: directory.unwrap_or(Path::new(".")).into(), name })
    }

    /// What the file says of the quota `name`.
    fn usage(&self, name: &str) -> Result<QuotaUse, QuotaError> {
        let records =
            self.read().map_err(|source| QuotaError::Store { name: name.into(), source })?;
        let wrong = |why: serde_json::Error| QuotaError::Content {
            name: name.into(),
            path: self.directory.join(&self.name),
            why: why.to_string(),
        };
        let Some(record) = records.map_err(wrong)?.remove(name) else {
            return Ok(QuotaUse::default());
        };
        let record: QuotaRecord = serde_json::from_value(record).map_err(wrong)?;
        let (starts, expires) = (seconds(record.starts_at), seconds(record.expires_at));
        Ok(QuotaUse { used: record.used, starts, expires })
    }

    fn read(&self) -> Result<serde_json::Result<Map<String, Value>>, StateError> {
        let content = StateDir::existing(&self.directory)?.read(&self.name, MAX_FILE)?;
        Ok(content.map_or(Ok(Map::new()), |content| serde_json::from_slice(&content)))
    }

    /// Replaces these records; the others stay.
    fn write(&self, records: Vec<(String, QuotaRecord)>) -> io::Result<()> {
        let mut all = self.read().map_err(io::Error::other)??;
        for (name, record) in records {
            all.insert(name, serde_json::to_value(record)?);
        }
        let mut content = serde_json::to_vec_pretty(&all)?;
        content.push(b'\n');
        let directory = StateDir::existing(&self.directory).map_err(io::Error::other)?;
        directory.write(&self.name, &[&content], 0o644).map_err(io::Error::other)
    }
}

fn nanos(seconds: Option<u64>) -> i64 {
    let nanos = seconds.unwrap_or(0).saturating_mul(1_000_000_000);
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

fn seconds(nanos: i64) -> Option<u64> {
    u64::try_from(nanos).ok().filter(|nanos| *nanos > 0).map(|nanos| nanos / 1_000_000_000)
}

/// In seconds.
fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// A poisoned lock still guards whole quotas: they are only added, removed and replaced.
fn locked(
    shared: &Mutex<BTreeMap<String, OpenQuota>>,
) -> MutexGuard<'_, BTreeMap<String, OpenQuota>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
