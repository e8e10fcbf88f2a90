//! Serving the API: its listener, who may ask what, and how connections are bounded.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Incoming},
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ALLOW, AUTHORIZATION, HeaderName, HeaderValue, VARY, WWW_AUTHENTICATE,
    },
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rtun_node::{
    Board,
    http::{HttpAddress, HttpListenError, HttpListening, HttpPeer, HttpStream, HttpUsers},
};
use rtun_settings::ApiSettings;
use tokio::{
    sync::{Mutex, Semaphore},
    time::sleep,
};
use tracing::info;

use crate::{
    answer::{AnswerBody, ApiAnswer, Form},
    audit::AuditEntry,
    config,
    desk::Desk,
    endpoints::{Action, ApiRoute, route},
    events::STREAMS,
    guard::{RequestPage, Site, SiteError},
    request::{self, Asked, BodyError},
    v1,
};

/// Connections at a time.
const AT_ONCE: usize = 64;

/// From the end of one request to that of the next one's head.
const IDLE: Duration = Duration::from_secs(10);

/// The longest head of a request.
const MAX_HEAD: usize = 16 << 10;

/// A wrong user or password is answered so much later, one at a time.
const WRONG_PASSWORD: Duration = Duration::from_secs(1);

/// Methods that change nothing.
const READS: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// Serves the Web API until it is dropped.
pub struct ApiServer {
    config: ApiSettings,
    access: Arc<ApiAccess>,
    listening: Arc<ApiListening>,
}

/// The Web API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The address cannot be listened on.
    #[error("the Web API: {0}")]
    Listen(#[from] HttpListenError),
}

struct ApiListening {
    access: Arc<ArcSwap<ApiAccess>>,
    /// Accepts and answers, and ends when this is dropped.
    listening: HttpListening,
}

/// What may change while it listens.
struct ApiAccess {
    prefix: String,
    access_log: bool,
    users: Option<HttpUsers>,
    readers: Vec<String>,
    site: Site,
}

/// What all requests share.
struct Office {
    access: Arc<ArcSwap<ApiAccess>>,
    desk: Desk,
    board: Arc<Board>,
    /// Held by the one who has given a wrong password and waits for the answer.
    penance: Mutex<()>,
    /// For streams of events.
    streams: Arc<Semaphore>,
}

impl ApiServer {
    /// The server for `wanted`: `before` if nothing has changed, one on the same listener if address and TLS are unchanged, else a
    /// new one. On the same listener, changes take effect at [`ApiServer::commit`].
    ///
    /// # Errors
    ///
    /// It cannot listen.
    pub fn next(
        before: Option<&Arc<Self>>,
        wanted: Option<&ApiSettings>,
        board: &Arc<Board>,
        desk: &Desk,
    ) -> Result<Option<Arc<Self>>, ApiError> {
        let Some(wanted) = wanted else { return Ok(None) };
        if let Some(same) = before.filter(|before| before.config == *wanted) {
            return Ok(Some(Arc::clone(same)));
        }
        let access = Arc::new(ApiAccess::new(wanted));
        let same = |before: &&Arc<Self>| {
            before.config.addr == wanted.addr && before.config.tls == wanted.tls
        };
        let listening = match before.filter(same) {
            Some(before) => Arc::clone(&before.listening),
            None => Arc::new(ApiListening::start(wanted, Arc::clone(&access), board, desk)?),
        };
        Ok(Some(Arc::new(Self { config: wanted.clone(), access, listening })))
    }

    /// From now on requests are answered by this server's configuration.
    pub fn commit(&self) {
        self.listening.access.store(Arc::clone(&self.access));
    }

    /// The address of its listener, if it is not a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.listening.listening.local_addr()
    }
}

impl ApiListening {
    fn start(
        settings: &ApiSettings,
        access: Arc<ApiAccess>,
        board: &Arc<Board>,
        desk: &Desk,
    ) -> Result<Self, ApiError> {
        let access = Arc::new(ArcSwap::new(access));
        let office = Arc::new(Office {
            access: Arc::clone(&access),
            desk: desk.clone(),
            board: Arc::clone(board),
            penance: Mutex::new(()),
            streams: Arc::new(Semaphore::new(STREAMS)),
        });
        let addr = &settings.addr;
        let address = HttpAddress {
            what: "Web API",
            addr,
            tls: settings.tls.as_ref(),
            private: true,
            at_once: AT_ONCE,
        };
        let listening = HttpListening::start(&address, board, move |stream, peer| {
            let office = Arc::clone(&office);
            async move {
                // A client that is too slow, or has gone, gets no answer.
                let _ = serve(stream, &peer, &office).await;
            }
        })?;
        let local_addr = listening.local_addr();
        let address = local_addr.map_or_else(|| addr.to_owned(), |addr| addr.to_string());
        info!(address, tls = settings.tls.is_some(), "the Web API is served");
        Ok(Self { access, listening })
    }
}

impl ApiAccess {
    fn new(settings: &ApiSettings) -> Self {
        Self {
            prefix: settings.path_prefix.clone(),
            access_log: settings.access_log,
            users: settings.auther.as_ref().map(HttpUsers::of),
            readers: settings.readers.clone(),
            site: Site::new(&settings.addr, &settings.origins, settings.tls.is_some()),
        }
    }
}

async fn serve(
    stream: Box<dyn HttpStream>,
    peer: &HttpPeer,
    office: &Office,
) -> Result<(), hyper::Error> {
    let service = service_fn(|request: Request<Incoming>| async {
        Ok::<_, Infallible>(office.answer(request, peer).await)
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

impl Office {
    async fn answer<B>(&self, request: Request<B>, peer: &HttpPeer) -> Response<AnswerBody>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let access = self.access.load_full();
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let inner = path.strip_prefix(&access.prefix).filter(|rest| rest.starts_with('/'));
        let form = Form::of(inner.unwrap_or_default());
        let method = head.method.as_str();
        let mut user = None;
        let page = access.site.check(&head.method, &head.uri, &head.headers);
        let answer = match &page {
            Err(error) => ApiAnswer::refusal(form, status_of(error), &error.to_string()),
            Ok(_) if head.method == Method::OPTIONS => preflight(inner.unwrap_or_default()),
            Ok(_) => {
                let proven = match &access.users {
                    None => true,
                    Some(users) => {
                        user = users.prove(&head.headers, &self.board);
                        user.is_some()
                    }
                };
                let is_reader = user.as_ref().is_some_and(|user| access.readers.contains(user));
                match inner {
                    _ if !proven => {
                        if head.headers.contains_key(AUTHORIZATION) {
                            let _alone = self.penance.lock().await;
                            sleep(WRONG_PASSWORD).await;
                        }
                        unauthorized(form)
                    }
                    _ if is_reader && !READS.contains(&method) => {
                        let message = "this user may read and change nothing";
                        ApiAnswer::refusal(form, StatusCode::FORBIDDEN, message)
                    }
                    Some(inner) => {
                        peer.proven.prove();
                        let asked =
                            Asked { query: request::query(head.uri.query()), ..Asked::default() };
                        let role = if is_reader { "reader" } else { "admin" };
                        self.lead(method, inner, asked, body, (&access, role)).await
                    }
                    None => nowhere(form),
                }
            }
        };
        let changes = !READS.contains(&method);
        let entry = AuditEntry { peer, user: user.as_deref(), method, path: &path, changes };
        entry.log(&answer, access.access_log);
        let mut response = answer.into_response();
        if let Ok(RequestPage::Listed(origin)) = page {
            let headers = response.headers_mut();
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.append(VARY, HeaderValue::from_static("Origin"));
            let policy = HeaderName::from_static("cross-origin-resource-policy");
            headers.insert(policy, HeaderValue::from_static("cross-origin"));
        }
        response
    }

    /// Answers somebody who may ask.
    async fn lead<B>(
        &self,
        method: &str,
        path: &str,
        mut asked: Asked,
        body: B,
        (access, role): (&ApiAccess, &str),
    ) -> ApiAnswer
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let form = Form::of(path);
        // GOST sends those with a slash at the end on to the path without.
        let path = path.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(path);
        // As everywhere in HTTP, HEAD is GET without the body, which hyper leaves out.
        let method = if method == "HEAD" { "GET" } else { method };
        let endpoint = match route(method, path) {
            ApiRoute::Endpoint(endpoint, names) => {
                asked.names = names;
                // So that there is no parameter that is not described.
                asked.query.retain(|name, _| endpoint.parameters.iter().any(|it| it.name == *name));
                endpoint
            }
            ApiRoute::OtherMethods(methods) => {
                let allowed = methods.join(", ");
                let message = format!("{method} is not for this path; {allowed} is");
                let answer = ApiAnswer::refusal(form, StatusCode::METHOD_NOT_ALLOWED, &message);
                return match HeaderValue::from_str(&allowed) {
                    Ok(allowed) => answer.with(ALLOW, allowed),
                    Err(_) => answer,
                };
            }
            ApiRoute::Nowhere => return nowhere(form),
        };
        if endpoint.has_body {
            match request::body(body).await {
                Ok(body) => asked.body = body,
                Err(error) => {
                    let (status, message) = match error {
                        BodyError::TooLong => {
                            (StatusCode::PAYLOAD_TOO_LARGE, "the body has more than 1 MiB")
                        }
                        BodyError::TooSlow => {
                            (StatusCode::REQUEST_TIMEOUT, "the body did not come within 10 s")
                        }
                        BodyError::Broken => (StatusCode::BAD_REQUEST, "the body is no UTF-8"),
                    };
                    return ApiAnswer::refusal(form, status, message);
                }
            }
        }
        match endpoint.action {
            Action::Config(action) => {
                config::answer(action, endpoint.method, &asked, &self.desk, &self.board).await
            }
            Action::View(action) => {
                v1::answer(action, &asked, &access.prefix, role, &self.board, &self.streams)
            }
        }
    }
}

fn status_of(error: &SiteError) -> StatusCode {
    match error {
        SiteError::NoHost => StatusCode::BAD_REQUEST,
        SiteError::Host(_) | SiteError::Origin(_) => StatusCode::FORBIDDEN,
        SiteError::Form(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
    }
}

fn nowhere(form: Form) -> ApiAnswer {
    let message = "there is nothing here; /v1/openapi.json has all paths";
    ApiAnswer::refusal(form, StatusCode::NOT_FOUND, message)
}

fn unauthorized(form: Form) -> ApiAnswer {
    let realm = HeaderValue::from_static("Basic realm=\"rtun\", charset=\"UTF-8\"");
    let answer = match form {
        Form::Gost => ApiAnswer::refusal(form, StatusCode::UNAUTHORIZED, "Unauthorized"),
        Form::Own => ApiAnswer::refusal(
            form,
            StatusCode::UNAUTHORIZED,
            "user and password are missing or wrong",
        ),
    };
    answer.with(WWW_AUTHENTICATE, realm)
}

/// What a browser asks before a page may send something else than a form.
fn preflight(path: &str) -> ApiAnswer {
    let methods = match route(Method::OPTIONS.as_str(), path) {
        ApiRoute::OtherMethods(methods) => methods.join(", ") + ", OPTIONS",
        // So that the page learns that there is nothing.
        _ => "GET, POST, PUT, DELETE, OPTIONS".to_owned(),
    };
    let methods = HeaderValue::from_str(&methods);
    let methods = methods.unwrap_or_else(|_| HeaderValue::from_static("OPTIONS"));
    let headers = HeaderValue::from_static("Authorization, Content-Type");
    let answer = ApiAnswer {
        status: StatusCode::NO_CONTENT,
        ..ApiAnswer::text("text/plain", String::new())
    };
    // A listed page may come from the Internet although this is in a private network.
    let private = HeaderName::from_static("access-control-allow-private-network");
    answer
        .with(ALLOW, methods.clone())
        .with(ACCESS_CONTROL_ALLOW_METHODS, methods)
        .with(ACCESS_CONTROL_ALLOW_HEADERS, headers)
        .with(private, HeaderValue::from_static("true"))
}
