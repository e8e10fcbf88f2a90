//! Relay messages: the first bytes of an association.

use rtun_proto::relay::{DecodeError, Decoded, MAX_REQUEST, Request, Response};

/// The first bytes of an unauthenticated peer at a hub.
pub fn relay_request(bytes: &[u8]) {
    let Some(request) = decoded(bytes, Request::decode) else { return };
    let again = request.encode().expect("a decoded message fits in a message");
    assert_eq!(decoded(&again, Request::decode).as_ref(), Some(&request));
    let association = request.association();
    assert!(association.host.len() <= 255);
    let shown = format!("{request:?} {association:?}");
    assert!(shown.len() < 64 * 1024, "only a few characters for each byte");
    let asked = Request::associate(&association);
    let bytes = asked.encode().expect("one of each feature fits in a message");
    assert_eq!(decoded(&bytes, Request::decode), Some(asked));
}

/// A hub's first bytes at a host.
pub fn relay_response(bytes: &[u8]) {
    let Some(response) = decoded(bytes, Response::decode) else { return };
    let again = response.encode().expect("a decoded message fits in a message");
    assert_eq!(decoded(&again, Response::decode).as_ref(), Some(&response));
    if let Some(id) = response.connector_id() {
        assert_ne!(id.rtun_version(), Some(0));
    }
    let _ = format!("{response:?} {}", response.status);
}

/// The whole message at the beginning of `bytes`, if there is one. Checks the bounds of the result.
fn decoded<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<Decoded<T>, DecodeError>,
) -> Option<T> {
    match decode(bytes) {
        Ok(Decoded::Complete { value, len }) => {
            assert!(len <= bytes.len() && len <= MAX_REQUEST);
            for cut in [0, 1, 3, 4, len / 2, len - 1] {
                match decode(&bytes[..cut.min(len - 1)]) {
                    Ok(Decoded::Incomplete { needed }) => assert!(needed > cut.min(len - 1)),
                    other => panic!("{other:?} of the beginning of a message"),
                }
            }
            Some(value)
        }
        Ok(Decoded::Incomplete { needed }) => {
            assert!(needed > bytes.len() && needed <= MAX_REQUEST);
            None
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}
