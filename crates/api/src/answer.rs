//! Answers: their bodies, in GOST's envelope or rtun's own form, and the headers that all have.

use http_body_util::{Either, Full};
use hyper::{
    HeaderMap, Response, StatusCode,
    body::Bytes,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
        REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};
use rtun_config::findings::Finding;
use serde::Serialize;
use serde_json::{Value, json};

use crate::events::EventBody;

/// Of JSON.
pub(crate) const JSON: &str = "application/json";

/// Whose form an error has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// GOST's envelope: `{"code":40001,"msg":"..."}`.
    Gost,
    /// rtun's own: `{"error":"..."}`.
    Own,
}

impl Form {
    /// Of errors at this path, after the prefix.
    pub(crate) fn of(path: &str) -> Self {
        let is_gosts = path == "/config" || path.starts_with("/config/");
        if is_gosts { Self::Gost } else { Self::Own }
    }
}

/// The body of an answer.
pub(crate) type AnswerBody = Either<Full<Bytes>, EventBody>;

/// What is answered.
pub(crate) struct ApiAnswer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: &'static str,
    pub(crate) body: AnswerBody,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// For the log.
    pub(crate) error: Option<String>,
}

impl ApiAnswer {
    pub(crate) fn text(content_type: &'static str, body: String) -> Self {
        let body = Either::Left(Full::from(body));
        Self { status: StatusCode::OK, content_type, body, headers: Vec::new(), error: None }
    }

    /// A stream of events.
    pub(crate) fn events(events: EventBody) -> Self {
        let body = Either::Right(events);
        Self { body, ..Self::text("text/event-stream", String::new()) }
    }

    /// This as JSON.
    pub(crate) fn json(value: &impl Serialize) -> Self {
        match serde_json::to_string(value) {
            Ok(body) => Self::text(JSON, body),
            Err(error) => Self::error(
                Form::Own,
                StatusCode::INTERNAL_SERVER_ERROR,
                500,
                &format!("this cannot be written as JSON: {error}"),
            ),
        }
    }

    /// `data` is JSON.
    pub(crate) fn data(data: &str) -> Self {
        Self::text(JSON, format!("{{\"data\":{data}}}"))
    }

    /// GOST's answer to a change; with what there is to say of it.
    pub(crate) fn ok(findings: &[Finding]) -> Self {
        let mut body = json!({"msg": "OK"});
        if !findings.is_empty() {
            body["findings"] = findings.iter().map(shown).collect();
        }
        Self::json(&body)
    }

    /// An error; `code` is GOST's.
    pub(crate) fn error(form: Form, status: StatusCode, code: u32, message: &str) -> Self {
        let body = match form {
            Form::Gost => json!({"code": code, "msg": message}),
            Form::Own => json!({"error": message}),
        };
        let error = Some(message.to_owned());
        Self { status, error, ..Self::text(JSON, body.to_string()) }
    }

    /// An error of this HTTP status, which is its code too.
    pub(crate) fn refusal(form: Form, status: StatusCode, message: &str) -> Self {
        Self::error(form, status, u32::from(status.as_u16()), message)
    }

    /// A configuration that would be wrong: the first error in words, all findings as data.
    pub(crate) fn wrong(findings: &[Finding]) -> Self {
        let worst = findings.iter().max_by_key(|finding| finding.severity);
        let first = findings.iter().find(|it| Some(it.severity) == worst.map(|it| it.severity));
        let message = first.map_or_else(|| "this is wrong".to_owned(), sentence);
        let body = json!({
            "code": 40001,
            "msg": message,
            "findings": findings.iter().map(shown).collect::<Vec<_>>(),
        });
        let (status, error) = (StatusCode::BAD_REQUEST, Some(message));
        Self { status, error, ..Self::text(JSON, body.to_string()) }
    }

    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// As HTTP, with the headers that every answer has.
    pub(crate) fn into_response(self) -> Response<AnswerBody> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        protect(headers);
        for (name, value) in self.headers {
            if name == CONTENT_SECURITY_POLICY {
                // Of several policies a browser keeps to each.
                headers.remove(&name);
            }
            headers.append(name, value);
        }
        response
    }
}

/// What keeps a browser from taking an answer for something else, from showing it in a foreign page, and from keeping it.
fn protect(headers: &mut HeaderMap) {
    let policy = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let own = HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(own, HeaderValue::from_static("same-origin"));
}

/// A finding as data.
fn shown(finding: &Finding) -> Value {
    let mut shown = json!({
        "severity": finding.severity.to_string(),
        "message": finding.message,
    });
    let location = finding.location.as_ref();
    let fields = [
        ("code", finding.code.map(|code| json!(code.to_string()))),
        ("help", finding.help.as_ref().map(|help| json!(help))),
        ("key", (!finding.path.is_empty()).then(|| json!(finding.path))),
        ("file", location.map(|location| json!(*location.file))),
        ("line", location.map(|location| json!(location.line))),
        ("column", location.map(|location| json!(location.column))),
    ];
    for (key, value) in fields {
        if let Some(value) = value {
            shown[key] = value;
        }
    }
    shown
}

/// A finding in one line.
fn sentence(finding: &Finding) -> String {
    let place = finding.location.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
    let key = match finding.path.as_str() {
        "" => String::new(),
        path => format!("{path}: "),
    };
    let help = finding.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
    format!("{place}{key}{}{help}", finding.message)
}
