//! What becomes of a request's head, without a connection.

use hyper::{HeaderMap, Method, Uri, header::HeaderName};

use crate::{
    endpoints::{ApiRoute, route},
    guard::Site,
    request,
};

/// What becomes of a request's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadOutcome {
    /// Whether the rest of the request is looked at.
    pub permitted: bool,
    /// The names in its path, decoded, if it leads to an endpoint.
    pub names: Vec<String>,
    /// The parameters of its query, decoded.
    pub parameters: Vec<(String, String)>,
}

/// For fuzzing: a head at an API on `hub.example:18080` with the listed origin `https://ops.example`. `None`: it is none of HTTP.
pub fn request_head(method: &str, target: &str, headers: &[(&str, &str)]) -> Option<HeadOutcome> {
    let method: Method = method.parse().ok()?;
    let uri: Uri = target.parse().ok()?;
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_bytes(name.as_bytes()).ok()?, value.parse().ok()?);
    }
    let site = Site::new("hub.example:18080", &["https://ops.example".to_owned()], false);
    let names = match route(method.as_str(), uri.path()) {
        ApiRoute::Endpoint(_, names) => names.into_values().collect(),
        _ => Vec::new(),
    };
    Some(HeadOutcome {
        permitted: site.check(&method, &uri, &map).is_ok(),
        names,
        parameters: request::query(uri.query()).into_iter().collect(),
    })
}
