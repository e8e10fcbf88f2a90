//! GOST's configuration files and command lines, checked and turned into rtun's own types.
//!
//! Nothing is opened here: a [`source::Reader`] reads what [`cli::Args`] name, [`load()`] merges it into one
//! document, checks every key of it, and turns it into a [`Config`](rtun_settings::Config). Whatever is to be said is a
//! [`findings::Finding`] with its place. A configuration with an error has no model.

mod address;
mod check;
pub mod cli;
mod coerce;
mod emit;
mod environment;
mod load;
mod login_files;
mod normalise;
pub mod schema;
mod scope;
pub mod source;
mod url;
mod value;

pub use rtun_document::{duration, findings};
use rtun_document::{json, location, print, report, suggest, toml, yaml};

pub use environment::{Environment, Variable};
pub use load::{Document, Outcome, cli_url, config_yaml, load, load_text};
pub use scope::{ServiceFate, ServiceSummary};
