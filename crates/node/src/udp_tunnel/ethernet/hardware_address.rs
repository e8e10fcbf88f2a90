//! The hardware address of a device: the same at each start, so that what others remember of it stays right.

use std::fs;

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand,
};
use rtun_proto::ethernet::MacAddress;
use rtun_settings::TapSettings;
use rtun_state::StateDir;
use tracing::warn;

/// What tells machines of systemd and others apart (machine-id(5)).
const MACHINE_ID: &str = "/etc/machine-id";

/// What tells a machine without one apart.
const FILE: &str = "machine";

/// The length of either, in hexadecimal digits.
const DIGITS: usize = 32;

/// The configured address, or one made of what stays: the machine, the service's name and the device's addresses, by which
/// the ends of one tunnel differ even where a machine was copied.
pub(super) fn address_of(
    service: &str,
    settings: &TapSettings,
    state: Option<&StateDir>,
) -> MacAddress {
    if let Some(address) = settings.mac {
        return address;
    }
    let machine = fs::read_to_string(MACHINE_ID).ok().and_then(|text| id(&text));
    let machine = machine.or_else(|| state.and_then(|state| kept(state, service)));
    let machine = machine.unwrap_or_else(|| {
        warn!(
            service,
            "there is no {MACHINE_ID} and nothing is kept for the next start: the device has another hardware address then, \
             and others need a while to notice; give it one (`mac`)"
        );
        random()
    });
    let addresses: Vec<String> =
        settings.device.addresses.iter().map(|net| net.addr().to_string()).collect();
    derive(&[&machine, service, &addresses.join(" ")])
}

fn derive(parts: &[&str]) -> MacAddress {
    let hash = digest(&SHA256, parts.join("\n").as_bytes());
    let seed = hash.as_ref().iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte));
    MacAddress::local(seed)
}

fn id(text: &str) -> Option<String> {
    let text = text.trim();
    let is_one = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_one && text.bytes().any(|byte| byte != b'0')).then(|| text.to_owned())
}

/// The number that was kept, or a new one that is from now on.
fn kept(state: &StateDir, service: &str) -> Option<String> {
    let read = state.read(FILE, DIGITS as u64 + 1).ok()?;
    if let Some(found) = read.and_then(|bytes| id(&String::from_utf8(bytes).ok()?)) {
        return Some(found);
    }
    let new = random();
    let written = state.write(FILE, &[new.as_bytes(), b"\n"], 0o600);
    written
        .inspect_err(|error| warn!(service, "the machine's number cannot be kept: {error}"))
        .ok()?;
    Some(new)
}

fn random() -> String {
    let mut bytes = [0; DIGITS / 2];
    if rand::fill(&mut bytes).is_err() {
        // Never known to fail; whatever follows is as good as no number.
        bytes = u128::from(fastrand::u64(..)).to_be_bytes();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_a_machine_differ_makes_its_address_differ() {
        let parts = ["0123456789abcdef0123456789abcdef", "service-0", "192.168.124.2"];
        let address = derive(&parts);
        assert_eq!(address, derive(&parts));
        assert!(address.is_station() && address.octets()[0] & 2 != 0);
        assert_eq!(address.to_string(), "2a:0b:26:e9:15:0c", "also in the next version");
        for n in 0..parts.len() {
            let mut other = parts;
            other[n] = "other";
            assert_ne!(derive(&other), address);
        }
        assert_eq!(id(" 0123456789abcdef0123456789abcdef\n").as_deref(), Some(parts[0]));
        for text in ["", "uninitialized", "00000000000000000000000000000000", "0123"] {
            assert_eq!(id(text), None);
        }
    }

    #[test]
    fn a_machine_without_a_number_keeps_one() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path().join("state")).unwrap();
        let first = kept(&state, "tap").unwrap();
        assert_eq!(kept(&state, "tap"), Some(first));
    }
}
