//! rtun-workbench: networks of namespaces on this machine, in which the `rtun` program is measured and shown.
//!
//! No part of what users install: it runs a program `rtun` that has been built already.

mod bench;
mod demo;
mod interruption;
mod program;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "rtun-workbench", version, about = "Measures rtun and shows it, on this machine")]
struct Cli {
    #[command(subcommand)]
    command: WorkbenchCommand,
}

#[derive(Subcommand)]
enum WorkbenchCommand {
    /// Measure the tunnel against a plain relay on this machine
    Bench(bench::Bench),
    #[command(hide = true)]
    BenchRelay(bench::Relay),
    /// A hub and two hosts on this machine, with the tutorial's files
    Demo(demo::Demo),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        WorkbenchCommand::Bench(bench) => bench.run(),
        WorkbenchCommand::BenchRelay(relay) => relay.run(),
        WorkbenchCommand::Demo(demo) => demo.run(),
    }
}

/// Writes a line to the standard error, where nobody may be listening.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
