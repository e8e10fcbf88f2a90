//! Tables of names: an address and its names on each line, as in `/etc/hosts`.

use super::{
    Parsed, TooManyRows,
    bad_lines::{Flaw, LineError},
    before_comment, parse, words,
};
use crate::HostsLine;

/// Reads a table of names as GOST does: each line has an address and at least one name; `#` begins a comment anywhere.
pub fn parse_hosts(text: &str, max_rows: usize) -> Result<Parsed<HostsLine>, TooManyRows> {
    parse(text, max_rows, before_comment, |line| {
        let mut words = words(line);
        let address = words.next().unwrap_or_default();
        let parsed = address.parse().map_err(|_| Flaw::new(address, LineError::Address))?;
        let names: Vec<String> = words.map(str::to_owned).collect();
        if names.is_empty() {
            return Err(Flaw::new(address, LineError::NoName));
        }
        Ok(HostsLine { address: parsed, names })
    })
}
