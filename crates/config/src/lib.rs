//! GOST's configuration files and command lines, checked and turned into rtun's own types.
//!
//! Nothing is opened here: a [`source::Reader`] reads what [`cli::Args`] name, [`load()`] merges it into one
//! document, checks every key of it, and turns it into a [`Config`](rtun_settings::Config). Whatever is to be said is a
//! [`findings::Finding`] with its place. A configuration with an error has no model.

mod address;
mod check;
pub mod cli;
mod coerce;
pub mod duration;
mod emit;
mod environment;
pub mod findings;
mod json;
mod load;
mod location;
mod login_files;
mod normalise;
mod report;
pub mod schema;
mod scope;
pub mod source;
mod suggest;
mod toml;
mod url;
mod value;
mod yaml;

pub use environment::{Environment, Variable};
pub use load::{Document, Outcome, cli_url, config_yaml, load, load_text};
pub use scope::{ServiceFate, ServiceSummary};
