//! The commands that a configuration runs, and their programs on this machine.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use nix::unistd::Uid;
use rtun_config::findings::{Finding, Severity};
use rtun_settings::{Config, Hook, HookCommand};

/// Every command that would run, in the order of the services.
pub(crate) fn commands_of_hooks(config: &Config) -> Vec<Finding> {
    let user = if Uid::effective().is_root() { ", as root" } else { "" };
    let line = |(service, hook, command): (&str, Hook, &HookCommand)| {
        let (hook, text) = (hook.as_str(), &command.text);
        let message = format!("service {service:?} runs a command at {hook}{user}: {text}");
        finding(Severity::Info, message, None)
    };
    all(config).map(line).collect()
}

/// The files of programs that are there.
pub(super) fn programs(config: &Config) -> impl Iterator<Item = PathBuf> {
    all(config).filter_map(|(_, _, command)| find(&command.program))
}

/// Programs that are not there.
pub(super) fn missing(config: &Config) -> Vec<Finding> {
    let missing = all(config).filter(|(_, _, command)| find(&command.program).is_none());
    let line = |(service, hook, command): (&str, Hook, &HookCommand)| {
        let (hook, program) = (hook.as_str(), &command.program);
        let message =
            format!("service {service:?}: there is no program {program:?}, which {hook} runs");
        let help = "write the path of a file that may be executed, or a name that is found in PATH";
        finding(Severity::Warning, message, Some(help.to_owned()))
    };
    missing.map(line).collect()
}

fn all(config: &Config) -> impl Iterator<Item = (&str, Hook, &HookCommand)> {
    config.services.iter().flat_map(|service| {
        Hook::ALL.into_iter().flat_map(move |hook| {
            let commands = service.hooks.of(hook).iter();
            commands.map(move |command| (&*service.name, hook, command))
        })
    })
}

/// The file that is executed for `program`.
fn find(program: &str) -> Option<PathBuf> {
    let is_program = |path: &Path| {
        fs::metadata(path).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| is_program(path));
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|path| is_program(path))
}

fn finding(severity: Severity, message: String, help: Option<String>) -> Finding {
    Finding { code: None, severity, location: None, path: String::new(), message, help }
}
