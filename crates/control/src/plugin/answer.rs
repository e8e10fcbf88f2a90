//! What a plugin's answers mean, and which of them are used; the same for every protocol.

use std::{net::IpAddr, num::NonZeroU64};

use ipnet::IpNet;
use rtun_core::{HostName, NamespaceId};
use serde_json::{Map, Value};

use super::{PluginError, PluginRates};

/// The longest id of a client, in bytes.
const MAX_ID: usize = 255;

/// The gateway for `destination`. The prefix that the answer names must contain the destination: an answer to another
/// question is an error. However wide it is, it is used for this destination only.
pub(crate) fn route(
    prefix: &str,
    gateway: &str,
    destination: IpAddr,
) -> Result<Option<HostName>, PluginError> {
    if prefix.is_empty() || gateway.is_empty() {
        return Ok(None);
    }
    let covers = prefix
        .parse::<IpNet>()
        .or_else(|_| prefix.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| {
            PluginError::nonsense(format_args!("{prefix:?} is neither an address nor a prefix"))
        })?
        .contains(&destination);
    if !covers {
        return Err(PluginError::nonsense(format_args!(
            "{prefix} does not contain {destination}, which was asked for"
        )));
    }
    HostName::new(gateway).map(Some).map_err(PluginError::nonsense)
}

/// The namespace of a host.
pub(crate) fn ingress(endpoint: &str) -> Result<Option<NamespaceId>, PluginError> {
    if endpoint.is_empty() {
        return Ok(None);
    }
    match endpoint.parse::<NamespaceId>() {
        Ok(namespace) if namespace.is_default() => {
            Err(PluginError::nonsense("the endpoint is the zero UUID, which no host is bound to"))
        }
        Ok(namespace) => Ok(Some(namespace)),
        Err(_) => Err(PluginError::nonsense(format_args!("the endpoint {endpoint:?} is no UUID"))),
    }
}

/// The id of a client that was accepted.
pub(crate) fn auth(ok: bool, id: String) -> Result<Option<String>, PluginError> {
    if !ok {
        return Ok(None);
    }
    if id.len() > MAX_ID || id.chars().any(char::is_control) {
        return Err(PluginError::nonsense(format_args!(
            "the id {id:?} is longer than {MAX_ID} bytes or has control characters"
        )));
    }
    Ok(Some(id))
}

/// The rates of a limiter; 0 and less are no limit.
pub(crate) fn rates(input: i64, output: i64) -> PluginRates {
    let rate = |bytes: i64| NonZeroU64::new(u64::try_from(bytes).unwrap_or(0));
    PluginRates { input: rate(input), output: rate(output) }
}

/// A JSON object, read as Go reads one into a structure: a missing or null value is empty, unknown keys are skipped, and
/// the case of a key does not matter unless another key matches exactly.
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, PluginError> {
        serde_json::from_slice(body).map(Self).map_err(PluginError::nonsense)
    }

    pub(crate) fn text(&self, key: &str) -> Result<&str, PluginError> {
        match self.value(key) {
            Value::String(text) => Ok(text),
            Value::Null => Ok(""),
            _ => Err(PluginError::nonsense(format_args!("{key:?} is no text"))),
        }
    }

    pub(crate) fn flag(&self, key: &str) -> Result<bool, PluginError> {
        match self.value(key) {
            Value::Bool(flag) => Ok(*flag),
            Value::Null => Ok(false),
            _ => Err(PluginError::nonsense(format_args!("{key:?} is neither true nor false"))),
        }
    }

    pub(crate) fn integer(&self, key: &str) -> Result<i64, PluginError> {
        match self.value(key) {
            Value::Null => Ok(0),
            value => value.as_i64().ok_or_else(|| {
                PluginError::nonsense(format_args!("{key:?} is not a number without a fraction"))
            }),
        }
    }

    fn value(&self, key: &str) -> &Value {
        let similar = || self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
        self.0.get(key).or_else(|| similar().map(|(_, value)| value)).unwrap_or(&Value::Null)
    }
}

/// `{"dst", "gateway"}`; `net` is the older name of `dst`.
pub(crate) fn route_json(
    body: &[u8],
    destination: IpAddr,
) -> Result<Option<HostName>, PluginError> {
    let fields = Fields::parse(body)?;
    let (dst, net) = (fields.text("dst")?, fields.text("net")?);
    route(if dst.is_empty() { net } else { dst }, fields.text("gateway")?, destination)
}

/// `{"endpoint"}`.
pub(crate) fn ingress_json(body: &[u8]) -> Result<Option<NamespaceId>, PluginError> {
    ingress(Fields::parse(body)?.text("endpoint")?)
}

/// `{"ok", "id"}`.
pub(crate) fn auth_json(body: &[u8]) -> Result<Option<String>, PluginError> {
    let fields = Fields::parse(body)?;
    auth(fields.flag("ok")?, fields.text("id")?.to_owned())
}

/// `{"ok"}`.
pub(crate) fn admission_json(body: &[u8]) -> Result<bool, PluginError> {
    Fields::parse(body)?.flag("ok")
}

/// A node as JSON; nothing, `null` and an object without keys are none. What stands in it is its user's to read.
pub(crate) fn node(body: &[u8]) -> Result<Option<String>, PluginError> {
    let text = std::str::from_utf8(body).map_err(PluginError::nonsense)?.trim();
    if matches!(text, "" | "null") {
        return Ok(None);
    }
    let Fields(fields) = Fields::parse(body)?;
    Ok((!fields.is_empty()).then(|| text.to_owned()))
}

/// `{"ok"}`: whether what was sent was taken.
pub(crate) fn taken_json(body: &[u8]) -> Result<bool, PluginError> {
    Fields::parse(body)?.flag("ok")
}

/// `{"in", "out"}`.
pub(crate) fn rates_json(body: &[u8]) -> Result<PluginRates, PluginError> {
    let fields = Fields::parse(body)?;
    Ok(rates(fields.integer("in")?, fields.integer("out")?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UUID: &str = "e87f56dd-fd57-4921-9ab8-a0847662daae";

    #[test]
    fn only_a_uuid_that_is_not_zero_is_an_endpoint() {
        assert_eq!(ingress_json(b"{}"), Ok(None));
        assert_eq!(ingress_json(br#"{"endpoint":null}"#), Ok(None));
        assert_eq!(ingress(UUID), Ok(Some(UUID.parse().unwrap())));
        for wrong in ["00000000-0000-0000-0000-000000000000", "host-1", " ", "e87f56dd"] {
            assert!(matches!(ingress(wrong), Err(PluginError::Nonsense(_))), "{wrong}");
        }
    }

    #[test]
    fn keys_are_found_as_go_finds_them_and_permissions_need_a_true() {
        assert_eq!(auth_json(br#"{"OK":true,"Id":"c"}"#), Ok(Some("c".into())));
        assert_eq!(auth_json(br#"{"ok":false,"OK":true,"id":"c"}"#), Ok(None));
        assert_eq!(auth_json(br#"{"id":"c"}"#), Ok(None));
        assert_eq!(admission_json(b"{}"), Ok(false));
        assert_eq!(admission_json(br#"{"ok":null}"#), Ok(false));
        for wrong in [r#"{"ok":"true"}"#, r#"{"ok":1}"#, "true", "[true]", "null", r#"{"ok":true"#]
        {
            let answer = admission_json(wrong.as_bytes());
            assert!(matches!(answer, Err(PluginError::Nonsense(_))), "{wrong}: {answer:?}");
        }
        let long = format!(r#"{{"ok":true,"id":"{}"}}"#, "x".repeat(256));
        assert!(auth_json(long.as_bytes()).is_err());
        assert!(auth_json(br#"{"ok":true,"id":"\u0007"}"#).is_err());
    }

    #[test]
    fn a_node_is_an_object_with_keys_and_nothing_is_none() {
        for none in ["", " \n", "null", "{}", " { } "] {
            assert_eq!(node(none.as_bytes()), Ok(None), "{none:?}");
        }
        let object = r#"{"addr":"192.0.2.1:1"}"#;
        assert_eq!(node(format!(" {object}\n").as_bytes()), Ok(Some(object.to_owned())));
        for wrong in [&b"[]"[..], b"true", b"{\"addr\":", b"\xff{}"] {
            assert!(matches!(node(wrong), Err(PluginError::Nonsense(_))), "{wrong:?}");
        }
    }

    #[test]
    fn rates_are_whole_numbers_and_only_positive_ones_limit() {
        let read = |body: &str| {
            rates_json(body.as_bytes()).map(|rates| {
                [rates.input, rates.output].map(|rate| rate.map_or(0, NonZeroU64::get))
            })
        };
        assert_eq!(read(r#"{"in":1000,"out":-1}"#), Ok([1000, 0]));
        assert_eq!(read(r#"{"Out":7}"#), Ok([0, 7]));
        assert_eq!(read("{}"), Ok([0, 0]));
        for wrong in [r#"{"in":"1000"}"#, r#"{"in":1.5}"#, r#"{"in":99999999999999999999}"#, "7"] {
            assert!(matches!(read(wrong), Err(PluginError::Nonsense(_))), "{wrong}");
        }
    }

    #[test]
    fn a_long_answer_makes_a_short_error() {
        let Err(PluginError::Nonsense(text)) = ingress(&"\u{e9}".repeat(60_000)) else {
            panic!("no UUID")
        };
        assert!(text.len() < 500, "{}", text.len());
    }

    /// Bit by bit, as the text of the prefix says.
    fn covers(prefix: IpAddr, length: u8, addr: IpAddr) -> bool {
        let bits = |addr: IpAddr| match addr {
            IpAddr::V4(addr) => (4, u128::from(addr.to_bits()) << 96),
            IpAddr::V6(addr) => (6, addr.to_bits()),
        };
        let ((family, prefix), (other, addr)) = (bits(prefix), bits(addr));
        family == other && (0..length).all(|n| (prefix << n) >> 127 == (addr << n) >> 127)
    }

    /// Few enough that answers often nearly cover questions.
    fn some_addr() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            (0u32..4, 0u32..1024)
                .prop_map(|(high, low)| IpAddr::from((high << 30 | low).to_be_bytes())),
            (0u128..4, 0u128..1024)
                .prop_map(|(high, low)| IpAddr::from((high << 126 | low).to_be_bytes())),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn no_gateway_is_used_for_an_address_that_the_answer_does_not_cover(
            destination in some_addr(),
            prefix in some_addr(),
            length in 0u8..=128,
            json in any::<bool>(),
            net in any::<bool>(),
        ) {
            let length = if prefix.is_ipv4() { length % 33 } else { length };
            let text = format!("{prefix}/{length}");
            let answer = if json {
                let key = if net { "net" } else { "dst" };
                let body = format!(r#"{{"{key}":"{text}","gateway":"host-1"}}"#);
                route_json(body.as_bytes(), destination)
            } else {
                route(&text, "host-1", destination)
            };
            if covers(prefix, length, destination) {
                prop_assert_eq!(answer, Ok(Some(HostName::new("host-1").unwrap())));
            } else {
                prop_assert!(matches!(answer, Err(PluginError::Nonsense(_))));
            }
        }

        #[test]
        fn whatever_a_plugin_sends_is_read_or_refused(body in some_body(), destination in some_addr()) {
            let readable = serde_json::from_slice::<Map<String, Value>>(&body).is_ok();
            prop_assert!(readable || route_json(&body, destination).is_err());
            prop_assert!(readable || ingress_json(&body).is_err());
            prop_assert!(readable || auth_json(&body).is_err());
            prop_assert!(readable || admission_json(&body).is_err());
            prop_assert!(readable || rates_json(&body).is_err());
            let says_true = String::from_utf8_lossy(&body).contains("true");
            prop_assert!(says_true || !matches!(admission_json(&body), Ok(true)));
            prop_assert!(says_true || !matches!(auth_json(&body), Ok(Some(_))));
        }
    }

    /// Random bytes, and texts that look like answers.
    fn some_body() -> impl Strategy<Value = Vec<u8>> {
        let key = prop_oneof![
            Just("dst"),
            Just("net"),
            Just("gateway"),
            Just("endpoint"),
            Just("ok"),
            Just("ID")
        ];
        let value = prop_oneof![
            Just("null".to_owned()),
            Just("true".into()),
            Just("-1e999".into()),
            Just("[[{}]]".into()),
            "\"[ -~]{0,20}\"",
            "\\PC{0,8}",
        ];
        let object = proptest::collection::vec((key, value), 0..4).prop_map(|fields| {
            let fields: Vec<_> =
                fields.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
            format!("{{{}}}", fields.join(",")).into_bytes()
        });
        prop_oneof![proptest::collection::vec(any::<u8>(), 0..64), object]
    }
}
