//! GOST's configuration files and command lines, checked and turned into rtun's own types.
//!
//! Nothing is opened here: a [`source::Reader`] reads what [`cli::Args`] name, [`load()`] merges it into one
//! document, checks every key of it, and turns it into a [`Config`](rtun_settings::Config). Whatever is to be said is a
//! [`findings::Finding`] with its place. A configuration with an error has no model.

mod address;
mod answered_node;
mod check;
pub mod cli;
mod coerce;
mod edit;
mod emit;
mod environment;
mod hop_sources;
mod load;
mod login_files;
mod normalise;
mod parts;
mod rewrite;
pub mod schema;
mod scope;
mod shown;
pub mod source;
mod url;
mod value;

pub use rtun_document::{duration, findings};
use rtun_document::{json, location, print, report, suggest, toml, yaml};

pub use answered_node::{AnsweredNode, answered_hub, answered_proxy};
pub use edit::{ChangeAction, EditError, GROUPS, ObjectChange, known_group};
pub use environment::{Environment, Variable};
pub use hop_sources::{MAX_NODES_TEXT, node_lines};
pub use load::{Document, Outcome, cli_url, config_yaml, load, load_parts, load_text};
pub use parts::ConfigParts;
pub use rewrite::{FileRewrite, RewriteError};
pub use scope::{ServiceFate, ServiceSummary};
pub use shown::StatusOf;
