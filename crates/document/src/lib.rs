//! Documents: YAML, JSON and TOML as values that know their positions, and what is found about them.
//!
//! A text is added to a [`report::Report`] and read by [`yaml`], [`json`] or [`toml`] into a [`value::Value`]; findings about a
//! value are reported at its place and under the path of its key.

pub mod duration;
pub mod findings;
pub mod json;
pub mod location;
pub mod print;
pub mod report;
pub mod suggest;
pub mod toml;
pub mod value;
pub mod yaml;
