//! Flags as Go's `flag` package reads them, with what is wrong.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use std::time::Duration;

use rtun_config::{
    cli::{Args, OutputFormat, parse, processes, separate},
    source::ConfigSource,
};

fn message(arguments: &[&str]) -> String {
    parse(arguments.iter().copied()).unwrap_err().to_string()
}

#[test]
fn every_form_of_a_flag() {
    for arguments in [&["-L", "x"][..], &["-L=x"], &["--L", "x"], &["--L=x"]] {
        let args = parse(arguments.iter().copied()).unwrap();
        assert_eq!(args.services, ["x"], "{arguments:?}");
    }
    assert_eq!(parse(["-L", "-F"]).unwrap().services, ["-F"], "a value may look like a flag");
    assert_eq!(parse(["-L="]).unwrap().services, [""]);
}

#[test]
fn all_flags() {
    let args = parse([
        "-C",
        "a.yaml",
        "-L",
        "s1",
        "-F",
        "n1",
        "-C",
        "-",
        "-L",
        "s2",
        "-F",
        "n2",
        "-O",
        "json",
        "-D",
        "-DD=1",
        "-V=false",
        "-R",
        "1m",
        "-api",
        ":1",
        "-metrics",
        ":2",
        "-C",
        " ",
        "--only-tunnels",
    ])
    .unwrap();
    assert_eq!(
        args,
        Args {
            sources: vec![ConfigSource::File("a.yaml".into()), ConfigSource::Stdin],
            services: vec!["s1".into(), "s2".into()],
            nodes: vec!["n1".into(), "n2".into()],
            output: Some(OutputFormat::Json),
            debug: true,
            trace: true,
            version: false,
            help: false,
            reload: Some(Duration::from_secs(60)),
            api: Some(":1".into()),
            metrics: Some(":2".into()),
            only_tunnels: true,
        }
    );
    assert_eq!(parse(["-O", "yml"]).unwrap().output, Some(OutputFormat::Yaml));
    assert!(parse(["--help"]).unwrap().help && parse(["-h"]).unwrap().help);
    assert!(parse(["-V"]).unwrap().version);
}

#[test]
fn mistakes_are_named() {
    assert_eq!(message(&["-c", "x"]), "there is no flag `-c`\n  help: did you mean `-C`?");
    assert_eq!(message(&["-L"]), "-L needs a value");
    assert_eq!(message(&["-D=maybe"]), "-D: expected `true` or `false`, found `maybe`");
    assert_eq!(
        message(&["a.yaml"]),
        "unexpected argument `a.yaml`\n  help: did you mean -C a.yaml?"
    );
    assert_eq!(message(&["-D", "true"]), "unexpected argument `true`");
    assert_eq!(message(&["-"]), "unexpected argument `-`");
    assert_eq!(message(&["---L"]), "`---L` is no flag");
    assert_eq!(
        message(&["-R", "30"]),
        "-R: `30` is a duration without a unit; write for example `10s`"
    );
    assert!(message(&["-L", "a", "--", "-L", "b"]).starts_with("`--` stands between"));
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

#[test]
fn several_processes_are_separated_by_two_dashes() {
    for (arguments, parts) in [
        (&["-L", "a"][..], vec![&["-L", "a"][..]]),
        (
            &["-L", "a", "--", "-L", "b  c -- d", "-D"],
            vec![&["-L", "a"], &["-L", "b  c -- d", "-D"]],
        ),
        (&["--", "-L", "b"], vec![&[], &["-L", "b"]]),
    ] {
        let arguments = owned(arguments);
        let found = processes(&arguments);
        assert_eq!(found, parts.iter().map(|part| owned(part)).collect::<Vec<_>>());
    }
}

#[test]
fn flags_are_separated_from_other_arguments() {
    let words = [
        "a.yaml",
        "-L",
        "-F",
        "--strict",
        "-DD",
        "-metrics=:1",
        "b.yaml",
        "--R",
        "5s",
        "-h",
        "-O",
        "json",
        "--only-tunnels",
    ];
    let (flags, others) = separate(owned(&words));
    assert_eq!(
        flags,
        ["-L", "-F", "-DD", "-metrics=:1", "--R", "5s", "-O", "json", "--only-tunnels"]
    );
    assert_eq!(others, ["a.yaml", "--strict", "b.yaml", "-h"]);
}

proptest! {
    #[test]
    fn no_arguments_panic(arguments in prop::collection::vec("[-=A-Za-z{}:/ ]{0,8}", 0..8)) {
        let _ = parse(arguments);
    }
}
