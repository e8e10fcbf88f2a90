//! Commands of services, and logs of services: what a configuration means.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use rtun_config::{
    Environment, Outcome, cli,
    findings::{Profile, Severity},
    load, load_text,
};
use rtun_settings::{
    Config, Hook, HookCommand, LogFormat, LogLevel, LogOutput, LogSettings, RotationSettings,
    ServiceHooks,
};

fn outcome(keys: &str, rest: &str) -> Outcome {
    let text = format!(
        "services:
- name: hub
  addr: 127.0.0.1:8443
{keys}  handler: {{type: router, metadata: {{router: main}}}}
  listener: {{type: tcp}}
routers: [{{name: main, routes: [{{dst: 10.1.0.0/16, gateway: host-1}}]}}]
{rest}"
    );
    load_text("hub.yaml", &text, false, Profile::Compat)
}

fn config(keys: &str, rest: &str) -> Config {
    let outcome = outcome(keys, rest);
    outcome.config.unwrap_or_else(|| panic!("{:?}", outcome.findings))
}

fn errors(keys: &str, rest: &str) -> Vec<String> {
    let findings = outcome(keys, rest).findings;
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    errors.map(|finding| finding.message.clone()).collect()
}

/// Each command as its words.
fn words(hooks: &ServiceHooks, hook: Hook) -> Vec<Vec<&str>> {
    fn words(command: &HookCommand) -> Vec<&str> {
        std::iter::once(&command.program).chain(&command.arguments).map(|it| &**it).collect()
    }
    hooks.of(hook).iter().map(words).collect()
}

#[test]
fn commands_are_split_into_words_as_gost_does() {
    let keys = r##"  metadata:
    PREUP: ["one a # b", "two \"x\\\"y\" \\$Z a\\ b", "three 'q''r'\"s\" ''", "  ", "# nothing"]
    postUp: four  five
    hookTimeout: 3s
"##;
    let hooks = &config(keys, "").services[0].hooks;
    let expected: [&[&str]; 3] =
        [&["one", "a"], &["two", "x\"y", "$Z", "a b"], &["three", "qrs", ""]];
    assert_eq!(words(hooks, Hook::PreUp), expected);
    assert_eq!(words(hooks, Hook::PostUp), [["four", "five"]]);
    assert_eq!((hooks.time_limit, hooks.is_empty()), (Duration::from_secs(3), false));
    assert_eq!(hooks.of(Hook::PostUp)[0].text, "four  five");

    let none = &config("", "").services[0].hooks;
    assert_eq!((none.is_empty(), none.time_limit), (true, Duration::from_secs(10)));
    for wrong in ["one 'two", "\"'' x\""] {
        assert_eq!(errors(&format!("  metadata: {{preUp: {wrong}}}\n"), "").len(), 1, "{wrong}");
    }
}

#[test]
fn a_command_line_gives_commands_as_parameters() {
    let url = "router://127.0.0.1:8443?router=r&preUp=ip%20link&hookTimeout=2s";
    let args = cli::parse(["-L", url, "-C", r#"{"routers": [{"name": "r"}]}"#]).unwrap();
    let mut nothing = |source: &_| match source {
        rtun_config::source::ConfigSource::Inline(text) => Ok(rtun_config::source::Content {
            bytes: text.clone().into_bytes(),
            content_type: None,
        }),
        _ => Err(rtun_config::source::ReadError::NotFound),
    };
    let outcome = load(&args, &Environment::default(), &mut nothing, Profile::Compat);
    let config = outcome.config.unwrap_or_else(|| panic!("{:?}", outcome.findings));
    let hooks = &config.services[0].hooks;
    assert_eq!(words(hooks, Hook::PreUp), [["ip", "link"]]);
    assert_eq!(hooks.time_limit, Duration::from_secs(2));
    let unknown = outcome.findings.iter().filter(|it| it.message.contains("no key"));
    assert_eq!(unknown.count(), 0, "{:?}", outcome.findings);
}

const ROTATION: &str =
    "rotation: {maxSize: 5, maxAge: 2, maxBackups: 3, localTime: true, compress: true}";

#[test]
fn loggers_have_logs_of_their_own() {
    let loggers = format!(
        "log: {{format: json, level: fatal}}
loggers:
- {{name: one, log: {{output: /var/log/one.log, {ROTATION}}}}}
- {{name: two, log: {{output: none, format: text, level: error}}}}
- {{name: three}}
"
    );
    let config = config("  logger: two\n  loggers: [one, two]\n", &loggers);
    assert_eq!(config.services[0].loggers, ["two", "one"], "each once");
    assert_eq!((config.log.format, config.log.level), (LogFormat::Json, LogLevel::Fatal));
    let names: Vec<_> = config.loggers.iter().map(|logger| &*logger.name).collect();
    assert_eq!(names, ["one", "two", "three"]);
    let [one, two, three] = &config.loggers[..] else { panic!("three") };
    assert_eq!(one.log.output, LogOutput::File("/var/log/one.log".into()));
    let day = Duration::from_secs(24 * 60 * 60);
    let rotation = RotationSettings {
        max_size: 5 * 1024 * 1024,
        max_age: Some(2 * day),
        max_backups: Some(3),
        local_time: true,
        compress: true,
    };
    assert_eq!((&one.log.rotation, one.log.format), (&Some(rotation), LogFormat::Rtun));
    assert_eq!((two.log.level, &two.log.output), (LogLevel::Error, &LogOutput::None));
    assert_eq!(three.log, LogSettings::default());
}

#[test]
fn rotation_has_gosts_defaults() {
    for keys in ["", "maxSize: 0, maxAge: -1, maxBackups: 0"] {
        let log = format!("log: {{output: a.log, rotation: {{{keys}}}}}\n");
        let rotation = config("", &log).log.rotation.unwrap();
        let expected = RotationSettings {
            max_size: 100 * 1024 * 1024,
            max_age: None,
            max_backups: None,
            local_time: false,
            compress: false,
        };
        assert_eq!(rotation, expected, "{keys}");
    }
    let log = "log: {output: stdout, rotation: {maxSize: 1}}\n";
    assert_eq!(config("", log).log.rotation, None);
    let findings = outcome("", log).findings;
    assert!(findings.iter().any(|it| it.message.contains("`rotation` has no effect here")));
}

#[test]
fn loggers_that_cannot_be_meant_are_refused() {
    assert_eq!(errors("  logger: one\n", ""), ["there is no logger named `one`"]);
    let twice = format!(
        "loggers:
- {{name: one, log: {{output: a.log, {ROTATION}}}}}
- {{name: two, log: {{output: a.log}}}}
"
    );
    assert_eq!(errors("", &twice), ["another log writes the same file with another `rotation`"]);
    let same = twice.replace("a.log}", &format!("a.log, {ROTATION}}}"));
    assert_eq!(errors("", &same), [""; 0]);
}
