//! No core dumps: a crashed process would leave its passwords and keys in a file.

use nix::{
    errno::Errno,
    sys::{
        prctl,
        resource::{Resource, setrlimit},
    },
};

/// Set to anything, a crash leaves a core dump as the system is set up to.
pub(crate) const ALLOWED: &str = "RTUN_CORE_DUMPS";

/// Has the system write no dump of this process, nor let other processes of its user look into its memory, unless
/// [`ALLOWED`] is set.
pub(crate) fn prevent() -> Result<(), Errno> {
    if std::env::var_os(ALLOWED).is_some_and(|value| !value.is_empty()) {
        return Ok(());
    }
    // Where a program takes dumps, the limit does not count.
    prctl::set_dumpable(false)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
}
