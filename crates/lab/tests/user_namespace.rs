//! A lab without root: this program starts itself as an unprivileged user, which enters a user
//! namespace and builds a small network there.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rtun_lab::tools::{ping, tcp_hash_transfer};
use rtun_lab::{Lab, UserNamespaceError, enter_user_namespace};
use rtun_system::tun::{Tun, TunConfig, TunError};

/// The argument of the unprivileged program.
const INSIDE: &str = "--inside-user-namespace";
/// The exit status of the unprivileged program if the system does not allow what it needs.
const NOT_ALLOWED: u8 = 77;
/// `nobody` on Debian and most others.
const NOBODY: u32 = 65_534;

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == INSIDE) {
        return inside();
    }
    several_threads_are_refused();
    let program = std::env::current_exe().expect("a running program has a path");
    let mut command = Command::new(program);
    command.arg(INSIDE);
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    match command.status() {
        Ok(status) if status.code() == Some(i32::from(NOT_ALLOWED)) => ExitCode::SUCCESS,
        Ok(status) if status.success() => {
            println!("test a_lab_without_root ... ok");
            ExitCode::SUCCESS
        }
        Ok(status) => {
            eprintln!("test a_lab_without_root ... FAILED: {status}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("skipped: an unprivileged user cannot start this program: {error}");
            ExitCode::SUCCESS
        }
    }
}

fn several_threads_are_refused() {
    let (stop, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || wait.recv());
    let refused = enter_user_namespace();
    assert!(matches!(refused, Err(UserNamespaceError::SeveralThreads)), "{refused:?}");
    drop(stop);
    assert!(thread.join().is_ok());
}

/// The error for a user who starts a host without the rights for it.
fn tun_devices_are_refused_with_the_reason() {
    // A runtime of one thread starts no other, and ends here.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    match Tun::create(&TunConfig { name: None, mtu: 1420 }).unwrap_err() {
        error @ TunError::NoDriver { .. } => eprintln!("skipped: {error}"),
        error @ (TunError::NoAccess { .. } | TunError::NotPermitted { .. }) => {
            assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
        }
        error => panic!("{error}"),
    }
}

fn inside() -> ExitCode {
    tun_devices_are_refused_with_the_reason();
    if let Err(error) = enter_user_namespace() {
        eprintln!("skipped: {error}");
        return ExitCode::from(NOT_ALLOWED);
    }
    rtun_lab::available().unwrap();
    let lab = Lab::new().unwrap();
    let switch = lab.switch().unwrap();
    let (a, b) = (lab.namespace("a").unwrap(), lab.namespace("b").unwrap());
    switch.attach(&a, "eth0", &["10.9.0.1/24", "fd09::1/64"]).unwrap();
    switch.attach(&b, "eth0", &["10.9.0.2/24", "fd09::2/64"]).unwrap();
    let patience = Duration::from_secs(5);
    ping(&a, "10.9.0.2".parse().unwrap(), 100, true, patience).unwrap();
    ping(&a, "fd09::2".parse().unwrap(), 100, true, patience).unwrap();
    a.forward_packets().unwrap();
    let moved = tcp_hash_transfer(&a, &b, "10.9.0.2:0".parse().unwrap(), 100_000).unwrap();
    assert_eq!(moved.bytes, 100_000);
    a.hosts([("server_ip", "10.9.0.2")]);
    let mut getent = Command::new("getent");
    getent.args(["hosts", "server_ip"]).stdout(Stdio::piped());
    let getent = a.spawn(getent).unwrap();
    let answer = std::io::read_to_string(getent.stdout().unwrap()).unwrap();
    assert!(answer.starts_with("10.9.0.2"), "{answer}");
    ExitCode::SUCCESS
}
