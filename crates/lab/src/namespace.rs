//! A network namespace: code and programs inside it, addresses, routes and settings.
//!
//! A thread leaves its first namespace for a new one and opens a descriptor of it. Code enters the
//! namespace on a new thread through that descriptor. Sockets and programs of such a thread belong to
//! the namespace.

use std::fs::File;
use std::future::Future;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use ipnet::IpNet;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use rtun_system::link::SystemLink;
use rtun_system::netlink::LinkError;
use rtun_system::os_route::OsRoute;

use crate::process::{Process, Processes};
use crate::{LabError, on_own_thread};

/// A machine of the lab. Clones are the same machine. It exists until the last clone is dropped and the
/// last program in it has ended.
#[derive(Debug, Clone)]
pub struct NetNamespace {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    /// The namespace's file in `/proc`, open.
    file: File,
    /// Names that later programs resolve, each with its address.
    hosts: Mutex<Vec<(String, String)>>,
    /// The name servers of later programs, in this order; none: as outside.
    name_servers: Mutex<Vec<String>>,
    processes: Arc<Processes>,
}

impl NetNamespace {
    pub(crate) fn create(name: &str, processes: Arc<Processes>) -> Result<NetNamespace, LabError> {
        let file = on_own_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        })
        .flatten()
        .map_err(|error| LabError::system(format!("creating network namespace {name}"), error))?;
        let (hosts, name_servers) = (Mutex::default(), Mutex::default());
        let inner = Inner { name: name.to_owned(), file, hosts, name_servers, processes };
        let namespace = NetNamespace { inner: Arc::new(inner) };
        namespace.with_link("lo", async |link| link.up().await)?;
        Ok(namespace)
    }

    /// The name, for messages.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Runs `work` on a thread inside and returns its result.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> Result<R, LabError> {
        on_own_thread(|| self.enter().map(|()| work()))
            .flatten()
            .map_err(|error| self.cannot_enter(error))
    }

    /// Runs `work` inside, on a runtime of its own that ends with it.
    pub fn block_on<R: Send>(&self, work: impl Future<Output = R> + Send) -> Result<R, LabError> {
        on_own_thread(|| {
            self.enter()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(work))
        })
        .flatten()
        .map_err(|error| self.cannot_enter(error))
    }

    /// Starts `work` on a thread inside, without waiting for it.
    pub fn thread<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<JoinHandle<Result<R, LabError>>, LabError> {
        let namespace = self.clone();
        let inside = move || match namespace.enter() {
            Ok(()) => Ok(work()),
            Err(error) => Err(namespace.cannot_enter(error)),
        };
        std::thread::Builder::new()
            .name(format!("lab {}", self.name()))
            .spawn(inside)
            .map_err(|error| LabError::system("starting a thread", error))
    }

    /// Starts a program inside. It has this machine's files and processes, the namespace's network, and
    /// the names given to [`hosts`](NetNamespace::hosts) so far. It ends with the lab.
    pub fn spawn(&self, mut command: Command) -> io::Result<Process> {
        let files =
            [(self.hosts_file()?, "/etc/hosts"), (self.resolver_file()?, "/etc/resolv.conf")];
        let processes = &self.inner.processes;
        let child = on_own_thread(|| {
            self.enter()?;
            for (file, covered) in &files {
                if let Some(file) = file {
                    cover(&file.path, covered)?;
                }
            }
            processes.start(&mut command)
        })
        .flatten();
        // The mounts keep the content of the files, whose names are removed here.
        drop(files);
        child
    }

    /// Lets programs started later resolve these names, in addition to those in `/etc/hosts`:
    /// `("server_ip", "10.0.0.1")`. A later entry does not replace an earlier one of the same name.
    pub fn hosts<'a>(&self, entries: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let entries = entries.into_iter().map(|(name, ip)| (name.to_owned(), ip.to_owned()));
        self.inner.hosts.lock().unwrap_or_else(PoisonError::into_inner).extend(entries);
    }

    /// Lets programs started later ask these name servers, in this order, each for 5 s.
    pub fn name_servers(&self, servers: &[&str]) {
        let servers = servers.iter().map(|&server| server.to_owned()).collect();
        *self.inner.name_servers.lock().unwrap_or_else(PoisonError::into_inner) = servers;
    }

    /// Adds an address, `10.0.0.1/24`, to `device`. It is no error if the device has it already.
    pub fn addr_add(&self, device: &str, address: &str) -> Result<(), LabError> {
        let address = parse_address(address)?;
        self.with_link(device, async |link| link.add_address(address).await)
    }

    /// Installs a route via a gateway. It replaces a route to the same destination.
    pub fn route_add(&self, destination: &str, gateway: &str) -> Result<(), LabError> {
        let gateway: IpAddr = gateway.parse().map_err(|_| LabError::BadArgument {
            text: gateway.to_owned(),
            expected: "an IP address",
        })?;
        let route = OsRoute { destination: parse_address(destination)?, gateway: Some(gateway) };
        // The device matters only to routes without a gateway.
        self.with_link("lo", async |link| link.replace_route(&route).await)
    }

    /// Installs a route through `device`. It replaces a route to the same destination.
    pub fn route_add_device(&self, destination: &str, device: &str) -> Result<(), LabError> {
        let route = OsRoute { destination: parse_address(destination)?, gateway: None };
        self.with_link(device, async |link| link.replace_route(&route).await)
    }

    /// Writes a setting below `/proc/sys/net`: `sysctl("ipv4/ip_forward", "1")`.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<(), LabError> {
        let path = Path::new("/proc/sys/net").join(key);
        // The namespace of the setting is that of the thread that opens the file.
        self.run(|| std::fs::write(&path, value))?.map_err(|error| {
            LabError::system(
                format!("in namespace {}: writing {value} to {}", self.name(), path.display()),
                error,
            )
        })
    }

    /// Makes the machine a router of both families.
    pub fn forward_packets(&self) -> Result<(), LabError> {
        self.sysctl("ipv4/ip_forward", "1")?;
        self.sysctl("ipv6/conf/all/forwarding", "1")
    }

    /// Sets the congestion control of later TCP connections inside (`cubic`). Fails if the kernel does not
    /// have it or reserves it for the machine's own root.
    pub fn tcp_congestion(&self, name: &str) -> Result<(), LabError> {
        self.sysctl("ipv4/tcp_congestion_control", name)
    }

    /// Runs `work` on a device inside.
    pub(crate) fn with_link<R: Send>(
        &self,
        device: &str,
        work: impl AsyncFnOnce(SystemLink) -> Result<R, LinkError> + Send,
    ) -> Result<R, LabError> {
        on_own_thread(|| {
            self.enter().map_err(|error| self.cannot_enter(error))?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| self.cannot_enter(error))?;
            runtime
                .block_on(async { work(SystemLink::open(device)?).await })
                .map_err(|source| LabError::Link { namespace: self.name().to_owned(), source })
        })
        .map_err(|error| self.cannot_enter(error))?
    }

    pub(crate) fn descriptor(&self) -> RawFd {
        self.inner.file.as_raw_fd()
    }

    pub(crate) fn is(&self, other: &NetNamespace) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Moves the calling thread inside.
    pub(crate) fn enter(&self) -> io::Result<()> {
        Ok(setns(&self.inner.file, CloneFlags::CLONE_NEWNET)?)
    }

    fn cannot_enter(&self, error: io::Error) -> LabError {
        LabError::system(format!("entering network namespace {}", self.name()), error)
    }

    /// `/etc/hosts` with this namespace's names before it; `None` when there are no names.
    fn hosts_file(&self) -> io::Result<Option<TemporaryFile>> {
        let hosts = self.inner.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.is_empty() {
            return Ok(None);
        }
        let mut text = String::new();
        for (name, ip) in hosts.iter() {
            text.push_str(&format!("{ip} {name}\n"));
        }
        text.push_str(&std::fs::read_to_string("/etc/hosts").unwrap_or_default());
        TemporaryFile::create(text.as_bytes()).map(Some)
    }

    /// An `/etc/resolv.conf` of its own; `None` when it has no name servers.
    fn resolver_file(&self) -> io::Result<Option<TemporaryFile>> {
        let servers = self.inner.name_servers.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
        match lines.as_str() {
            "" => Ok(None),
            lines => TemporaryFile::create(lines.as_bytes()).map(Some),
        }
    }
}

/// Mounts the file at `path` over `covered` for the calling thread and the programs that it starts.
fn cover(path: &Path, covered: &str) -> io::Result<()> {
    const NONE: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    // Otherwise the mount would be visible outside too.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    Ok(mount(Some(path), covered, NONE, MsFlags::MS_BIND, NONE)?)
}

/// A file that is removed when its value is dropped.
struct TemporaryFile {
    path: PathBuf,
}

impl TemporaryFile {
    fn create(content: &[u8]) -> io::Result<TemporaryFile> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("rtun-lab-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // An existing file of this name is not ours: never write to it.
        let mut file = File::create_new(&path)?;
        let file_at = TemporaryFile { path };
        file.write_all(content)?;
        Ok(file_at)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // Nothing depends on it, and an error cannot be reported.
        let _ = std::fs::remove_file(&self.path);
    }
}

pub(crate) fn parse_address(text: &str) -> Result<IpNet, LabError> {
    text.parse().map_err(|_| LabError::BadArgument {
        text: text.to_owned(),
        expected: "an address with its prefix length, like 10.0.0.1/24",
    })
}
