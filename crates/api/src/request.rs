//! A request as the endpoints see it: the names in its path, its query, its body.

use std::{collections::BTreeMap, time::Duration};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use percent_encoding::percent_decode_str;
use tokio::time::timeout;

/// The longest body, in bytes.
pub(crate) const MAX_BODY: usize = 1 << 20;

/// From the end of the head to that of the body.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// What comes in addition to method and path.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// The values of the names in the path's pattern, decoded.
    pub(crate) names: BTreeMap<&'static str, String>,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Asked {
    /// What stands in the path at `{name}`.
    pub(crate) fn name(&self, name: &str) -> &str {
        self.names.get(name).map_or("", String::as_str)
    }

    /// A parameter of the query unless absent or empty.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The same, to keep.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.parameter(name).map(str::to_owned)
    }

    /// The same, as something else; an error says what is wrong.
    pub(crate) fn parsed<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let Some(text) = self.parameter(name) else { return Ok(None) };
        let wrong = |_| format!("`{}` is no value of `{name}`", text.escape_debug());
        text.parse().map(Some).map_err(wrong)
    }
}

/// The parameters of a query; of two of one name the last counts.
pub(crate) fn query(query: Option<&str>) -> BTreeMap<String, String> {
    form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect()
}

/// The names that `path` has at the places of `{name}` in `pattern`, if it is one of it.
pub(crate) fn names(pattern: &'static str, path: &str) -> Option<BTreeMap<&'static str, String>> {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    let mut names = BTreeMap::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(names),
            (Some(wanted), Some(given)) => {
                match wanted.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                    Some(_) if given.is_empty() => return None,
                    Some(name) => {
                        let text = percent_decode_str(given).decode_utf8_lossy().into_owned();
                        names.insert(name, text);
                    }
                    None if wanted == given => {}
                    None => return None,
                }
            }
            _ => return None,
        }
    }
}

/// A body that cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    TooLong,
    TooSlow,
    Broken,
}

/// Reads the whole body.
pub(crate) async fn body<B>(body: B) -> Result<String, BodyError>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let read = timeout(BODY_DEADLINE, Limited::new(body, MAX_BODY).collect()).await;
    match read.map_err(|_| BodyError::TooSlow)? {
        Ok(body) => String::from_utf8(body.to_bytes().into()).map_err(|_| BodyError::Broken),
        Err(error) if error.is::<LengthLimitError>() => Err(BodyError::TooLong),
        Err(_) => Err(BodyError::Broken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_paths() {
        let found = names("/config/{group}/{name}", "/config/services/a%2Fb%20c").unwrap();
        assert_eq!((&*found["group"], &*found["name"]), ("services", "a/b c"));
        for path in ["/config", "/config/services", "/config/services/", "/config/a/b/c", "/x/a/b"]
        {
            assert!(names("/config/{group}/{name}", path).is_none(), "{path}");
        }
        assert!(names("/config", "/config").is_some());
        assert_eq!(query(Some("a=1&b=x+y%26&a=2"))["b"], "x y&");
        assert_eq!(query(Some("a=1&a=2"))["a"], "2");
    }
}
