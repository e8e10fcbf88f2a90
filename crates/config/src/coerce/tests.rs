use super::*;
use crate::{findings::Profile, report::Report};

fn value(kind: Data) -> Value {
    Value::new(Position { text: 0, line: 1, column: 1, width: 1 }, kind)
}

fn written(text: &str) -> Value {
    value(Data::Text(text.to_owned()))
}

#[test]
fn booleans() {
    for text in ["1", "t", "T", "TRUE", "true", "True"] {
        assert_eq!(boolean(&written(text)), Ok(true), "{text}");
    }
    for text in ["0", "f", "F", "FALSE", "false", "False"] {
        assert_eq!(boolean(&written(text)), Ok(false), "{text}");
    }
    for text in ["", "yes", "on", "tRUE", "2"] {
        assert_eq!(boolean(&written(text)), Err(SWITCH), "{text}");
    }
    assert_eq!(boolean(&value(Data::Int(2))), Ok(true));
    assert_eq!(boolean(&value(Data::Int(0))), Ok(false));
    assert_eq!(boolean(&value(Data::Bool(true))), Ok(true));
    for kind in [Data::Float(1.5), Data::List(vec![]), Data::Map(vec![])] {
        assert_eq!(boolean(&value(kind)), Err(SWITCH));
    }
}

#[test]
fn whole_numbers() {
    for (text, number) in [("1420", 1420), ("-1", -1), ("+7", 7), ("007", 7)] {
        assert_eq!(integer(&written(text)), Ok(number), "{text}");
    }
    for text in ["", "0x10", "1_000", "1.0", " 1", "a"] {
        assert_eq!(integer(&written(text)), Err(WHOLE), "{text}");
    }
    assert_eq!(integer(&value(Data::Int(-3))), Ok(-3));
    assert_eq!(integer(&value(Data::Bool(true))), Ok(1));
    assert_eq!(integer(&value(Data::Bool(false))), Ok(0));
    assert_eq!(integer(&value(Data::Float(1300.0))), Ok(1300), "JSON numbers work");
    for kind in [Data::Float(1.5), Data::Float(f64::NAN), Data::List(vec![]), Data::Map(vec![])] {
        assert_eq!(integer(&value(kind)), Err(WHOLE));
    }
}

#[test]
fn texts_of_scalars() {
    for (kind, read) in [
        (Data::Text("a".into()), "a"),
        (Data::Int(12), "12"),
        (Data::Bool(true), "true"),
        (Data::Float(1.5), "1.5"),
        (Data::Float(1000.0), "1000"),
    ] {
        assert_eq!(text(&value(kind)).as_deref(), Ok(read));
    }
    assert_eq!(text(&value(Data::List(vec![]))), Err(TEXT));
    assert_eq!(text(&value(Data::Map(vec![]))), Err(TEXT));
}

#[test]
fn lists_of_texts() {
    let read = |value: &Value, commas| {
        let report = Report::new(Profile::Compat);
        texts(&Cursor::root(value, &report), commas).into_iter().map(|p| p.text).collect::<Vec<_>>()
    };
    let list =
        value(Data::List(vec![written("a,b"), value(Data::Int(1)), value(Data::List(vec![]))]));
    assert_eq!(read(&list, false), [Ok("a,b".into()), Ok("1".into()), Err(TEXT)]);
    assert_eq!(read(&list, true), [Ok("a".into()), Ok("b".into()), Ok("1".into()), Err(TEXT)]);
    assert_eq!(read(&written(" a, ,b "), true), [Ok("a".into()), Ok("b".into())]);
    assert_eq!(read(&written("a,b"), false), [Ok("a,b".into())]);
    assert_eq!(read(&value(Data::Null), true), []);
}

#[test]
fn durations_in_metadata() {
    let read = |value: &Value| span(value, BareUnit::Seconds);
    assert_eq!(read(&written("1m30s")), Ok((Duration::from_secs(90), false)));
    assert_eq!(read(&written("500ms")), Ok((Duration::from_millis(500), false)));
    assert_eq!(read(&written("10")), Ok((Duration::from_secs(10), true)));
    assert_eq!(read(&value(Data::Int(10))), Ok((Duration::from_secs(10), true)));
    assert_eq!(read(&value(Data::Float(10.0))), Ok((Duration::from_secs(10), true)));
    assert_eq!(read(&value(Data::Int(0))), Ok((Duration::ZERO, false)));
    assert_eq!(read(&written("0")), Ok((Duration::ZERO, false)));
    assert_eq!(read(&written("")), Err(NotSpan::Text(DurationError::Invalid)));
    assert_eq!(read(&written("soon")), Err(NotSpan::Text(DurationError::Invalid)));
    assert_eq!(read(&written("-1s")), Err(NotSpan::Negative));
    assert_eq!(read(&value(Data::Int(-1))), Err(NotSpan::Negative));
    for kind in [Data::Bool(true), Data::Float(1.5), Data::List(vec![]), Data::Map(vec![])] {
        assert_eq!(read(&value(kind)), Err(NotSpan::Kind));
    }
}

#[test]
fn durations_in_fields() {
    let read = |value: &Value| span(value, BareUnit::Nanoseconds);
    assert_eq!(read(&written("10s")), Ok((Duration::from_secs(10), false)));
    assert_eq!(read(&value(Data::Int(10))), Ok((Duration::from_nanos(10), true)));
    assert_eq!(read(&value(Data::Int(0))), Ok((Duration::ZERO, false)));
    assert_eq!(read(&written("10")), Err(NotSpan::Text(DurationError::MissingUnit)));
    assert_eq!(read(&written("")), Err(NotSpan::Text(DurationError::Invalid)));
}
