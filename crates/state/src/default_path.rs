//! The default path of the state directory.

use std::{ffi::OsString, fs, path::PathBuf};

/// For root.
const SYSTEM: &str = "/var/lib/rtun";

/// The directory for state, from the first of these that is set: `$RTUN_STATE_DIR`, else the first of `$STATE_DIRECTORY`
/// (which systemd sets), else `/var/lib/rtun` for root, else `$XDG_STATE_HOME/rtun`, else `~/.local/state/rtun`. `None`:
/// none of them is set.
pub fn default_path(var: impl Fn(&str) -> Option<OsString>, is_root: bool) -> Option<PathBuf> {
    let set = |name: &str| var(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let systemd = || {
        let all = set("STATE_DIRECTORY")?;
        let first = all.to_str()?.split(':').next().filter(|first| !first.is_empty())?;
        // A unit with `DynamicUser` gets a link that belongs to root.
        Some(fs::canonicalize(first).unwrap_or_else(|_| first.into()))
    };
    let system = || is_root.then(|| PathBuf::from(SYSTEM));
    let user = || set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
    set("RTUN_STATE_DIR").or_else(systemd).or_else(system).or_else(|| Some(user()?.join("rtun")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_sets_the_path() {
        let of = |vars: &[(&str, &str)], is_root| {
            let var = |name: &str| {
                vars.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
            };
            default_path(var, is_root).map(|path| path.display().to_string())
        };
        let all = [
            ("RTUN_STATE_DIR", "/a"),
            ("STATE_DIRECTORY", "/nowhere/b:/nowhere/c"),
            ("XDG_STATE_HOME", "/d"),
            ("HOME", "/e"),
        ];
        let expect = |from: usize, is_root, expected: &str| {
            assert_eq!(of(&all[from..], is_root).as_deref(), Some(expected));
        };
        expect(0, true, "/a");
        expect(1, false, "/nowhere/b");
        expect(2, true, "/var/lib/rtun");
        expect(2, false, "/d/rtun");
        expect(3, false, "/e/.local/state/rtun");
        assert_eq!(of(&[("RTUN_STATE_DIR", "")], false), None);
    }

    #[test]
    fn the_link_of_a_unit_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap().join("private");
        fs::create_dir(&real).unwrap();
        let link = folder.path().join("rtun");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let var = |name: &str| (name == "STATE_DIRECTORY").then(|| link.clone().into_os_string());
        assert_eq!(default_path(var, false), Some(real));
    }
}
