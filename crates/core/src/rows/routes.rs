//! Routing tables: a prefix and a gateway on each line.

use std::collections::HashMap;

use super::{
    Parsed, TooManyRows,
    bad_lines::{Flaw, LineError},
    before_comment, parse, words,
};
use crate::{HostName, HostNameError, Route, parse_prefix, unmapped};

/// Reads a routing table as GOST does: each line has a prefix or address and a gateway; further words are ignored, and
/// `#` begins a comment anywhere. Equal gateways share their memory.
pub fn parse_routes(text: &str, max_rows: usize) -> Result<Parsed<Route>, TooManyRows> {
    let mut names = SharedNames::default();
    parse(text, max_rows, before_comment, |line| {
        let mut words = words(line);
        let prefix = words.next().unwrap_or_default();
        let net = parse_prefix(prefix).ok_or(Flaw::new(prefix, LineError::Prefix))?;
        let gateway = words.next().ok_or(Flaw::new(prefix, LineError::NoGateway))?;
        let name =
            names.intern(gateway).map_err(|error| Flaw::new(gateway, LineError::Gateway(error)))?;
        Ok(Route::new(unmapped(net), name))
    })
}

/// Host names, each allocated once.
#[derive(Default)]
struct SharedNames<'a> {
    known: HashMap<&'a str, HostName>,
    /// Neighbouring rows often have the same gateway.
    last: Option<HostName>,
}

impl<'a> SharedNames<'a> {
    fn intern(&mut self, text: &'a str) -> Result<HostName, HostNameError> {
        if let Some(last) = self.last.as_ref().filter(|last| last.as_str() == text) {
            return Ok(last.clone());
        }
        let name = match self.known.get(text) {
            Some(name) => name.clone(),
            None => {
                let name = HostName::new(text)?;
                self.known.insert(text, name.clone());
                name
            }
        };
        self.last = Some(name.clone());
        Ok(name)
    }
}
