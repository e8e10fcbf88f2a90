//! rtun: private IP networks out of outbound connections.
//!
//! Without a subcommand it takes GOST's flags and runs what they describe; subcommands are rtun's own.

mod asking;
mod check;
mod convert;
mod core_dumps;
mod drops;
mod explain;
mod generate;
mod hop_feeds;
mod hosts;
mod logging;
mod logs;
mod machine;
mod offline;
mod orders;
mod ping;
mod reader;
mod routes;
mod run;
mod save;
mod several;
mod state;
mod status;
mod table;
mod top;
mod when;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use rtun_config::cli::{self, USAGE};

/// A configuration that is refused: `EX_CONFIG` of sysexits.h.
const EXIT_CONFIG: u8 = 78;

/// Something else that keeps rtun from running.
const EXIT_FAILURE: u8 = 1;

/// A command line that cannot be read: `EX_USAGE` of sysexits.h.
const EXIT_USAGE: u8 = 64;

#[derive(Parser)]
#[command(name = "rtun", version, about = "Private IP networks out of outbound connections", after_help = USAGE)]
struct CommandLine {
    #[command(subcommand)]
    command: RtunCommand,
}

#[derive(Subcommand)]
enum RtunCommand {
    /// Look a configuration over without starting anything
    Check(check::Check),
    /// Print hub and host files of the same network as a routing tunnel
    Convert(convert::Convert),
    /// Tell where a packet goes and why, or why it goes nowhere
    Explain(explain::Explain),
    /// Make files that a network needs: certificates
    Gen(generate::Generate),
    /// How the running rtuns of this machine go: hosts, traffic, drops, problems
    Status(status::StatusCommand),
    /// The hosts by what they do now, on a page of a terminal
    Top(top::Top),
    /// The hosts of running hubs, the one with the most traffic first
    Hosts(hosts::HostsCommand),
    /// The routes of running hubs, and what each has carried
    Routes(routes::Routes),
    /// What running rtuns lose and why, live
    Drops(drops::DropsCommand),
    /// The path to a host, leg by leg
    Ping(ping::PingCommand),
    /// What running rtuns log from now on, at any level
    Logs(logs::Logs),
}

const COMMANDS: [&str; 12] = [
    "check", "convert", "drops", "explain", "gen", "help", "hosts", "logs", "ping", "routes",
    "status", "top",
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let several = cli::processes(&arguments);
    // What is no flag after a `--` is a file whatever its name.
    let begin_with_flags =
        several.iter().skip(1).all(|part| part.first().is_some_and(|first| first.starts_with('-')));
    match arguments.first() {
        Some(first) if first == "check" && several.len() > 1 && begin_with_flags => {
            check_each(&several)
        }
        Some(first) if first == "convert" && begin_with_flags => {
            command(several[0].to_vec(), &several[1..])
        }
        Some(first) if COMMANDS.contains(&first.as_str()) => command(arguments, &[]),
        _ if several.len() > 1 => several::run(&several),
        _ => with_flags(arguments),
    }
}

/// Runs a subcommand; `more` are the flags of further processes.
fn command(arguments: Vec<String>, more: &[&[String]]) -> ExitCode {
    // Some also take the flags of a start, which are not of clap's kind.
    let (flags, arguments) = match arguments.first() {
        Some(first) if first == "check" || first == "convert" => cli::separate(arguments),
        _ => (Vec::new(), arguments),
    };
    let program = std::iter::once("rtun".to_owned());
    match CommandLine::try_parse_from(program.chain(arguments)).map(|cli| cli.command) {
        Ok(RtunCommand::Check(check)) => check.run(flags),
        Ok(RtunCommand::Convert(convert)) => {
            let more = more.iter().map(|flags| flags.to_vec());
            convert.run(&std::iter::once(flags).chain(more).collect::<Vec<_>>())
        }
        Ok(RtunCommand::Explain(explain)) => explain.run(),
        Ok(RtunCommand::Gen(generate)) => generate.run(),
        Ok(RtunCommand::Status(status)) => status.run(),
        Ok(RtunCommand::Top(top)) => top.run(),
        Ok(RtunCommand::Hosts(hosts)) => hosts.run(),
        Ok(RtunCommand::Routes(routes)) => routes.run(),
        Ok(RtunCommand::Drops(drops)) => drops.run(),
        Ok(RtunCommand::Ping(ping)) => ping.run(),
        Ok(RtunCommand::Logs(logs)) => logs.run(),
        Err(error) => {
            let _ = error.print();
            if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS }
        }
    }
}

/// Checks what each of several processes would run.
fn check_each(parts: &[&[String]]) -> ExitCode {
    let mut worst = ExitCode::SUCCESS;
    for (number, part) in parts.iter().enumerate() {
        complain(&format!("process {number}:"));
        let check = (number > 0).then(|| "check".to_owned());
        let status = command(check.into_iter().chain(part.iter().cloned()).collect(), &[]);
        if rank(status) > rank(worst) {
            worst = status;
        }
    }
    worst
}

/// How bad an exit status of a check is.
fn rank(status: ExitCode) -> usize {
    let ranks = [ExitCode::SUCCESS, ExitCode::from(EXIT_FAILURE), ExitCode::from(EXIT_USAGE)];
    ranks.iter().position(|known| *known == status).unwrap_or(ranks.len())
}

fn with_flags(arguments: Vec<String>) -> ExitCode {
    let args = match cli::parse(arguments) {
        Ok(args) => args,
        Err(error) => {
            complain(&format!("rtun: {error}"));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if args.help {
        return say(&format!(
            "Usage: rtun [FLAGS]\n       rtun check [FILE]...\n       rtun convert [FILE]...\n       rtun explain SRC DST\n       rtun status | top | hosts | routes | drops | logs\n       rtun ping HOST\n       rtun gen cert\n\n{USAGE}\n\
             Without flags: rtun.yaml of the working directory or of /etc/rtun, or GOST's own files.\n"
        ));
    }
    if args.version {
        return say(&format!(
            "rtun {} ({}/{})\n",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            std::env::consts::ARCH
        ));
    }
    several::end_with_parent();
    run::run(&args)
}

/// Writes to the standard output; a reader that has gone is no failure of ours.
fn say(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::from(EXIT_FAILURE),
        _ => ExitCode::SUCCESS,
    }
}

/// Writes to the standard error, where nobody may be listening.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
