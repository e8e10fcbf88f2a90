//! The live page, as `script/page` has built it.

use hyper::header::{CONTENT_SECURITY_POLICY, HeaderValue};

use crate::answer::ApiAnswer;

/// The page loads its own files, asks this API, and nothing else; it runs nothing that stands in a text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page.
pub(crate) fn file(name: &str) -> Option<ApiAnswer> {
    let (content_type, text) = match name {
        "index.html" => ("text/html; charset=utf-8", include_str!("../page/dist/index.html")),
        "page.js" => ("text/javascript; charset=utf-8", include_str!("../page/dist/page.js")),
        "page.css" => ("text/css; charset=utf-8", include_str!("../page/dist/page.css")),
        "icon.svg" => ("image/svg+xml", include_str!("../page/dist/icon.svg")),
        _ => return None,
    };
    let policy = HeaderValue::from_static(POLICY);
    Some(ApiAnswer::text(content_type, text.to_owned()).with(CONTENT_SECURITY_POLICY, policy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_file_that_it_names_and_one_policy() {
        let page = include_str!("../page/dist/index.html");
        let names = page.split("\"page/").skip(1).map(|rest| rest.split('"').next().unwrap());
        let files: Vec<_> = names.map(|name| file(name).unwrap()).collect();
        assert_eq!(files.len(), 3);
        assert!(file("../Cargo.toml").is_none());
        let response = file("index.html").unwrap().into_response();
        let policies: Vec<_> = response.headers().get_all(CONTENT_SECURITY_POLICY).iter().collect();
        assert_eq!(policies, [POLICY]);
    }
}
