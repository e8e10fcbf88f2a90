use proptest::prelude::*;

use super::*;
use crate::{findings::Profile, json, location::Position, report::Report, yaml};

const PLACE: Position = Position { text: 0, line: 1, column: 1, width: 1 };

fn read(text: &str, format: OutputFormat) -> Value {
    let report = Report::new(Profile::Compat);
    let number = report.add_text("a", text);
    let value = match format {
        OutputFormat::Yaml => yaml::read(text, number, &report),
        OutputFormat::Json => json::read(text, number, &report),
    };
    value.unwrap_or_else(|| panic!("{}\n{text}", report.finish()[0]))
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Data::Bool),
        any::<i64>().prop_map(Data::Int),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Data::Float),
        any::<String>().prop_map(Data::Text),
        "(- |[-?:,\\[\\]{}#&*!|>'\"%@`~<]|[0-9.ex_:]|true|null|yes| ){0,6}".prop_map(Data::Text),
    ];
    let leaf = leaf.prop_map(|kind| Value::new(PLACE, kind));
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Data::List),
            prop::collection::btree_map("[a-z.:# -]{1,6}", inner, 0..5).prop_map(|map| {
                let entry = |(key, value)| Member { key, place: PLACE, value };
                Data::Map(map.into_iter().map(entry).collect())
            }),
        ]
        .prop_map(|kind| Value::new(PLACE, kind))
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(value in any_value()) {
        let entry = Member { key: "x".to_owned(), place: PLACE, value };
        let document = Value::new(PLACE, Data::Map(vec![entry]));
        for format in [OutputFormat::Yaml, OutputFormat::Json] {
            let text = emit(&document, format);
            prop_assert!(read(&text, format).same(&document), "{}", text);
        }
    }
}

#[test]
fn keys_are_spelled_and_ordered_as_in_gost() {
    let text = "ROUTERS: [{Name: a, x: ~}]\nServices:\n\
                - handler: {TYPE: router, metadata: {Router: a}}\n";
    let document = read(text, OutputFormat::Yaml);
    assert_eq!(
        emit(&document, OutputFormat::Yaml),
        "services:\n- handler:\n    type: router\n    metadata:\n      Router: a\n\
         routers:\n- name: a\n"
    );
    assert_eq!(
        emit(&read("{\"log\": {}}", OutputFormat::Json), OutputFormat::Json),
        "{\n  \"log\": {}\n}\n"
    );
}
