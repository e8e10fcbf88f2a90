//! The innermost cause of an error.

use std::error::Error;

/// The innermost cause. The errors that wrap it say little more than that something failed.
pub(crate) fn innermost_cause(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    innermost.to_string()
}
