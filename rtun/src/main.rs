//! rtun: private IP networks out of outbound connections.
//!
//! Without a subcommand it takes GOST's flags and runs what they describe; subcommands are rtun's own.

mod check;
mod core_dumps;
mod explain;
mod generate;
mod logging;
mod machine;
mod offline;
mod reader;
mod run;
mod state;
mod status;

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
    /// Tell where a packet goes and why, or why it goes nowhere
    Explain(explain::Explain),
    /// Make files that a network needs: certificates
    Gen(generate::Generate),
    /// How the running rtuns of this machine go: hosts, traffic, drops, problems
    Status(status::StatusCommand),
}

const COMMANDS: [&str; 5] = ["check", "explain", "gen", "help", "status"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    match arguments.first() {
        Some(first) if COMMANDS.contains(&first.as_str()) => {
            match CommandLine::try_parse().map(|cli| cli.command) {
                Ok(RtunCommand::Check(check)) => check.run(),
                Ok(RtunCommand::Explain(explain)) => explain.run(),
                Ok(RtunCommand::Gen(generate)) => generate.run(),
                Ok(RtunCommand::Status(status)) => status.run(),
                Err(error) => {
                    let _ = error.print();
                    if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS }
                }
            }
        }
        _ => with_flags(arguments),
    }
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
            "Usage: rtun [FLAGS]\n       rtun check [FILE]...\n       rtun explain SRC DST\n       rtun status\n       rtun gen cert\n\n{USAGE}\n\
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
