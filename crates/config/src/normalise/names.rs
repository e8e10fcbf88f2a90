//! The objects of each group by name.

use std::collections::HashMap;

use crate::{
    findings::{At, Code, Report, quote},
    suggest,
    value::Cursor,
};

/// The named objects of a document.
pub(crate) struct Names<'a> {
    pub(crate) services: Group<'a>,
    pub(crate) chains: Group<'a>,
    pub(crate) hops: Group<'a>,
    pub(crate) routers: Group<'a>,
    pub(crate) ingresses: Group<'a>,
    pub(crate) authers: Group<'a>,
    pub(crate) admissions: Group<'a>,
}

/// One list of objects, names unique.
pub(crate) struct Group<'a> {
    key: &'static str,
    /// One of them.
    what: &'static str,
    /// In order.
    pub(crate) list: Vec<(String, Cursor<'a>)>,
    index: HashMap<String, usize>,
    /// Whether some had no name.
    pub(crate) nameless: bool,
}

impl<'a> Names<'a> {
    pub(crate) fn collect(root: &Cursor<'a>, report: &mut Report) -> Self {
        Self {
            services: Group::collect(root, "services", "service", "never be started", report),
            chains: Group::collect(root, "chains", "chain", "never be used", report),
            hops: Group::collect(root, "hops", "hop", "never be used", report),
            routers: Group::collect(root, "routers", "router", "never be used", report),
            ingresses: Group::collect(root, "ingresses", "ingress", "never be used", report),
            authers: Group::collect(root, "authers", "auther", "never be used", report),
            admissions: Group::collect(root, "admissions", "admission", "never be used", report),
        }
    }
}

impl<'a> Group<'a> {
    fn collect(
        root: &Cursor<'a>,
        key: &'static str,
        what: &'static str,
        consequence: &str,
        report: &mut Report,
    ) -> Self {
        let mut group =
            Self { key, what, list: Vec::new(), index: HashMap::new(), nameless: false };
        for at in root.get(key).iter().flat_map(Cursor::items) {
            let name_at = at.get("name");
            let Some(name) = report.some_text(name_at.as_ref()) else {
                group.nameless = true;
                report
                    .error(&at, format!("this {what} has no name and would {consequence}"))
                    .help("add `name:` with a name of its own");
                continue;
            };
            if let Some(first) = group.index.get(&name).and_then(|i| group.list.get(*i)) {
                let first = report.texts.show(first.1.value.place);
                let place = name_at.map_or_else(|| At::from(&at), |name| At::from(&name));
                report
                    .error(place, format!("there are two {key} named {}", quote(&name)))
                    .help(format!("the first is at {first}; give one of them another name"));
                continue;
            }
            group.index.insert(name.clone(), group.list.len());
            group.list.push((name, at));
        }
        group
    }

    /// The object named `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&Cursor<'a>> {
        self.index.get(name).and_then(|i| self.list.get(*i)).map(|(_, at)| at)
    }

    /// The object that the text at `reference` names; a name that does not exist is C01.
    pub(crate) fn resolve(
        &self,
        reference: &Cursor<'_>,
        report: &mut Report,
    ) -> Option<&(String, Cursor<'a>)> {
        let name = report.some_text(Some(reference))?;
        self.find(&name, &At::from(reference), report)
    }

    /// Like [`Group::resolve`], with the name already read.
    pub(crate) fn find(
        &self,
        name: &str,
        reference: &At,
        report: &mut Report,
    ) -> Option<&(String, Cursor<'a>)> {
        let found = self.index.get(name).and_then(|i| self.list.get(*i));
        if found.is_none() {
            report
                .coded(
                    Code::C01,
                    reference,
                    format!("there is no {} named {}", self.what, quote(name)),
                )
                .help_with(|| {
                    let names: Vec<&str> = self.list.iter().map(|(name, _)| &**name).collect();
                    suggest::name_of(name, self.key, &names)
                });
        }
        found
    }
}
