//! Lists of the configuration that decide about clients: they are in the configuration itself.

use std::net::IpAddr;

use rtun_core::AddressList;
use rtun_settings::{AdmissionSettings, Matcher, Named, Provider};

/// From where clients may come.
pub(super) fn address_lists(admissions: &[AdmissionSettings]) -> Vec<AddressList> {
    let list = |admission: &AdmissionSettings| {
        let prefixes = inline(&admission.matchers).filter_map(|matcher| match matcher {
            Matcher::Prefix(prefix) => Some(*prefix),
            Matcher::Name(_) => None,
        });
        AddressList::new(prefixes, admission.whitelist)
    };
    admissions.iter().map(list).collect()
}

/// Whether each list admits the address.
pub(super) fn admits(lists: &[AddressList], address: IpAddr) -> bool {
    lists.iter().all(|list| list.admits(address))
}

/// The rows that are in the configuration.
pub(super) fn inline<T>(list: &Named<T>) -> impl Iterator<Item = &T> {
    let rows = match &list.provider {
        Provider::Rows(rows) => &rows.inline[..],
        Provider::Plugin(_) => &[],
    };
    rows.iter().map(|row| &row.value)
}
