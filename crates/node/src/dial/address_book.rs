//! The last addresses of names, kept in the state directory, so that a host finds its hub after a start without name servers.

use std::{fmt::Write as _, net::IpAddr, sync::Arc};

use rtun_settings::LookedUpName;
use rtun_state::StateDir;
use rtun_transport::names::{Memory, Names};
use tracing::debug;

use super::lookups::{NameTables, with_lookups};

/// Longer names, in bytes, have no file.
const NAME_MAX: usize = 128;

/// The most bytes of a file; all addresses that are kept fit.
const FILE_MAX: u64 = 1024;

/// The same, of which some names are looked up in their own way.
pub(crate) fn names_of(
    state: Option<&Arc<StateDir>>,
    lookups: &[LookedUpName],
    tables: &NameTables,
) -> Arc<Names> {
    Arc::new(with_lookups(names(state), lookups, tables))
}

/// A resolver that keeps the addresses of names in `state`, if there is such a directory.
pub(crate) fn names(state: Option<&Arc<StateDir>>) -> Names {
    match state {
        Some(state) => Names::default().remembering(Arc::new(AddressBook(Arc::clone(state)))),
        None => Names::default(),
    }
}

/// One file per name, with one address per line. Files of names that are not configured any more stay.
struct AddressBook(Arc<StateDir>);

/// The file for `name`, if it can have one.
fn file(name: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let fits = name.len() <= NAME_MAX && name.bytes().all(plain) && name != "localhost";
    fits.then(|| format!("addresses-{}", name.to_ascii_lowercase()))
}

impl Memory for AddressBook {
    fn recall(&self, name: &str) -> Vec<IpAddr> {
        let Some(file) = file(name) else { return Vec::new() };
        let content = self.0.read(&file, FILE_MAX).unwrap_or_else(|error| {
            debug!("cannot read the last addresses of {name}: {error}");
            None
        });
        let text = String::from_utf8(content.unwrap_or_default()).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    fn keep(&self, name: &str, addresses: &[IpAddr]) {
        let Some(file) = file(name) else { return };
        let mut text = String::new();
        for address in addresses {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{address}");
        }
        if let Err(error) = self.0.write(&file, &[text.as_bytes()], 0o600) {
            debug!("cannot keep the addresses of {name}: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_there_after_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let book = || AddressBook(Arc::new(StateDir::open(folder.path().join("state")).unwrap()));
        assert!(book().recall("hub.example").is_empty());
        let addresses = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse::<IpAddr>().unwrap());
        book().keep("hub.example", &addresses);
        assert_eq!(book().recall("HUB.example"), addresses);
        book().keep("../hub", &addresses);
        assert!(book().recall("../hub").is_empty());
    }
}
