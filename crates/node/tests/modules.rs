//! Which module of the crate may use which.
//!
//! docs/architecture.md says what each module is for. A new arrow is a decision: it is added here on purpose.

#![expect(clippy::unwrap_used, reason = "a test that cannot read the sources has failed")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Every top module, and those it may use.
const ALLOWED: [(&str, &[&str]); 21] = [
    ("json", &[]),
    ("node_sources", &[]),
    ("counters", &["json"]),
    ("runtime", &["counters", "json"]),
    ("hooks", &["runtime"]),
    ("feeds", &["runtime"]),
    ("quotas", &["counters"]),
    ("limiters", &["counters", "feeds", "quotas", "runtime"]),
    ("observers", &["runtime"]),
    ("recorders", &["runtime"]),
    ("link", &["counters", "runtime"]),
    ("report", &["counters", "json", "runtime"]),
    ("inbound", &["counters", "link", "recorders", "report", "runtime"]),
    ("dial", &["feeds", "hooks", "report", "runtime"]),
    (
        "hub",
        &[
            "counters",
            "feeds",
            "hooks",
            "inbound",
            "limiters",
            "link",
            "observers",
            "recorders",
            "report",
            "runtime",
        ],
    ),
    ("device", &["hooks", "report"]),
    (
        "host",
        &["counters", "device", "dial", "feeds", "hooks", "limiters", "link", "report", "runtime"],
    ),
    (
        "udp_tunnel",
        &[
            "counters",
            "device",
            "dial",
            "feeds",
            "hooks",
            "inbound",
            "limiters",
            "link",
            "recorders",
            "report",
            "runtime",
        ],
    ),
    (
        "operations",
        &[
            "counters",
            "feeds",
            "host",
            "hub",
            "json",
            "node_sources",
            "observers",
            "recorders",
            "report",
            "runtime",
            "udp_tunnel",
        ],
    ),
    (
        "node",
        &[
            "feeds",
            "hooks",
            "host",
            "hub",
            "limiters",
            "observers",
            "operations",
            "quotas",
            "recorders",
            "runtime",
            "udp_tunnel",
        ],
    ),
    (
        "lib",
        &[
            "counters",
            "device",
            "dial",
            "feeds",
            "hooks",
            "host",
            "hub",
            "inbound",
            "node",
            "node_sources",
            "observers",
            "operations",
            "quotas",
            "recorders",
            "report",
            "runtime",
            "udp_tunnel",
        ],
    ),
];

/// A file's path without its ending, as a module: `hub::forward`.
type Module = String;

#[test]
fn modules_use_each_other_in_the_agreed_directions() {
    let mut wrong = Vec::new();
    for (module, uses) in uses(Path::new("src")) {
        let from = top(&module);
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == from) else {
            panic!("{module}: which modules may {from} use?");
        };
        let others = uses.iter().filter(|used| top(used) != from);
        let others = others.filter(|used| !allowed.contains(&top(used)));
        wrong.extend(others.map(|used| format!("{module} uses {used}")));
    }
    assert_eq!(wrong, [""; 0]);
}

fn top(module: &str) -> &str {
    module.split("::").next().unwrap_or(module)
}

/// Each file of the crate without its tests, and the files that it names.
fn uses(src: &Path) -> BTreeMap<Module, BTreeSet<Module>> {
    let mut texts = BTreeMap::new();
    read(src, "", &mut texts);
    let modules: BTreeSet<Module> = texts.keys().cloned().collect();
    let uses = texts.into_iter().map(|(module, text)| {
        let used = paths(&text).into_iter().filter_map(|path| resolve(&module, &path, &modules));
        let used = used.filter(|used| *used != module).collect();
        (module, used)
    });
    uses.collect()
}

fn read(folder: &Path, prefix: &str, texts: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if path.is_dir() {
            read(&path, &format!("{prefix}{name}::"), texts);
        } else if name != "tests" {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            let code: String = lines.flat_map(|line| [line.trim(), " "]).collect();
            texts.insert(format!("{prefix}{name}"), code);
        }
    }
}

/// The paths of all `use` statements, and those that are written out where they are used.
fn paths(code: &str) -> Vec<String> {
    let code = code.replace("pub(in crate::", "pub(in ");
    let mut found = Vec::new();
    for statement in code.split("use ").skip(1) {
        flatten("", statement.split(';').next().unwrap(), &mut found);
    }
    let named = code.match_indices("crate::").map(|(start, _)| {
        let rest = &code[start..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_:".contains(c)));
        rest[..end.unwrap_or(rest.len())].trim_end_matches(':').to_owned()
    });
    found.extend(named);
    found
}

/// `a::{b, c::d}` as `a::b` and `a::c::d`.
fn flatten(prefix: &str, tree: &str, found: &mut Vec<String>) {
    let Some((path, rest)) = tree.split_once('{') else {
        found.push(format!("{prefix}{}", tree.trim()));
        return;
    };
    let prefix = format!("{prefix}{}", path.trim());
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                flatten(&prefix, &inner[start..at], found);
                start = at + 1;
            }
            _ => {}
        }
    }
    flatten(&prefix, &inner[start..], found);
}

/// The file that a path leads to, as seen from `module`; none where it leads out of the crate.
fn resolve(module: &str, path: &str, modules: &BTreeSet<Module>) -> Option<Module> {
    let mut at: Vec<&str> = module.split("::").collect();
    let mut segments = path.split("::").map(str::trim).peekable();
    match segments.peek() {
        Some(&"crate") => {
            segments.next();
            at.clear();
        }
        Some(&"self") => {
            segments.next();
        }
        Some(&"super") => {
            while segments.next_if_eq(&"super").is_some() {
                at.pop();
            }
        }
        // The root names its modules without a prefix.
        _ if module == "lib" => at.clear(),
        _ => return None,
    }
    at.extend(segments);
    while !at.is_empty() {
        let module = at.join("::");
        if modules.contains(&module) {
            return Some(module);
        }
        at.pop();
    }
    None
}
