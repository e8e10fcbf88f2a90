//! Files and servers that the nodes of hops are in: what they say comes after the nodes that stand in the hop itself.

use std::{path::PathBuf, sync::Arc};

use rtun_settings::SourceSettings;

use crate::{
    findings::Profile,
    json,
    location::Position,
    login_files::find,
    normalise::sources,
    report::{At, Report},
    schema::{chain, connector, hop, login, node, probe, root, sources_from},
    source::{NodeSource, ReadError, Reader},
    value::{Cursor, Data, Member, Value, same_key},
    yaml,
};

/// The longest text of nodes, in bytes.
pub const MAX_NODES_TEXT: usize = 1 << 20;

/// Most nodes of one source.
const MAX_NODES: usize = 256;

/// The sources of nodes in a document, each asked once.
#[derive(Default)]
pub(crate) struct HopNodes(Vec<AskedSource>);

/// What a source says, and which of it counts.
struct AskedSource {
    source: NodeSource,
    label: String,
    /// The text that counts comes first.
    texts: Vec<Arc<str>>,
    /// Why a better one does not.
    problem: Option<ReadError>,
}

impl HopNodes {
    /// A copy of the document at `root` with the nodes of all sources; `None` if no source has one.
    pub(crate) fn join(&mut self, root: &Cursor<'_>, reader: &mut dyn Reader) -> Option<Value> {
        let in_chains =
            root.items_of(&root::CHAINS).into_iter().flat_map(|at| at.items_of(&chain::HOPS));
        let mut found = Vec::new();
        let hops = in_chains.chain(root.items_of(&root::HOPS));
        for hop in hops.filter(|hop| hop.filled(&hop::PLUGIN).is_none()) {
            let (sources, reload) = sources::read(&hop, &sources::HOP);
            let name = hop.read(&hop::NAME).unwrap_or_else(|| hop.path.clone());
            for settings in sources {
                let at = match settings {
                    SourceSettings::File(_) => hop.place_of(&sources_from::FILE),
                    SourceSettings::Redis(_) => hop.place_of(&sources_from::REDIS),
                    SourceSettings::Http(_) => hop.place_of(&sources_from::HTTP),
                };
                let source = NodeSource { hop: name.clone(), settings, reload };
                let nodes = self.asked(source, reader).nodes(&at);
                found.push((hop.path.clone(), nodes));
            }
        }
        found.retain(|(_, nodes)| !nodes.is_empty());
        if found.is_empty() {
            return None;
        }
        let mut document = root.value.clone();
        for (path, nodes) in found {
            if let Some(hop) = find(&mut document, &path) {
                extend(hop, nodes);
            }
        }
        Some(document)
    }

    fn asked(&mut self, source: NodeSource, reader: &mut dyn Reader) -> &mut AskedSource {
        let known = self.0.iter().position(|it| it.source.settings == source.settings);
        let index = known.unwrap_or_else(|| {
            self.0.push(AskedSource::ask(source, reader));
            self.0.len() - 1
        });
        &mut self.0[index]
    }

    /// Leaves out the texts that `report` has an error in; whether there are any.
    pub(crate) fn leave_out_wrong(&mut self, report: &Report) -> bool {
        let mut any = false;
        for it in self.0.iter_mut().filter(|it| !it.texts.is_empty()) {
            let Some((line, message)) = report.error_in(&it.label) else { continue };
            it.texts.remove(0);
            let problem = ReadError::Other(format!("line {line}: {message}"));
            it.problem.get_or_insert(problem);
            any = true;
        }
        any
    }

    /// Informs `reader` of the texts that are used, and of those that are not.
    pub(crate) fn used(&self, reader: &mut dyn Reader) {
        for it in &self.0 {
            if let Some(text) = it.texts.first() {
                reader.nodes_used(&it.source, text);
            }
            if let Some(problem) = &it.problem {
                reader.nodes_left_out(&it.source, problem);
            }
        }
    }

    /// Those of the sources that are files.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let path = |it: &AskedSource| match &it.source.settings {
            SourceSettings::File(path) => Some(path.clone()),
            SourceSettings::Redis(_) | SourceSettings::Http(_) => None,
        };
        self.0.iter().filter_map(path).collect()
    }
}

impl AskedSource {
    fn ask(source: NodeSource, reader: &mut dyn Reader) -> Self {
        let said = reader.nodes(&source);
        let mut problem = None;
        let mut texts = Vec::new();
        match said.now {
            Err(error) => problem = Some(error),
            Ok(text) => match node_lines(&text) {
                Ok(_) => texts.push(text),
                Err(line) => {
                    let message = format!("line {line}: it is no list of nodes, in JSON or YAML");
                    problem = Some(ReadError::Other(message));
                }
            },
        }
        texts.extend(said.before.filter(|text| texts.first() != Some(text)));
        let label = source.settings.label();
        Self { source, label, texts, problem }
    }

    /// The nodes that count; what does not is said of `at`.
    fn nodes(&self, at: &At<'_>) -> Vec<Value> {
        let Self { source, label, texts, problem } = self;
        match problem {
            None | Some(ReadError::NotAsked) => {}
            Some(problem) => {
                let help = match texts.is_empty() {
                    true => "the other nodes of the hop count until it does",
                    false => "the nodes that it gave before count until it does",
                };
                at.warning(format!("{label} gives no nodes: {problem}")).help(help);
            }
        }
        let Some(text) = texts.first() else { return Vec::new() };
        let number = at.report.add_text(label, text);
        let nodes = list(text, number, at.report).unwrap_or_default();
        if !matches!(source.settings, SourceSettings::File(_)) {
            nodes.iter().for_each(|node| check_origin(&Cursor::root(node, at.report)));
        }
        nodes
    }
}

/// Nobody on the network has this machine run commands, or read its files.
pub(crate) fn check_origin(node: &Cursor<'_>) {
    let help = "write the node into the configuration, or into a file of nodes";
    let probe = node.get(&node::PROBE);
    let kind = probe.and_then(|probe| probe.get(&probe::TYPE));
    if let Some(kind) = kind.filter(|kind| kind.read().as_deref() == Some("cmd")) {
        kind.error("a node from redis, a URL or a plugin may not run a command").help(help);
    }
    let auth = node.get(&node::CONNECTOR).and_then(|at| at.get(&connector::AUTH));
    if let Some(file) = auth.and_then(|auth| auth.filled(&login::FILE)) {
        file.error("a node from redis, a URL or a plugin may not name a file with a login")
            .help(help);
    }
}

/// The lines that the nodes of a text begin in, or the line where it is no list of at least one node, in JSON or YAML.
pub fn node_lines(text: &str) -> Result<Vec<u32>, u32> {
    if text.len() > MAX_NODES_TEXT {
        return Err(1);
    }
    let report = Report::new(Profile::Compat);
    let number = report.add_text("nodes", text);
    let nodes = list(text, number, &report);
    let line = report.error_in("nodes").map_or(1, |(line, _)| line);
    let nodes = nodes.filter(|nodes| !nodes.is_empty() && nodes.len() <= MAX_NODES).ok_or(line)?;
    let is_map = |node: &Value| matches!(node.data, Data::Map(_));
    match nodes.iter().find(|node| !is_map(node)) {
        Some(other) => Err(other.place.line),
        None => Ok(nodes.iter().map(|node| node.place.line).collect()),
    }
}

/// The items of the list in `text`; `None` if it is none, which is reported where it is neither JSON nor YAML.
fn list(text: &str, number: u32, report: &Report) -> Option<Vec<Value>> {
    let scratch = Report::new(Profile::Compat);
    let value = match json::read(text, number, &scratch) {
        Some(value) if !scratch.failed() => value,
        _ => yaml::read(text, number, report)?,
    };
    match value.data {
        Data::List(nodes) => Some(nodes),
        _ => None,
    }
}

fn extend(hop: &mut Value, nodes: Vec<Value>) {
    let place = hop.place;
    let Data::Map(members) = &mut hop.data else { return };
    let key = hop::NODES.name();
    match members.iter_mut().find(|member| same_key(&member.key, key)) {
        Some(Member { value, .. }) if !value.is_unset() => {
            let own = std::mem::replace(value, Value::new(Position::NOWHERE, Data::Null));
            let place = own.place;
            *value = Value::list([own.into_items(), nodes].concat(), place);
        }
        Some(member) => member.value = Value::list(nodes, place),
        None => {
            let value = Value::list(nodes, place);
            members.push(Member { key: key.to_owned(), place, value });
        }
    }
}
