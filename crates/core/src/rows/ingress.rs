//! Rules of an ingress: a host name and a namespace on each line.

use super::{
    Parsed, TooManyRows,
    bad_lines::{Flaw, LineError},
    before_comment, parse, words,
};
use crate::{IngressRule, NamespaceId};

/// Reads the rules of an ingress as GOST does: each line has a host name, or `*.domain`, and a namespace's UUID; further
/// words are ignored, and `#` begins a comment anywhere.
pub fn parse_rules(text: &str, max_rows: usize) -> Result<Parsed<IngressRule>, TooManyRows> {
    parse(text, max_rows, before_comment, |line| {
        let mut words = words(line);
        let host = words.next().unwrap_or_default();
        let endpoint = words.next().ok_or(Flaw::new(host, LineError::NoEndpoint))?;
        let namespace: NamespaceId =
            endpoint.parse().map_err(|error| Flaw::new(endpoint, LineError::Endpoint(error)))?;
        if namespace.is_default() {
            return Err(Flaw::new(endpoint, LineError::ZeroEndpoint));
        }
        let pattern = IngressRule::pattern(host)
            .map_err(|error| Flaw::new(host, LineError::Pattern(error)))?;
        Ok(IngressRule { pattern: pattern.to_owned(), namespace })
    })
}
