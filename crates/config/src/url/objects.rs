//! Objects that a query parameter stands for, such as `admission=10.0.0.0/8`: lists of the document, referred
//! to by name.

use super::{field, params::Params, pieces, split, text};
use crate::{
    location::Position,
    value::{Data, Member, Value},
};

/// The top-level lists made so far.
#[derive(Default)]
pub(super) struct Objects(Vec<(&'static str, Vec<Value>)>);

impl Objects {
    pub(super) fn push(&mut self, group: &'static str, value: Value) {
        match self.0.iter_mut().find(|(name, _)| *name == group) {
            Some((_, list)) => list.push(value),
            None => self.0.push((group, vec![value])),
        }
    }

    pub(super) fn count(&self, group: &str) -> usize {
        self.0.iter().find(|(name, _)| *name == group).map_or(0, |(_, list)| list.len())
    }

    pub(super) fn document(self) -> Value {
        let lists = self.0.into_iter().map(|(group, list)| {
            let place = list.first().map_or(Position::NOWHERE, |value| value.place);
            field(group, Value::list(list, place))
        });
        Value::map(lists, Position::NOWHERE)
    }

    /// A new object named `<key>-<number>` with `fields`; gives the field that refers to it.
    fn refer<const N: usize>(
        &mut self,
        group: &'static str,
        key: &str,
        place: Position,
        fields: [Option<Member>; N],
    ) -> Option<Member> {
        let name = Value::text(&format!("{key}-{}", self.count(group)), place);
        let fields = std::iter::once(field("name", name.clone())).chain(fields);
        self.push(group, Value::map(fields, place));
        field(key, name)
    }

    /// A comma list of matchers, a leading `~` for a whitelist.
    fn matchers(&mut self, group: &'static str, key: &str, params: &mut Params) -> Option<Member> {
        let written = params.take(&[key])?;
        let place = written.place;
        let list = text(&written).strip_prefix('~');
        let whitelist = list.map(|_| Value::new(place, Data::Bool(true)));
        let matchers = split(&list.map_or(written.clone(), |list| Value::text(list, place)));
        let fields = [field("whitelist", whitelist), field("matchers", matchers)];
        self.refer(group, key, place, fields)
    }

    fn resolver(&mut self, params: &mut Params, prefer: Option<&Value>) -> Option<Member> {
        let written = params.take(&["resolver"])?;
        let place = written.place;
        let servers = pieces(&written).map(|addr| {
            let addr = field("addr", Value::text(addr, place));
            Value::map([addr, field("prefer", prefer.cloned())], place)
        });
        let servers = Value::list(servers.collect(), place);
        self.refer("resolvers", "resolver", place, [field("nameservers", servers)])
    }

    fn hosts(&mut self, params: &mut Params) -> Option<Member> {
        let written = params.take(&["hosts"])?;
        let place = written.place;
        let mappings = pieces(&written).filter_map(|piece| {
            let (name, ip) = piece.split_once(':')?;
            let name = field("hostname", Value::text(name, place));
            Some(Value::map([name, field("ip", Value::text(ip, place))], place))
        });
        let mappings = Value::list(mappings.collect(), place);
        self.refer("hosts", "hosts", place, [field("mappings", mappings)])
    }

    /// What becomes an object of its own in a service: taken out of `params`, which are the handler's.
    pub(super) fn of_service(&mut self, params: &mut Params) -> Vec<Member> {
        let prefer = params.0.iter().find(|p| p.key == "prefer").map(|p| p.value.clone());
        let fields = [
            self.matchers("admissions", "admission", params),
            self.matchers("bypasses", "bypass", params),
            self.resolver(params, prefer.as_ref()),
            self.hosts(params),
            self.limiter(params),
            self.rate("climiters", "climiter", params),
            self.rate("rlimiters", "rlimiter", params),
        ];
        fields.into_iter().flatten().collect()
    }

    /// What becomes an object of its own in a hop.
    pub(super) fn of_hop(&mut self, params: &mut Params) -> Vec<Member> {
        let fields = [
            self.matchers("bypasses", "bypass", params),
            self.resolver(params, None),
            self.hosts(params),
        ];
        fields.into_iter().flatten().collect()
    }

    fn rate(&mut self, group: &'static str, key: &str, params: &mut Params) -> Option<Member> {
        let limit = params.take(&[key])?;
        let place = limit.place;
        let limits = vec![Value::text(&format!("$ {}", text(&limit)), place)];
        self.refer(group, key, place, [field("limits", Value::list(limits, place))])
    }

    fn limiter(&mut self, params: &mut Params) -> Option<Member> {
        let mut limits = Vec::new();
        for (key, input, output) in
            [("$", "limiter.in", "limiter.out"), ("$$", "limiter.conn.in", "limiter.conn.out")]
        {
            let (input, output) = (params.take(&[input]), params.take(&[output]));
            let Some(place) = input.as_ref().or(output.as_ref()).map(|limit| limit.place) else {
                continue;
            };
            let [input, output] = [&input, &output].map(|limit| limit.as_ref().map_or("", text));
            limits.push(Value::text(&format!("{key} {input} {output}"), place));
        }
        let place = limits.first()?.place;
        let limits = Value::list(limits, place);
        self.refer("limiters", "limiter", place, [field("limits", limits)])
    }
}
