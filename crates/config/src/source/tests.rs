use super::*;

#[test]
fn arguments_name_sources() {
    for (argument, source) in [
        (" - ", ConfigSource::Stdin),
        ("{\"a\": 1}", ConfigSource::Inline("{\"a\": 1}".into())),
        ("https://h/x.json", ConfigSource::Url("https://h/x.json".into())),
        ("HTTP://h/", ConfigSource::Url("HTTP://h/".into())),
        ("a/b.yaml", ConfigSource::File("a/b.yaml".into())),
        ("{a.yaml", ConfigSource::File("{a.yaml".into())),
    ] {
        assert_eq!(ConfigSource::parse(argument), source);
    }
}

#[test]
fn formats() {
    let of = |source: &str, first: &str, media: Option<&str>| {
        format(&ConfigSource::parse(source), media, first).ok()
    };
    assert_eq!(of("-", "{", None), Some(Format::Json));
    assert_eq!(of("-", " {", None), Some(Format::Yaml));
    assert_eq!(of("{}", "{}", None), Some(Format::Json));
    assert_eq!(of("http://h/a.json", "", None), Some(Format::Json));
    assert_eq!(of("http://h/a.json?x=1", "", Some("text/plain")), Some(Format::Json));
    assert_eq!(of("http://h/a.json", "", Some("text/yaml; charset=utf-8")), Some(Format::Yaml));
    assert_eq!(of("http://h/a", "", Some("Application/JSON")), Some(Format::Json));
    assert_eq!(of("http://h.json", "", None), Some(Format::Json));
    assert_eq!(of("http://h/a", "{", None), Some(Format::Yaml));
    assert_eq!(of("a.YML", "", None), Some(Format::Yaml));
    assert_eq!(of("a.json", "", None), Some(Format::Json));
    assert_eq!(of("a.TOML", "", None), Some(Format::Toml));
    assert_eq!(of("http://h/a.toml", "", None), Some(Format::Toml));
    assert_eq!(of("http://h/a", "", Some("application/toml")), Some(Format::Toml));
    assert_eq!(of("a.ini", "", None), None);
    assert_eq!(of("a", "", None), None);
}

#[test]
fn the_default_files_in_order() {
    let files = default_files(Some(Path::new("/home/u")));
    let names: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
    assert_eq!(names[..4], ["rtun.json", "rtun.toml", "rtun.yaml", "rtun.yml"]);
    assert_eq!(names[4], "/etc/rtun/rtun.json");
    assert_eq!(names[8], "/etc/gost/gost.json");
    assert_eq!(names[12], "/home/u/.gost/gost.json");
    assert_eq!(names[19], "gost.yml");
    assert_eq!(default_files(None).len(), 16);
}

#[test]
fn user_info_is_not_shown() {
    assert_eq!(ConfigSource::parse("https://u:p@h/x?a=@").to_string(), "https://h/x?a=@");
}
