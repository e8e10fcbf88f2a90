//! Probes of a node other than connecting to it: an HTTP request, a command.

use std::process::Stdio;

use rtun_proto::{proxy::http_connect, relay::Decoded};
use rtun_settings::HttpProbe;
use rtun_transport::Stream;
use tokio::process::Command;
use tracing::debug;

use crate::hooks::ProcessGroup;

/// Asks at the other end of `stream`; whether the answer is the expected one. The caller sets the limit.
pub(super) async fn http(stream: &dyn Stream, probe: &HttpProbe) -> bool {
    let mut request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n", probe.path, probe.host);
    for header in &probe.headers {
        request += &format!("{}: {}\r\n", header.name, header.value.expose());
    }
    request += "Connection: close\r\n\r\n";
    if stream.write_all(request.as_bytes()).await.is_err() {
        return false;
    }
    let mut head = Vec::new();
    loop {
        match http_connect::decode_reply(&head) {
            Ok(Decoded::Complete { value, .. }) => return value.status == probe.status,
            Ok(Decoded::Incomplete { needed }) => {
                let filled = head.len();
                head.resize(needed, 0);
                if stream.read_exact(&mut head[filled..]).await.is_err() {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
}

/// Runs a command of the system's shell; whether it succeeds. Dropping this kills it with all that it has started.
pub(super) async fn command(text: &str) -> bool {
    let mut command = Command::new("sh");
    command.args(["-c", text]).process_group(0).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            debug!("the command of a probe cannot be started: {error}");
            return false;
        }
    };
    let mut group = ProcessGroup::of(&child);
    let status = child.wait().await;
    group.leave();
    status.is_ok_and(|status| status.success())
}
