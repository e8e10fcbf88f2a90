//! Who may ask: decided by the head of a request alone, before its path is looked at.

use hyper::{
    HeaderMap, Method, Uri,
    header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, ORIGIN},
    http::uri::Authority,
};
use std::net::IpAddr;

/// What a listener knows of those who may ask.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    /// Names that may stand in `Host`, in lower case, besides addresses and `localhost`; `None`: any, as at a Unix socket.
    names: Option<Vec<String>>,
    /// Origins, in lower case, whose pages may ask.
    origins: Vec<String>,
    scheme: &'static str,
}

/// Why somebody may not ask.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SiteError {
    /// A page under another name may have been led here.
    #[error(
        "the host `{0}` of the URL is not known here: use an address, or list http(s)://{0} among the API's `origins`"
    )]
    Host(String),
    #[error("there is no Host, or more than one")]
    NoHost,
    /// A page of another site.
    #[error("pages of {0} may not use this API: list it among the API's `origins` if they should")]
    Origin(String),
    /// A form of a page.
    #[error("a body of the type {0} is not taken: send application/json")]
    Form(String),
}

/// The page that a permitted request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RequestPage {
    /// None, or one of this site.
    Own,
    /// One of this listed origin.
    Listed(HeaderValue),
}

impl Site {
    /// Of a listener at `addr` with these `origins`.
    pub(crate) fn new(addr: &str, origins: &[String], tls: bool) -> Self {
        let names = (!addr.starts_with("unix://")).then(|| {
            let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
            let own = (!host.is_empty()).then(|| host.to_ascii_lowercase());
            let listed = origins.iter().filter_map(|origin| {
                let (_, authority) = origin.split_once("://")?;
                let authority: Authority = authority.parse().ok()?;
                Some(authority.host().to_owned())
            });
            listed.chain(own).collect()
        });
        let scheme = if tls { "https" } else { "http" };
        Self { names, origins: origins.to_vec(), scheme }
    }

    /// Whether a request with this head may be looked at, and for which page.
    pub(crate) fn check(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<RequestPage, SiteError> {
        let host = self.host(uri, headers)?;
        let page = self.page(method, host.as_deref(), headers)?;
        // A page that says where it comes from has been found to be of this site, or listed.
        if !headers.contains_key(ORIGIN)
            && ![Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
        {
            form(headers)?;
        }
        Ok(page)
    }

    /// The host and port that the request is for.
    fn host(&self, uri: &Uri, headers: &HeaderMap) -> Result<Option<String>, SiteError> {
        if headers.get_all(HOST).iter().count() > 1 {
            // A proxy in between may have read the other one.
            return Err(SiteError::NoHost);
        }
        let given = headers.get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes()));
        let given = given.map(|host| host.to_ascii_lowercase());
        let given = uri.authority().map(|it| it.as_str().to_ascii_lowercase()).or(given);
        let Some(names) = &self.names else { return Ok(given) };
        let given = given.ok_or(SiteError::NoHost)?;
        let refused = || SiteError::Host(given.escape_debug().to_string());
        let authority: Authority = given.parse().map_err(|_| refused())?;
        let name = authority.host();
        let address = name.trim_start_matches('[').trim_end_matches(']');
        // A page of another site is led here by a name whose address it changes; an address cannot be changed.
        let is_known = address.parse::<IpAddr>().is_ok()
            || name == "localhost"
            || names.iter().any(|known| known == name);
        if is_known { Ok(Some(given)) } else { Err(refused()) }
    }

    fn page(
        &self,
        method: &Method,
        host: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<RequestPage, SiteError> {
        let Some(origin) = headers.get(ORIGIN) else {
            let fetch = |name: &'static str| headers.get(HeaderName::from_static(name));
            let is_foreign = fetch("sec-fetch-site")
                .is_some_and(|site| site == "cross-site" || site == "same-site");
            let is_link = *method == Method::GET
                && fetch("sec-fetch-mode").is_some_and(|mode| mode == "navigate");
            return match is_foreign && !is_link {
                true => Err(SiteError::Origin("other sites".to_owned())),
                false => Ok(RequestPage::Own),
            };
        };
        let text = String::from_utf8_lossy(origin.as_bytes()).to_ascii_lowercase();
        if headers.get_all(ORIGIN).iter().count() > 1 {
            return Err(SiteError::Origin(text.escape_debug().to_string()));
        }
        if host.is_some_and(|host| text == format!("{}://{host}", self.scheme)) {
            return Ok(RequestPage::Own);
        }
        match self.origins.contains(&text) {
            true => Ok(RequestPage::Listed(origin.clone())),
            false => Err(SiteError::Origin(text.escape_debug().to_string())),
        }
    }
}

/// What forms of pages can send without asking first; curl's `-d` says it, too, and sends no `Origin`.
fn form(headers: &HeaderMap) -> Result<(), SiteError> {
    let Some(kind) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let kind = String::from_utf8_lossy(kind.as_bytes()).to_ascii_lowercase();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is_form = ["multipart/form-data", "text/plain"].contains(&kind);
    let is_of_page = headers.contains_key("sec-fetch-site");
    if is_form || kind == "application/x-www-form-urlencoded" && is_of_page {
        return Err(SiteError::Form(kind.escape_debug().to_string()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        addr: &str,
        origins: &[&str],
        method: Method,
        headers: &[(&'static str, &str)],
    ) -> Result<RequestPage, SiteError> {
        let origins: Vec<String> = origins.iter().map(|it| (*it).to_owned()).collect();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        Site::new(addr, &origins, false).check(&method, &Uri::from_static("/config"), &map)
    }

    #[test]
    fn hosts_are_addresses_or_known() {
        let get = |addr: &str, host: &str| {
            check(addr, &["https://ops.example:8443"], Method::GET, &[("host", host)])
        };
        let local = "127.0.0.1:18080";
        for host in [
            "127.0.0.1:18080",
            "localhost",
            "LOCALHOST:1",
            "[::1]:18080",
            "192.0.2.7",
            "ops.example",
            "ops.example:18080",
        ] {
            assert_eq!(get(local, host), Ok(RequestPage::Own), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example:18080",
            "",
            "ops.example.evil",
            "a b",
            "hub",
        ] {
            assert!(matches!(get(local, host), Err(SiteError::Host(_))), "{host}");
        }
        assert_eq!(get("hub:18080", "Hub:18080"), Ok(RequestPage::Own));
        assert_eq!(get("unix:///run/api.sock", "whatever"), Ok(RequestPage::Own));
        assert_eq!(check(local, &[], Method::GET, &[]), Err(SiteError::NoHost));
        assert_eq!(check("unix:///x", &[], Method::GET, &[]), Ok(RequestPage::Own));
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(check(local, &[], Method::GET, &two), Err(SiteError::NoHost));
    }

    #[test]
    fn pages_of_other_sites_may_not_ask() {
        let host = ("host", "127.0.0.1:18080");
        let ask = |method: Method, headers: &[(&'static str, &str)]| {
            let headers = [&[host], headers].concat();
            check("127.0.0.1:18080", &["https://ops.example"], method, &headers)
        };
        for origin in [
            "http://evil.example",
            "null",
            "https://127.0.0.1:18080",
            "http://127.0.0.1",
            "http://127.0.0.1:18080.evil.example",
            "https://ops.example:444",
            "file://",
        ] {
            for method in [Method::GET, Method::POST, Method::DELETE, Method::OPTIONS] {
                let asked = ask(method, &[("origin", origin)]);
                assert!(matches!(asked, Err(SiteError::Origin(_))), "{origin}: {asked:?}");
            }
        }
        assert_eq!(
            ask(Method::POST, &[("origin", "http://127.0.0.1:18080")]),
            Ok(RequestPage::Own)
        );
        let listed = RequestPage::Listed(HeaderValue::from_static("https://ops.example"));
        assert_eq!(ask(Method::PUT, &[("origin", "https://ops.example")]), Ok(listed));
        let two = [("origin", "https://ops.example"), ("origin", "http://evil.example")];
        assert!(ask(Method::PUT, &two).is_err());
        let fetch = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")];
        assert!(matches!(ask(Method::GET, &fetch), Err(SiteError::Origin(_))));
        let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        assert_eq!(ask(Method::GET, &link), Ok(RequestPage::Own));
        assert!(ask(Method::POST, &link).is_err());
    }

    #[test]
    fn forms_of_pages_are_refused_and_curl_is_not() {
        let form = "application/x-www-form-urlencoded";
        let post = |headers: &[(&'static str, &str)]| {
            let headers = [&[("host", "[::1]:1")], headers].concat();
            check("[::1]:1", &[], Method::POST, &headers)
        };
        assert_eq!(post(&[("content-type", form)]), Ok(RequestPage::Own));
        assert_eq!(
            post(&[("content-type", "application/json; charset=utf-8")]),
            Ok(RequestPage::Own)
        );
        for kind in ["text/plain;charset=UTF-8", "multipart/form-data; boundary=x"] {
            assert!(matches!(post(&[("content-type", kind)]), Err(SiteError::Form(_))), "{kind}");
        }
        let old = [("content-type", form), ("sec-fetch-site", "same-origin")];
        assert!(matches!(post(&old), Err(SiteError::Form(_))));
        // axios says so of a request without a body.
        let own = [("content-type", form), ("origin", "http://[::1]:1")];
        assert_eq!(post(&own), Ok(RequestPage::Own));
    }
}
