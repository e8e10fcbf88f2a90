//! Programs of Debian's that stand between hosts and hubs, each started in a machine with a configuration of its own:
//! nginx, HAProxy, Caddy, squid and microsocks; Prometheus; and certificates.

use std::{
    ffi::OsStr,
    fs, io,
    io::Write as _,
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Stdio},
};

use nix::unistd::Uid;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rtun_lab::{NetNamespace, Process};

use super::{HUB, World, wait_until};

/// A certificate for one name and who has signed it, in files.
pub struct Certificate {
    pub authority: PathBuf,
    pub file: PathBuf,
    pub key: PathBuf,
}

impl Certificate {
    /// Made by an authority of its own.
    pub fn new(world: &World, name: &str) -> Self {
        let (authority_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&authority_key).unwrap();
        let issuer = Issuer::new(params, authority_key);
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let file = |kind: &str, text: &str| world.file(&format!("{name}.{kind}.pem"), text);
        Self {
            authority: file("authority", &authority.pem()),
            file: file("certificate", &certificate.pem()),
            key: file("key", &key.serialize_pem()),
        }
    }
}

/// nginx on port 443 of a machine: it takes TLS off, and passes `/tunnel` on as WebSocket to `to`, with the address
/// that it was called from. `None` where it is not installed.
pub fn nginx(
    world: &World,
    machine: &NetNamespace,
    certificate: &Certificate,
    to: SocketAddr,
) -> Option<Process> {
    let (file, key) = (certificate.file.display(), certificate.key.display());
    let server = format!(
        "server {{
    listen 443 ssl;
    ssl_certificate {file};
    ssl_certificate_key {key};
    # Without this it speaks 1.2 at most; Debian's own nginx.conf has it.
    ssl_protocols TLSv1.2 TLSv1.3;
    location /tunnel {{
      proxy_pass http://{to};
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_buffering off;
    }}
  }}
"
    );
    nginx_with(world, machine, &server)
}

/// nginx with this `server`, which listens on port 443 of a machine. `None` where it is not installed.
pub fn nginx_with(world: &World, machine: &NetNamespace, server: &str) -> Option<Process> {
    let folder = world.folder.path().display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {folder}/nginx-{kind};\n"))
        .concat();
    let text = format!(
        "daemon off;
master_process off;
pid {folder}/nginx.pid;
events {{}}
http {{
  access_log {folder}/nginx-access.log;
{temporary}  {server}
}}
"
    );
    let file = world.file("nginx.conf", &text);
    let log = world.folder.path().join("nginx.log");
    let arguments = ["-c".as_ref(), file.as_os_str(), "-e".as_ref(), log.as_os_str()];
    start(world, machine, "/usr/sbin/nginx", &arguments, 443)
}

/// HAProxy with this configuration, which listens on port 443 of a machine. `None` where it is not installed.
pub fn haproxy(world: &World, machine: &NetNamespace, text: &str) -> Option<Process> {
    let file = world.file("haproxy.cfg", text);
    // In the foreground, without a supervisor.
    let arguments = ["-db".as_ref(), "-f".as_ref(), file.as_os_str()];
    start(world, machine, "/usr/sbin/haproxy", &arguments, 443)
}

/// Caddy with this site, which listens on port 443 of a machine. `None` where it is not installed.
pub fn caddy(world: &World, machine: &NetNamespace, site: &str) -> Option<Process> {
    // Nothing of its own is listened on, kept or asked for elsewhere.
    let text = format!("{{\n\tadmin off\n\tauto_https off\n}}\n{site}");
    let file = world.file("Caddyfile", &text);
    let arguments = [
        "run".as_ref(),
        "--adapter".as_ref(),
        "caddyfile".as_ref(),
        "--config".as_ref(),
        file.as_os_str(),
    ];
    start(world, machine, "/usr/bin/caddy", &arguments, 443)
}

/// An HTTP proxy on port 3128 of a machine that connects this user only, to any port of anybody. `None` where it is not
/// installed.
pub fn squid(world: &World, machine: &NetNamespace, user: &str, password: &str) -> Option<Process> {
    // As root it goes on as a user of its own, who has to get at its files.
    if Uid::effective().is_root() {
        let everybody = fs::Permissions::from_mode(0o755);
        fs::set_permissions(world.folder.path(), everybody).unwrap();
    }
    // squid's helper knows passwords as they are written in this form (RFC 2307 has others).
    let users = world.file("squid.users", &format!("{user}:{}\n", apr1(password)));
    let text = format!(
        "http_port 3128
auth_param basic program /usr/lib/squid/basic_ncsa_auth {}
acl member proxy_auth REQUIRED
acl CONNECT method CONNECT
http_access allow CONNECT member
http_access deny all
cache deny all
cache_mem 8 MB
max_filedescriptors 1024
pinger_enable off
access_log none
cache_store_log none
cache_log /dev/null
pid_filename none
coredump_dir /
shutdown_lifetime 0 seconds
visible_hostname proxy
",
        users.display()
    );
    let file = world.file("squid.conf", &text);
    // The name of its shared memory, of which all squids of the machine would have the same: letters and digits.
    let folder = world.folder.path().to_string_lossy();
    let name: String = folder.chars().filter(char::is_ascii_alphanumeric).collect();
    let arguments = ["-N".as_ref(), "-n".as_ref(), name.as_ref(), "-f".as_ref(), file.as_os_str()];
    start(world, machine, "/usr/sbin/squid", &arguments, 3128)
}

/// A SOCKS5 proxy on port 1080 of a machine for this user only. `None` where it is not installed.
pub fn microsocks(
    world: &World,
    machine: &NetNamespace,
    user: &str,
    password: &str,
) -> Option<Process> {
    let arguments = ["-p", "1080", "-u", user, "-P", password].map(OsStr::new);
    start(world, machine, "/usr/bin/microsocks", &arguments, 1080)
}

/// Prometheus on port 9090 of a machine, with this configuration; what it keeps goes with the test. `None` where it is not
/// installed.
pub fn prometheus(world: &World, machine: &NetNamespace, text: &str) -> Option<Process> {
    let file = world.file("prometheus.yml", text);
    let config = format!("--config.file={}", file.display());
    let data = format!("--storage.tsdb.path={}", world.folder.path().join("prometheus").display());
    let arguments = [&config, &data, "--web.listen-address=127.0.0.1:9090"].map(OsStr::new);
    start(world, machine, "/usr/bin/prometheus", &arguments, 9090)
}

/// The machine's own address for connections to the hub.
pub fn address(machine: &NetNamespace) -> IpAddr {
    let own = || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect((HUB, 9))?;
        socket.local_addr()
    };
    machine.run(own).unwrap().unwrap().ip()
}

/// Starts a program and waits until it listens. Where it is missing the test is reported as skipped, or fails if
/// `RTUN_TESTS_MUST_RUN` is set.
fn start(
    world: &World,
    machine: &NetNamespace,
    program: &str,
    arguments: &[&OsStr],
    port: u16,
) -> Option<Process> {
    let name = program.rsplit('/').next().unwrap();
    let said = world.folder.path().join(format!("{name}.output"));
    let output = fs::File::create(&said).unwrap();
    let mut command = Command::new(program);
    command.args(arguments).current_dir(world.folder.path()).stdin(Stdio::null());
    // Where they keep something, it goes with the test.
    command.env("HOME", world.folder.path()).env("XDG_DATA_HOME", world.folder.path());
    command.stdout(output.try_clone().unwrap()).stderr(output);
    let process = match machine.spawn(command) {
        Ok(process) => process,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            assert!(std::env::var_os("RTUN_TESTS_MUST_RUN").is_none(), "no {program}: {error}");
            // Past the test harness, which shows the output of failed tests only.
            let _ = io::stderr().write_all(format!("skipped: no {program}\n").as_bytes());
            return None;
        }
        Err(error) => panic!("{program}: {error}"),
    };
    wait_until(name, || {
        let ended = process.try_wait().unwrap();
        assert!(ended.is_none(), "{name}: {ended:?}: {}", fs::read_to_string(&said).unwrap());
        machine.run(|| TcpStream::connect(("127.0.0.1", port))).unwrap().is_ok()
    });
    Some(process)
}

/// A password as `htpasswd` writes it.
fn apr1(password: &str) -> String {
    let output = Command::new("openssl").args(["passwd", "-apr1", password]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
