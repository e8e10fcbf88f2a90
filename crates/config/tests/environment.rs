//! Which environment variables count.

use rtun_config::{Environment, Variable};

#[test]
fn both_prefixes_are_read() {
    let get = |name: &str| match name {
        "GOST_API" => Some(":1".to_owned()),
        "RTUN_LOGGER_LEVEL" => Some("debug".to_owned()),
        "GOST_LOGGER_LEVEL" => Some("info".to_owned()),
        "RTUN_METRICS" => Some(String::new()),
        _ => None,
    };
    let variable =
        |name: &str, value: &str| Some(Variable { name: name.into(), value: value.into() });
    assert_eq!(
        Environment::from_vars(get),
        Environment {
            logger_level: variable("RTUN_LOGGER_LEVEL", "debug"),
            api: variable("GOST_API", ":1"),
            ..Environment::default()
        }
    );
}
