//! Addresses of names that are known without asking a name server.

use std::{collections::HashMap, net::IpAddr};

/// One line of a table: an address and the names that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostsLine {
    /// The address.
    pub address: IpAddr,
    /// At least one. A name that begins with a dot stands for the name after it and all below; a dot alone for every name.
    pub names: Vec<String>,
}

/// The addresses of names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostsTable(HashMap<String, Vec<IpAddr>>);

impl HostsTable {
    /// The table of these lines. A name has all the addresses that lines give it, in their order.
    pub fn new(lines: impl IntoIterator<Item = HostsLine>) -> Self {
        let mut table: HashMap<String, Vec<IpAddr>> = HashMap::new();
        for HostsLine { address, names } in lines {
            for name in names {
                let addresses = table.entry(name.to_ascii_lowercase()).or_default();
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        Self(table)
    }

    /// The addresses of `name`, whatever its case; none if the table does not know it. The name itself comes before `.name`, that
    /// before the domains it is in, the nearest first, and those before `.`.
    pub fn lookup(&self, name: &str) -> &[IpAddr] {
        if self.0.is_empty() {
            return &[];
        }
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let whole = [name.clone(), format!(".{name}")];
        let domains = name.match_indices('.').map(|(at, _)| name[at..].to_owned());
        let mut candidates = whole.into_iter().chain(domains).chain([".".to_owned()]);
        candidates.find_map(|candidate| self.0.get(&candidate)).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(lines: &[(&str, &[&str])]) -> HostsTable {
        HostsTable::new(lines.iter().map(|(address, names)| HostsLine {
            address: address.parse().unwrap(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        }))
    }

    fn found(table: &HostsTable, name: &str) -> Vec<String> {
        table.lookup(name).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_nearest_entry_counts() {
        let table = table(&[
            ("10.0.0.1", &["hub.example"]),
            ("10.0.0.2", &[".example"]),
            ("10.0.0.3", &[".eu.example"]),
            ("10.0.0.4", &[".hub.example"]),
        ]);
        for (name, addresses) in [
            ("hub.example", &["10.0.0.1"][..]),
            ("HUB.Example.", &["10.0.0.1"]),
            ("a.hub.example", &["10.0.0.4"]),
            ("a.b.eu.example", &["10.0.0.3"]),
            ("eu.example", &["10.0.0.3"]),
            ("other.example", &["10.0.0.2"]),
            ("example", &["10.0.0.2"]),
            ("example.org", &[]),
            ("hubexample", &[]),
        ] {
            assert_eq!(found(&table, name), addresses, "{name}");
        }
    }

    #[test]
    fn a_name_has_all_its_addresses_once_and_a_dot_is_every_name() {
        let table = table(&[
            ("10.0.0.1", &["hub", "other"]),
            ("fd00::1", &["hub"]),
            ("10.0.0.1", &["HUB"]),
            ("10.0.0.9", &["."]),
        ]);
        assert_eq!(found(&table, "hub"), ["10.0.0.1", "fd00::1"]);
        assert_eq!(found(&table, "anything.at.all"), ["10.0.0.9"]);
        assert_eq!(found(&HostsTable::default(), "hub"), [""; 0]);
    }
}
