//! Circles of files inside a crate.
//!
//! A file uses another if its code, without tests, names something that the other defines. The name is followed through
//! `use` items and re-exports to the file that defines it, so `crate::HostName` is a use of the file with `struct HostName`.
//! A module may use what its parents define; such uses are not counted. Methods are not seen.
//!
//! Two files in a circle can only be understood together. What both need belongs in a file that uses neither.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    code::{self, WrittenPath},
    source::SourceFile,
};

type ModulePath = Vec<String>;

struct Module {
    path: String,
    code: String,
    /// `use` items: the name in this file and the path from the crate's root.
    names: BTreeMap<String, ModulePath>,
    /// Modules of which all names are used.
    globs: Vec<ModulePath>,
    /// The items that this file defines.
    defined: BTreeSet<String>,
    /// Paths from the crate's root that this file names, with the position.
    named: Vec<(usize, ModulePath)>,
}

struct Modules(BTreeMap<ModulePath, Module>);

/// One report for each use between two files of one circle.
pub(crate) fn find(files: &[&SourceFile]) -> Vec<String> {
    let modules = Modules::new(files);
    let mut uses: BTreeMap<&ModulePath, BTreeMap<&ModulePath, (usize, String)>> = BTreeMap::new();
    for (module, file) in &modules.0 {
        for (at, named) in &file.named {
            let Some((target, name)) = modules.resolve(named, 0) else { continue };
            if !module.starts_with(target) {
                let uses = uses.entry(module).or_default();
                uses.entry(target).or_insert_with(|| (*at, name.to_owned()));
            }
        }
    }
    let reach: BTreeMap<&ModulePath, BTreeSet<&ModulePath>> =
        uses.keys().map(|module| (*module, reachable(module, &uses))).collect();
    let mut reports = Vec::new();
    for (module, targets) in &uses {
        for (target, (at, name)) in targets {
            if reach.get(target).is_some_and(|reached| reached.contains(module)) {
                let line = code::line_of(&modules.0[*module].code, *at);
                reports.push(format!(
                    "{}:{line}: uses `{name}` of {}, which uses this file in turn; move what both need to a file of its own",
                    modules.0[*module].path, modules.0[*target].path
                ));
            }
        }
    }
    reports
}

fn reachable<'a, T>(
    from: &'a ModulePath,
    uses: &BTreeMap<&'a ModulePath, BTreeMap<&'a ModulePath, T>>,
) -> BTreeSet<&'a ModulePath> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(module) = open.pop() {
        for target in uses.get(module).into_iter().flat_map(BTreeMap::keys) {
            if reached.insert(*target) {
                open.push(target);
            }
        }
    }
    reached
}

impl Modules {
    fn new(files: &[&SourceFile]) -> Self {
        let mut modules = BTreeMap::new();
        let mut tests: Vec<ModulePath> = Vec::new();
        let has_library = files.iter().any(|file| file.in_src() == Some("lib.rs"));
        for file in files {
            let in_src = file.in_src().unwrap();
            if in_src == "main.rs" && has_library {
                continue;
            }
            let path = module_path(in_src);
            let (code, test_files) = code::without_tests(&code::without_text(&file.text));
            tests.extend(test_files.into_iter().map(|name| [&path[..], &[name]].concat()));
            let module = Module {
                path: file.path.clone(),
                defined: code::definitions(&code),
                code,
                names: BTreeMap::new(),
                globs: Vec::new(),
                named: Vec::new(),
            };
            modules.insert(path, module);
        }
        modules.retain(|path, _| !tests.iter().any(|test| path.starts_with(test)));
        let all: BTreeSet<ModulePath> = modules.keys().cloned().collect();
        for (path, module) in &mut modules {
            module.read(path, &all);
        }
        Self(modules)
    }

    /// The file that defines what a path names, and the name.
    fn resolve<'a>(
        &'a self,
        path: &'a [String],
        depth: usize,
    ) -> Option<(&'a ModulePath, &'a str)> {
        let len = (0..=path.len()).rev().find(|len| self.0.contains_key(&path[..*len]))?;
        let (module, file) = self.0.get_key_value(&path[..len])?;
        let name = path.get(len)?;
        if depth > 8 || file.defined.contains(name) {
            return Some((module, name));
        }
        if let Some(target) = file.names.get(name) {
            // What follows a type in a path is its own.
            return self.resolve(target, depth + 1);
        }
        let in_glob = file.globs.iter().filter(|glob| **glob != *module).find_map(|glob| {
            let file = self.0.get_key_value(&glob[..])?;
            file.1.defined.contains(name).then_some((file.0, name.as_str()))
        });
        in_glob.or(Some((module, name)))
    }
}

impl Module {
    fn read(&mut self, path: &ModulePath, all: &BTreeSet<ModulePath>) {
        let inline = code::inline_modules(&self.code);
        let (leaves, ranges) = code::uses(&self.code);
        let module_at = |at: usize| -> ModulePath {
            let inside = inline.iter().filter(|(_, range)| range.contains(&at));
            path.iter().cloned().chain(inside.map(|(name, _)| name.clone())).collect()
        };
        for leaf in &leaves {
            let Some(target) = from_root(&leaf.segments, &module_at(leaf.at), all) else {
                continue;
            };
            match leaf.alias.as_deref() {
                Some("*") => self.globs.push(target),
                Some(alias) => {
                    self.named.push((leaf.at, target.clone()));
                    self.names.insert(alias.to_owned(), target);
                }
                None => {}
            }
        }
        for WrittenPath { at, segments, .. } in code::paths(&self.code, &ranges) {
            let target = match self.names.get(&segments[0]) {
                Some(target) => [&target[..], &segments[1..]].concat(),
                None => match from_root(&segments, &module_at(at), all) {
                    Some(target) => target,
                    None => continue,
                },
            };
            self.named.push((at, target));
        }
    }
}

/// The path from the crate's root; `None` if it leads out of the crate, or names no module.
fn from_root(
    segments: &[String],
    module: &[String],
    all: &BTreeSet<ModulePath>,
) -> Option<ModulePath> {
    let mut base = module.to_vec();
    let mut rest = segments;
    match segments.first()?.as_str() {
        "crate" => {
            base.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|word| word == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        child => {
            let path = [module, &[child.to_owned()]].concat();
            if !all.contains(&path) {
                return None;
            }
        }
    }
    base.extend(rest.iter().cloned());
    Some(base)
}

fn module_path(in_src: &str) -> ModulePath {
    let path = in_src.strip_suffix(".rs").unwrap();
    let path = path.strip_suffix("/mod").unwrap_or(path);
    match path {
        "lib" | "main" => Vec::new(),
        path => path.split('/').map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circle(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files
            .iter()
            .map(|(name, text)| SourceFile {
                path: format!("crates/x/src/{name}"),
                text: (*text).to_owned(),
            })
            .collect();
        let found = find(&files.iter().collect::<Vec<_>>());
        found.into_iter().map(|it| it.split(", which").next().unwrap().to_owned()).collect()
    }

    #[test]
    fn siblings_that_use_each_other_are_a_circle() {
        let lib = ("lib.rs", "mod a; mod b;\npub use a::A;\npub use b::{B, make};");
        let found = circle(&[
            lib,
            ("a.rs", "use crate::make;\npub struct A;\nfn a() { make() }"),
            ("b.rs", "\npub struct B(super::A);\npub fn make() {}"),
        ]);
        assert_eq!(
            found,
            [
                "crates/x/src/a.rs:1: uses `make` of crates/x/src/b.rs",
                "crates/x/src/b.rs:2: uses `A` of crates/x/src/a.rs",
            ]
        );
        let one_way = [lib, ("a.rs", "pub struct A;"), ("b.rs", "use crate::a;\nstruct B(a::A);")];
        assert_eq!(circle(&one_way), [""; 0]);
    }

    #[test]
    fn a_child_may_use_its_parent_and_tests_do_not_count() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            (
                "a.rs",
                "mod c;\nuse self::c::C;\npub struct A;\n#[cfg(test)]\nmod tests { use crate::b::B; }",
            ),
            ("a/c.rs", "use super::A;\npub struct C(A);"),
            ("b.rs", "use crate::a::A;\npub struct B(A);"),
        ];
        assert_eq!(circle(&files), [""; 0]);
    }

    #[test]
    fn a_child_that_uses_a_user_of_its_parent_closes_a_circle() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "mod c;\nuse c::C;\npub struct A(C);"),
            ("a/c.rs", "pub struct C(crate::b::B);"),
            ("b.rs", "use crate::a;\npub struct B(Box<a::A>);"),
        ];
        assert_eq!(circle(&files).len(), 3);
    }
}
