//! Objects that a query parameter stands for, such as `admission=10.0.0.0/8`: lists of the document, referred
//! to by name.

use super::{
    map,
    parts::{Param, Params, entry, text as text_of},
    text,
};
use crate::{
    location::Position,
    value::{Data, Member, Value},
};

/// The top-level lists made so far.
#[derive(Default)]
pub(super) struct Objects(Vec<(&'static str, Vec<Value>)>);

impl Objects {
    pub(super) fn push(&mut self, group: &'static str, entries: Vec<Member>, place: Position) {
        let value = map(entries, place);
        match self.0.iter_mut().find(|(name, _)| *name == group) {
            Some((_, list)) => list.push(value),
            None => self.0.push((group, vec![value])),
        }
    }

    pub(super) fn document(self) -> Value {
        let start = Position { text: u32::MAX, line: 1, column: 1, width: 1 };
        let entries = self.0.into_iter().map(|(group, list)| {
            let place = list.first().map_or(start, |value| value.place);
            entry(group, Value::new(place, Data::List(list)))
        });
        map(entries.collect(), start)
    }

    /// A new object named `<field>-<number>`; gives the entry that refers to it.
    fn refer(
        &mut self,
        group: &'static str,
        field: &str,
        place: Position,
        content: Vec<Member>,
    ) -> Member {
        let count = self.0.iter().find(|(name, _)| *name == group).map_or(0, |(_, l)| l.len());
        let name = text(&format!("{field}-{count}"), place);
        let mut entries = vec![entry("name", name.clone())];
        entries.extend(content);
        self.push(group, entries, place);
        entry(field, name)
    }

    /// A comma list of matchers, a leading `~` for a whitelist.
    pub(super) fn matchers(&mut self, group: &'static str, field: &str, param: &Param) -> Member {
        let place = param.value.place;
        let written = text_of(&param.value).unwrap_or("");
        let (whitelist, list) = match written.strip_prefix('~') {
            Some(list) => (true, list),
            None => (false, written),
        };
        let mut content = Vec::new();
        if whitelist {
            content.push(entry("whitelist", Value::new(place, Data::Bool(true))));
        }
        content.push(entry("matchers", split(list, place)));
        self.refer(group, field, place, content)
    }

    pub(super) fn resolver(&mut self, param: &Param, prefer: Option<&Value>) -> Member {
        let place = param.value.place;
        let servers = pieces(&param.value).map(|addr| {
            let mut entries = vec![entry("addr", text(addr, place))];
            entries.extend(prefer.map(|prefer| entry("prefer", prefer.clone())));
            map(entries, place)
        });
        let servers = Value::new(place, Data::List(servers.collect()));
        self.refer("resolvers", "resolver", place, vec![entry("nameservers", servers)])
    }

    pub(super) fn hosts(&mut self, param: &Param) -> Member {
        let place = param.value.place;
        let mappings = pieces(&param.value).filter_map(|piece| {
            let (name, ip) = piece.split_once(':')?;
            let entries = vec![entry("hostname", text(name, place)), entry("ip", text(ip, place))];
            Some(map(entries, place))
        });
        let mappings = Value::new(place, Data::List(mappings.collect()));
        self.refer("hosts", "hosts", place, vec![entry("mappings", mappings)])
    }

    /// What becomes an object of its own in a service: taken out of `params`, which are the handler's.
    pub(super) fn of_service(&mut self, params: &mut Params) -> Vec<Member> {
        let mut fields = Vec::new();
        let prefer = params.0.iter().find(|p| p.key.text == "prefer").map(|p| p.value.clone());
        if let Some(param) = params.take(&["admission"]) {
            fields.push(self.matchers("admissions", "admission", &param));
        }
        if let Some(param) = params.take(&["bypass"]) {
            fields.push(self.matchers("bypasses", "bypass", &param));
        }
        if let Some(param) = params.take(&["resolver"]) {
            fields.push(self.resolver(&param, prefer.as_ref()));
        }
        if let Some(param) = params.take(&["hosts"]) {
            fields.push(self.hosts(&param));
        }
        fields.extend(self.limiter(params));
        for (group, field) in [("climiters", "climiter"), ("rlimiters", "rlimiter")] {
            if let Some(param) = params.take(&[field]) {
                let place = param.value.place;
                let limit = format!("$ {}", text_of(&param.value).unwrap_or(""));
                let limits = Value::new(place, Data::List(vec![text(&limit, place)]));
                fields.push(self.refer(group, field, place, vec![entry("limits", limits)]));
            }
        }
        fields
    }

    fn limiter(&mut self, params: &mut Params) -> Option<Member> {
        let mut limits = Vec::new();
        for (key, input, output) in
            [("$", "limiter.in", "limiter.out"), ("$$", "limiter.conn.in", "limiter.conn.out")]
        {
            let (input, output) = (params.take(&[input]), params.take(&[output]));
            let Some(place) = input.as_ref().or(output.as_ref()).map(|p| p.value.place) else {
                continue;
            };
            let of = |param: &Option<Param>| {
                param.as_ref().and_then(|p| text_of(&p.value)).unwrap_or("").to_owned()
            };
            limits.push(text(&format!("{key} {} {}", of(&input), of(&output)), place));
        }
        let place = limits.first()?.place;
        let limits = Value::new(place, Data::List(limits));
        Some(self.refer("limiters", "limiter", place, vec![entry("limits", limits)]))
    }

    /// What becomes an object of its own in a hop.
    pub(super) fn of_hop(&mut self, params: &mut Params) -> Vec<Member> {
        let mut fields = Vec::new();
        if let Some(param) = params.take(&["bypass"]) {
            fields.push(self.matchers("bypasses", "bypass", &param));
        }
        if let Some(param) = params.take(&["resolver"]) {
            fields.push(self.resolver(&param, None));
        }
        if let Some(param) = params.take(&["hosts"]) {
            fields.push(self.hosts(&param));
        }
        fields
    }
}

fn pieces(value: &Value) -> impl Iterator<Item = &str> {
    text_of(value).unwrap_or("").split(',').filter(|piece| !piece.is_empty())
}

/// A comma text as a list.
pub(super) fn split(list: &str, place: Position) -> Value {
    let items = list.split(',').filter(|item| !item.is_empty()).map(|item| text(item, place));
    Value::new(place, Data::List(items.collect()))
}
