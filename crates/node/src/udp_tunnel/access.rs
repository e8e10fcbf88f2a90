//! Who may send to a server, or connect to a relay, at all, by where it comes from.

use std::net::IpAddr;

use rtun_core::AddressList;
use rtun_settings::{AdmissionSettings, Matcher};

/// Whether each list admits the outer address.
pub(super) fn admits(admissions: &[AddressList], outer: IpAddr) -> bool {
    admissions.iter().all(|list| list.admits(outer))
}

/// The lists of a configuration: of a UDP tunnel's only addresses count.
pub(super) fn admissions(settings: &[AdmissionSettings]) -> Vec<AddressList> {
    let list = |admission: &AdmissionSettings| {
        let prefixes = admission.matchers.inline().filter_map(|matcher| match matcher {
            Matcher::Prefix(prefix) => Some(*prefix),
            Matcher::Name(_) => None,
        });
        AddressList::new(prefixes, admission.whitelist)
    };
    settings.iter().map(list).collect()
}
