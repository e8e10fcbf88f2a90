//! Every path, with what is asked and all that is answered there: requests are led by this table, and it is described as OpenAPI.

use std::collections::BTreeMap;

use rtun_node::watch::MAX_PER_PAGE;

use crate::request;

/// What is done at an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// At one of GOST's paths.
    Config(ConfigAction),
    /// At one of rtun's own.
    View(ViewAction),
}

/// What is done with the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConfigAction {
    ShowConfig,
    SaveConfig,
    Reload,
    List,
    Create,
    Show,
    Replace,
    Delete,
    ResetQuota,
}

/// What is shown of what runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ViewAction {
    Status,
    Explain,
    Overview,
    Hosts,
    Namespaces,
    Routes,
    Traffic,
    Drops,
    SampleDrops,
    Series,
    Problems,
    Join,
    Events,
    OpenApi,
    Page,
    PageFile,
}

impl Action {
    /// Its name in the description.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Config(action) => format!("{action:?}"),
            Self::View(action) => format!("{action:?}"),
        }
    }
}

/// What an answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// The whole configuration.
    Config,
    /// A list of objects in GOST's envelope.
    ObjectList,
    /// One object in GOST's envelope.
    Object,
    /// `{"msg":"OK"}`.
    Done,
    /// An error in the form of its path.
    Error,
    /// Any object.
    Any,
    /// The view of this name in `schemas.rs`.
    View(&'static str),
    /// Server-sent events.
    Events,
    /// A page, or what belongs to one.
    File,
}

/// Which values a parameter takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ParameterKind {
    Text,
    /// A UUID.
    Id,
    /// Of IPv4 or IPv6, or a hardware address.
    Address,
    Flag,
    Seconds,
    /// From the first to the second number.
    Count(u64, u64),
    /// One of these.
    Word(&'static [&'static str]),
}

/// A parameter of the query.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) kind: ParameterKind,
    pub(crate) required: bool,
    pub(crate) what: &'static str,
}

/// Something that may be asked.
#[derive(Debug)]
pub(crate) struct ApiEndpoint {
    pub(crate) method: &'static str,
    /// After the prefix; `{name}` stands for any text without a slash.
    pub(crate) path: &'static str,
    pub(crate) action: Action,
    pub(crate) what: &'static str,
    pub(crate) parameters: &'static [Parameter],
    /// Whether a body of JSON belongs to it.
    pub(crate) has_body: bool,
    /// Besides what may be answered everywhere.
    pub(crate) answers: &'static [(u16, Holds, &'static str)],
}

/// What may be answered at each endpoint.
pub(crate) const EVERYWHERE: &[(u16, Holds, &str)] = &[
    (400, Holds::Error, "The request makes no sense"),
    (401, Holds::Error, "User or password is missing or wrong"),
    (403, Holds::Error, "This page or this user may not do that"),
    (415, Holds::Error, "A form is no JSON"),
];

const fn parameter(name: &'static str, kind: ParameterKind, what: &'static str) -> Parameter {
    Parameter { name, kind, required: false, what }
}

const fn needed(name: &'static str, kind: ParameterKind, what: &'static str) -> Parameter {
    Parameter { name, kind, required: true, what }
}

const FORMAT: Parameter = parameter(
    "format",
    ParameterKind::Word(&["json", "yaml"]),
    "`json`, which is the default, or `yaml`",
);
const OK: (u16, Holds, &str) = (200, Holds::Done, "Done");
const WRONG: (u16, Holds, &str) =
    (400, Holds::Error, "The configuration would be wrong; nothing has changed");
const FAILED: (u16, Holds, &str) =
    (500, Holds::Error, "It cannot be put in force; nothing has changed");
const TOO_LONG: (u16, Holds, &str) = (413, Holds::Error, "The body has more than 1 MiB");
const TOO_SLOW: (u16, Holds, &str) = (408, Holds::Error, "The body does not come within 10 s");
const ENDING: (u16, Holds, &str) = (503, Holds::Error, "The process starts or ends");
const NO_GROUP: (u16, Holds, &str) = (404, Holds::Error, "There is no such list");

const PAGE: Parameter =
    parameter("page", ParameterKind::Count(1, 1 << 32), "The part of the list, from 1");
const PER_PAGE: Parameter = parameter(
    "per_page",
    ParameterKind::Count(1, MAX_PER_PAGE as u64),
    "Items of a part: 50, at most 500",
);
const SEARCH: Parameter = parameter("search", ParameterKind::Text, "Part of a name or address");
const NAMESPACE: Parameter = parameter("namespace", ParameterKind::Id, "Only this namespace");
const SERVICE: Parameter = parameter("service", ParameterKind::Text, "Only this hub");

const fn part(view: &'static str) -> (u16, Holds, &'static str) {
    (200, Holds::View(view), "A part of the list")
}

const fn view(
    path: &'static str,
    action: ViewAction,
    what: &'static str,
    parameters: &'static [Parameter],
    answers: &'static [(u16, Holds, &'static str)],
) -> ApiEndpoint {
    let action = Action::View(action);
    ApiEndpoint { method: "GET", path, action, what, parameters, has_body: false, answers }
}

/// Of the first that matches.
pub(crate) static ENDPOINTS: &[ApiEndpoint] = &[
    ApiEndpoint {
        method: "GET",
        path: "/config",
        action: Action::Config(ConfigAction::ShowConfig),
        what: "The whole configuration that runs, secrets as stars",
        parameters: &[FORMAT],
        has_body: false,
        answers: &[(200, Holds::Config, "The configuration"), ENDING],
    },
    ApiEndpoint {
        method: "POST",
        path: "/config",
        action: Action::Config(ConfigAction::SaveConfig),
        what: "Write what was changed into the files that it comes from",
        parameters: &[
            parameter(
                "force",
                ParameterKind::Flag,
                "Also where a file was changed since it was read",
            ),
            parameter(
                "path",
                ParameterKind::Text,
                "Refused: only the configuration's own files are written",
            ),
            FORMAT,
        ],
        has_body: false,
        answers: &[
            OK,
            (409, Holds::Error, "A file was changed since it was read"),
            (500, Holds::Error, "It cannot be written"),
            ENDING,
        ],
    },
    ApiEndpoint {
        method: "POST",
        path: "/config/reload",
        action: Action::Config(ConfigAction::Reload),
        what: "Read the sources again; changes that were not saved are lost",
        parameters: &[],
        has_body: false,
        answers: &[OK, WRONG, FAILED, ENDING],
    },
    ApiEndpoint {
        method: "POST",
        path: "/config/quotas/{name}/reset",
        action: Action::Config(ConfigAction::ResetQuota),
        what: "Set what a quota has counted: to `used` bytes of the body, or to 0",
        parameters: &[],
        has_body: true,
        answers: &[OK, TOO_LONG, TOO_SLOW, ENDING],
    },
    ApiEndpoint {
        method: "GET",
        path: "/config/{group}",
        action: Action::Config(ConfigAction::List),
        what: "The objects of a list",
        parameters: &[],
        has_body: false,
        answers: &[(200, Holds::ObjectList, "The list"), NO_GROUP, ENDING],
    },
    ApiEndpoint {
        method: "POST",
        path: "/config/{group}",
        action: Action::Config(ConfigAction::Create),
        what: "One more object",
        parameters: &[],
        has_body: true,
        answers: &[OK, WRONG, NO_GROUP, TOO_LONG, TOO_SLOW, FAILED, ENDING],
    },
    ApiEndpoint {
        method: "GET",
        path: "/config/{group}/{name}",
        action: Action::Config(ConfigAction::Show),
        what: "One object; `null` if there is none of that name",
        parameters: &[],
        has_body: false,
        answers: &[(200, Holds::Object, "The object"), NO_GROUP, ENDING],
    },
    ApiEndpoint {
        method: "PUT",
        path: "/config/{group}/{name}",
        action: Action::Config(ConfigAction::Replace),
        what: "Replace an object; its name stays",
        parameters: &[],
        has_body: true,
        answers: &[OK, WRONG, NO_GROUP, TOO_LONG, TOO_SLOW, FAILED, ENDING],
    },
    ApiEndpoint {
        method: "DELETE",
        path: "/config/{group}/{name}",
        action: Action::Config(ConfigAction::Delete),
        what: "Delete an object that nothing uses",
        parameters: &[],
        has_body: false,
        answers: &[OK, WRONG, NO_GROUP, FAILED, ENDING],
    },
    ApiEndpoint {
        method: "GET",
        path: "/v1/status",
        action: Action::View(ViewAction::Status),
        what: "What `rtun status --json` prints of this process",
        parameters: &[],
        has_body: false,
        answers: &[(200, Holds::Any, "The state of the process and of its services")],
    },
    ApiEndpoint {
        method: "GET",
        path: "/v1/explain",
        action: Action::View(ViewAction::Explain),
        what: "Where a packet goes and why, as `rtun explain --json` prints it",
        parameters: &[
            needed(
                "source",
                ParameterKind::Address,
                "Source address of the packet, or hardware address of the frame",
            ),
            needed("destination", ParameterKind::Address, "Destination address, of the same kind"),
            parameter(
                "from",
                ParameterKind::Text,
                "The host that sends it, or the client of a UDP tunnel, or `device`; else the one its source is behind",
            ),
            parameter(
                "namespace",
                ParameterKind::Text,
                "The namespace's UUID; needed where there are several",
            ),
            parameter(
                "service",
                ParameterKind::Text,
                "The service name of the hub or server; else every one",
            ),
            parameter(
                "ttl",
                ParameterKind::Count(0, 255),
                "TTL or hop limit of the packet; else 64",
            ),
            parameter(
                "vlan",
                ParameterKind::Count(0, 4094),
                "The VLAN of the frame; else it has no tag",
            ),
        ],
        has_body: false,
        answers: &[(200, Holds::Any, "What each hub and server does with it")],
    },
    view(
        "/v1/overview",
        ViewAction::Overview,
        "The process at a glance",
        &[],
        &[(
            200,
            Holds::View("Overview"),
            "Version, services, counts, rates, and the role of who asks",
        )],
    ),
    view(
        "/v1/hosts",
        ViewAction::Hosts,
        "The connected hosts of all hubs",
        &[
            SEARCH,
            NAMESPACE,
            SERVICE,
            parameter(
                "sort",
                ParameterKind::Word(&["traffic", "name", "age", "queue", "drops"]),
                "`traffic`, `name`, `age`, `queue` or `drops`",
            ),
            parameter("order", ParameterKind::Word(&["asc", "desc"]), "`asc` or `desc`"),
            PAGE,
            PER_PAGE,
        ],
        &[part("Hosts")],
    ),
    view(
        "/v1/namespaces",
        ViewAction::Namespaces,
        "The namespaces of all hubs",
        &[SEARCH, SERVICE, PAGE, PER_PAGE],
        &[part("Namespaces")],
    ),
    view(
        "/v1/routes",
        ViewAction::Routes,
        "The routes of all hubs, with what they carry",
        &[
            SEARCH,
            NAMESPACE,
            SERVICE,
            parameter(
                "dead",
                ParameterKind::Flag,
                "Only those that carry nothing, or whose host is away",
            ),
            parameter(
                "unused_for",
                ParameterKind::Seconds,
                "Seconds without a packet that count as nothing",
            ),
            PAGE,
            PER_PAGE,
        ],
        &[part("Routes")],
    ),
    view(
        "/v1/traffic",
        ViewAction::Traffic,
        "Who talks to whom: the pairs of hosts with the most traffic",
        &[NAMESPACE],
        &[(200, Holds::View("Traffic"), "At most 500 pairs")],
    ),
    view(
        "/v1/drops",
        ViewAction::Drops,
        "Packets that were lost, by reason, with what to do",
        &[],
        &[(200, Holds::View("Drops"), "Reasons and samples")],
    ),
    ApiEndpoint {
        method: "POST",
        path: "/v1/drops/sampling",
        action: Action::View(ViewAction::SampleDrops),
        what: "Keep the last lost packets of each reason: `{\"enabled\": true, \"for\": SECONDS}`, an hour at most",
        parameters: &[],
        has_body: true,
        answers: &[(200, Holds::View("Drops"), "Reasons and samples"), TOO_LONG, TOO_SLOW],
    },
    view(
        "/v1/series",
        ViewAction::Series,
        "The last hour, a point each 10 s",
        &[
            parameter("names", ParameterKind::Text, "Comma text; else all"),
            parameter(
                "since",
                ParameterKind::Count(0, u64::MAX),
                "Unix time; only what came after",
            ),
        ],
        &[(200, Holds::View("Series"), "Rates a second, `null` where not known")],
    ),
    view(
        "/v1/problems",
        ViewAction::Problems,
        "What somebody should look at, as `rtun status` says it",
        &[],
        &[(200, Holds::View("Problems"), "The problems")],
    ),
    view(
        "/v1/join",
        ViewAction::Join,
        "What a host needs to join a hub: its command line, its file, what the hub's lists lack",
        &[
            needed("host", ParameterKind::Text, "The name that the host reports"),
            needed(
                "addresses",
                ParameterKind::Text,
                "The addresses of its device with their prefix lengths, between commas",
            ),
            parameter("namespace", ParameterKind::Id, "The namespace's UUID; else the default one"),
            parameter(
                "service",
                ParameterKind::Text,
                "The hub's service name; needed where there are several",
            ),
            parameter(
                "transport",
                ParameterKind::Text,
                "One of the hub's; else one with a certificate",
            ),
            parameter(
                "hub",
                ParameterKind::Text,
                "The name or address under which the host reaches the hub",
            ),
        ],
        &[(200, Holds::View("Join"), "Command line, file, fingerprint, missing lines, notes")],
    ),
    view(
        "/v1/events",
        ViewAction::Events,
        "What happens, as server-sent events",
        &[parameter(
            "since",
            ParameterKind::Count(0, u64::MAX),
            "The number of an event; only what came after",
        )],
        &[
            (200, Holds::Events, "A stream without end"),
            (503, Holds::Error, "Too many follow already"),
        ],
    ),
    ApiEndpoint {
        method: "GET",
        path: "/v1/openapi.json",
        action: Action::View(ViewAction::OpenApi),
        what: "This description",
        parameters: &[],
        has_body: false,
        answers: &[(200, Holds::Any, "OpenAPI 3.1")],
    },
    ApiEndpoint {
        method: "GET",
        path: "/",
        action: Action::View(ViewAction::Page),
        what: "The live page",
        parameters: &[],
        has_body: false,
        answers: &[(200, Holds::File, "The page")],
    },
    ApiEndpoint {
        method: "GET",
        path: "/page/{name}",
        action: Action::View(ViewAction::PageFile),
        what: "A file of the live page",
        parameters: &[],
        has_body: false,
        answers: &[
            (200, Holds::File, "The file"),
            (404, Holds::Error, "The page has no such file"),
        ],
    },
];

/// Where a request leads.
pub(crate) enum ApiRoute {
    /// To this endpoint, with the names in its path.
    Endpoint(&'static ApiEndpoint, BTreeMap<&'static str, String>),
    /// To a path with other methods: these.
    OtherMethods(Vec<&'static str>),
    Nowhere,
}

/// Where `method` at `path`, after the prefix, leads.
pub(crate) fn route(method: &str, path: &str) -> ApiRoute {
    // A path of its own is not that of something with a name, too.
    let is_own = ENDPOINTS.iter().any(|it| it.path == path);
    let mut methods = Vec::new();
    for endpoint in ENDPOINTS.iter().filter(|it| !is_own || it.path == path) {
        let Some(names) = request::names(endpoint.path, path) else { continue };
        if endpoint.method == method {
            return ApiRoute::Endpoint(endpoint, names);
        }
        if !methods.contains(&endpoint.method) {
            methods.push(endpoint.method);
        }
    }
    if methods.is_empty() { ApiRoute::Nowhere } else { ApiRoute::OtherMethods(methods) }
}
