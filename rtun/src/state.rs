//! Where rtun keeps what its sources have said, so that it starts while they are down.

use std::{env, path::PathBuf, sync::Arc};

use nix::unistd::Uid;
use rtun_config::model::{Config, ServiceKind};
use rtun_node::SnapshotDir;
use tracing::warn;

/// The directory for snapshots, made if there is anything to keep in it. Without one rtun runs all the same.
pub(crate) fn snapshots(config: &Config) -> Option<Arc<SnapshotDir>> {
    if !config.services.iter().any(|service| has_sources(&service.kind)) {
        return None;
    }
    let Some(directory) = directory() else {
        warn!("nothing is kept of what sources say: neither RTUN_STATE_DIR nor HOME is set");
        return None;
    };
    match SnapshotDir::new(&directory) {
        Ok(snapshots) => Some(Arc::new(snapshots)),
        Err(error) => {
            let directory = directory.display();
            warn!(%directory, "nothing is kept of what sources say: {error}");
            None
        }
    }
}

/// `RTUN_STATE_DIR`, what systemd gives the unit, or the usual place for such things.
fn directory() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let systemd = || {
        let all = env::var("STATE_DIRECTORY").ok()?;
        all.split(':').next().filter(|first| !first.is_empty()).map(PathBuf::from)
    };
    let system = || Uid::effective().is_root().then(|| PathBuf::from("/var/lib/rtun"));
    let user = || set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
    set("RTUN_STATE_DIR").or_else(systemd).or_else(system).or_else(|| Some(user()?.join("rtun")))
}

fn has_sources(kind: &ServiceKind) -> bool {
    matches!(kind, ServiceKind::Hub(hub) if hub.rules.sources().next().is_some())
}
