//! What has to stand in the files of the hub and its hosts for certificates to be used.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv6Addr},
    path::Path,
};

use super::Pair;

/// The port of the tutorial.
const PORT: u16 = 8443;

/// What nobody has named yet.
const UNKNOWN_HUB: &str = "HUB";

/// What the hub's listener needs.
pub(super) fn for_hub(ca: &Pair, hub: &Pair) -> String {
    format!(
        "
On the hub, with {hub_file}, {key} and {ca}:

  listener:
    type: tls
    tls:
      certFile: {hub_file}
      keyFile: {key}
      caFile: {ca}
      bindNames: true
",
        hub_file = yaml(&hub.certificate),
        key = yaml(&hub.key),
        ca = yaml(&ca.certificate),
    )
}

/// What a host needs to be let in by the hub of this name.
pub(super) fn for_host(ca: &Pair, host: &str, pair: &Pair, hub: Option<&str>) -> String {
    let hub = hub.unwrap_or(UNKNOWN_HUB);
    let address = match hub.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]:{PORT}"),
        Err(_) => format!("{hub}:{PORT}"),
    };
    let mut text = format!(
        "
On {host}, with {certificate}, {key} and {ca}:

  addr: {address:?}
  dialer:
    type: tls
    tls:
      secure: true
      caFile: {ca}
      serverName: {name}
      certFile: {certificate}
      keyFile: {key}
",
        name = if hub.parse::<IpAddr>().is_ok() { format!("{hub:?}") } else { hub.to_owned() },
        ca = yaml(&ca.certificate),
        certificate = yaml(&pair.certificate),
        key = yaml(&pair.key),
    );
    let _ = write!(
        text,
        "
or on its command line:

  -F \"router+tls://{address}?secure=true&caFile={ca}&serverName={hub}&certFile={certificate}&keyFile={key}\"
",
        ca = url(&ca.certificate),
        certificate = url(&pair.certificate),
        key = url(&pair.key),
    );
    text
}

/// What to know about the authority.
pub(super) fn about(ca: &Pair) -> String {
    format!(
        "
{} signs certificates: keep it here, or offline. Nobody else needs it.
",
        ca.key.display()
    )
}

/// A path as a value of YAML, in quotes if it could be read as something else.
fn yaml(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '.'));
    match begins && text.chars().all(is_plain) {
        true => text,
        // A text of JSON is one of YAML.
        false => serde_json::Value::from(text).to_string(),
    }
}

/// A path as a value of a URL's query.
fn url(path: &Path) -> String {
    let mut encoded = String::new();
    for byte in path.display().to_string().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
                encoded.push(byte.into());
            }
            byte => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_paths_are_written_so_that_they_are_read_back() {
        for (path, in_yaml, in_url) in [
            ("/etc/rtun/hub.pem", "/etc/rtun/hub.pem", "/etc/rtun/hub.pem"),
            ("certs/hub.pem", "certs/hub.pem", "certs/hub.pem"),
            ("my certs: 1/#a&b", "\"my certs: 1/#a&b\"", "my%20certs%3A%201/%23a%26b"),
            ("-x\"\\y", "\"-x\\\"\\\\y\"", "-x%22%5Cy"),
        ] {
            assert_eq!(yaml(Path::new(path)), in_yaml);
            assert_eq!(url(Path::new(path)), in_url);
        }
    }
}
