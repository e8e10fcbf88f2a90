//! gRPC on a stream: each call of GOST's tunnel service is one stream, every write one message.

use std::sync::Arc;

use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{CONTENT_TYPE, TE},
    request::Parts,
};
use rtun_settings::GrpcSettings;

use super::{
    Stream,
    http_text::encode_path,
    http2::{
        BodyFraming, GRPC_STATUS, HttpError, RequestAnswer, RequestService, Server, connect_early,
        request, serve_with,
    },
    names::host_of,
};

/// What gRPC calls a method that there is not.
const UNIMPLEMENTED: HeaderValue = HeaderValue::from_static("12");

const GRPC: &str = "application/grpc";

/// The path of the call that a configured one stands for: slashes around it are left out; empty is `/GostTunel/Tunnel`, one
/// part the service's name, two or more the service's and the method's, the latter's parts joined by `-`, as in GOST.
pub fn method_path(configured: &str) -> String {
    let (service, method) = match configured.trim_matches('/').split_once('/') {
        Some((service, method)) => (service, method.replace('/', "-")),
        None => (configured.trim_matches('/'), "Tunnel".to_owned()),
    };
    let service = if service.is_empty() { "GostTunel" } else { service };
    encode_path(&format!("/{service}/{method}"))
}

/// Begins a call on a connection of its own. Does not wait for the answer, which a server may give as late as its first
/// byte; a refusal is an error of the first read. The authority is the configured one, else the host of `addr`, `host:port` as it
/// was reached, without the port as GOST has it. `is_tls`, whether TLS carries the connection, decides the request's scheme. Has
/// to be called within a tokio runtime.
pub async fn connect(
    stream: Arc<dyn Stream>,
    settings: &GrpcSettings,
    addr: &str,
    is_tls: bool,
) -> Result<Arc<dyn Stream>, HttpError> {
    let path = method_path(&settings.path);
    let host = settings.authority.as_deref().unwrap_or_else(|| host_of(addr));
    let mut request = request(Method::POST, Some(path), host, is_tls, &[])?;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
    request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    connect_early(stream, request, BodyFraming::Grpc).await
}

/// Serves calls. Other methods are answered by gRPC's status 12, what is no gRPC by 405 or 415. Has to be called within a
/// tokio runtime.
///
/// A task of the connection's own serves it, until its end or the server's.
pub fn serve(stream: Arc<dyn Stream>, settings: &GrpcSettings) -> Server {
    let path = method_path(&settings.path);
    let judge = move |request: &Parts| judge(request, &path);
    serve_with(stream, RequestService { judge: Box::new(judge), framing: BodyFraming::Grpc })
}

fn judge(request: &Parts, path: &str) -> RequestAnswer {
    let mut response = Response::new(());
    let content_type = request.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if request.method != Method::POST {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        return RequestAnswer::Refuse(response);
    }
    if !content_type.is_some_and(is_grpc) {
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return RequestAnswer::Refuse(response);
    }
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
    if request.uri.path() != path {
        response.headers_mut().insert(GRPC_STATUS, UNIMPLEMENTED);
        return RequestAnswer::Refuse(response);
    }
    RequestAnswer::Take(response)
}

/// `application/grpc`, with a message format or parameters or without.
fn is_grpc(content_type: &[u8]) -> bool {
    let grpc = GRPC.as_bytes();
    content_type.get(..grpc.len()).is_some_and(|start| start.eq_ignore_ascii_case(grpc))
        && matches!(content_type.get(grpc.len()), None | Some(b'+' | b';'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configured_paths_stand_for_gosts_methods() {
        for (configured, path) in [
            ("", "/GostTunel/Tunnel"),
            ("/", "/GostTunel/Tunnel"),
            ("/svc/", "/svc/Tunnel"),
            ("svc/method", "/svc/method"),
            ("/a/b/c/d", "/a/b-c-d"),
        ] {
            assert_eq!(method_path(configured), path, "{configured}");
        }
    }

    #[test]
    fn content_types_of_grpc_are_told_from_others() {
        for good in ["application/grpc", "application/grpc+proto", "Application/gRPC; a=b"] {
            assert!(is_grpc(good.as_bytes()), "{good}");
        }
        for bad in ["application/grpc-web", "application/json", "", "application"] {
            assert!(!is_grpc(bad.as_bytes()), "{bad}");
        }
    }
}
