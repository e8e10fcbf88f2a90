//! What an error comes from.

use std::error::Error;

/// The cause behind all causes: what wraps it says little more than that something failed.
pub(crate) fn innermost_cause(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    innermost.to_string()
}
