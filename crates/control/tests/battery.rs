//! One battery for each kind of plugin, run on every implementation: in memory, over HTTP, over gRPC.

mod support;

use std::sync::Arc;

use rtun_control::{
    AdmissionPlugin, AuthPlugin, IngressPlugin, LimitQuestion, LimiterPlugin, NodePlugin,
    PluginError, PluginScope, RoutePlugin, connect_admission_plugin, connect_auth_plugin,
    connect_ingress_plugin, connect_limiter_plugin, connect_node_plugin, connect_route_plugin,
};
use rtun_core::NamespaceId;
use support::{NODE, facts, grpc, http, login, name, namespace, node_question};

/// The plugin in memory, and those that `connect` makes of it.
macro_rules! implementations {
    ($path:literal, $connect:ident, $plugin:ty) => {{
        let facts = facts();
        let http_server = support::http_server(facts.clone()).await;
        let (grpc_server, _task) =
            support::grpc::Fake::new(facts.clone()).serve("127.0.0.1:0").await;
        let all: [(&str, Arc<$plugin>); 3] = [
            ("memory", facts),
            ("HTTP", $connect(&http(http_server, $path)).unwrap()),
            ("gRPC", $connect(&grpc(grpc_server)).unwrap()),
        ];
        all
    }};
}

/// Plugins that have no token, of servers that want one.
macro_rules! without_token {
    ($path:literal, $connect:ident) => {{
        let http_server = support::http_server(facts()).await;
        let (grpc_server, _task) = support::grpc::Fake::new(facts()).serve("127.0.0.1:0").await;
        let mut settings = [http(http_server, $path), grpc(grpc_server)];
        settings.iter_mut().for_each(|settings| settings.token = None);
        settings.map(|settings| $connect(&settings).unwrap())
    }};
}

fn is_refused<T>(answer: Result<T, PluginError>) -> bool {
    matches!(answer, Err(PluginError::Status(401) | PluginError::Grpc { code: 16, .. }))
}

#[tokio::test]
async fn routes() {
    let elsewhere = NamespaceId::from_bytes([9; 16]);
    for (which, plugin) in implementations!("route", connect_route_plugin, dyn RoutePlugin) {
        for (namespace, destination, expected) in [
            (namespace(), "10.0.0.7", Some(name("host-1"))),
            (namespace(), "fd00::7", Some(name("host-1"))),
            (namespace(), "10.0.0.8", None),
            (elsewhere, "10.0.0.7", None),
            (NamespaceId::DEFAULT, "10.0.0.7", None),
        ] {
            let answer = plugin.route(namespace, destination.parse().unwrap()).await;
            assert_eq!(answer, Ok(expected), "{which}: {destination} in {namespace}");
        }
    }
    for plugin in without_token!("route", connect_route_plugin) {
        assert!(is_refused(plugin.route(namespace(), [10, 0, 0, 7].into()).await));
    }
}

#[tokio::test]
async fn rules() {
    for (which, plugin) in implementations!("ingress", connect_ingress_plugin, dyn IngressPlugin) {
        for (host, expected) in [("host-1", Some(namespace())), ("host-2", None), ("a&b=c/%", None)]
        {
            let answer = plugin.namespace(&name(host), "hub").await;
            assert_eq!(answer, Ok(expected), "{which}: {host}");
        }
    }
    for plugin in without_token!("ingress", connect_ingress_plugin) {
        assert!(is_refused(plugin.namespace(&name("host-1"), "hub").await));
    }
}

#[tokio::test]
async fn users() {
    for (which, plugin) in implementations!("auth", connect_auth_plugin, dyn AuthPlugin) {
        for (user, password, expected) in [
            ("us\"er", "pa\u{df} ", Some("client-1".to_owned())),
            ("us\"er", "pa\u{df}", None),
            ("us\"er", "", None),
            ("nameless", "x", Some(String::new())),
            ("nobody", "x", None),
            ("", "", None),
        ] {
            let answer = plugin.authenticate(&login(user, password)).await;
            assert_eq!(answer, Ok(expected), "{which}: {user} {password}");
        }
    }
    for plugin in without_token!("auth", connect_auth_plugin) {
        assert!(is_refused(plugin.authenticate(&login("nameless", "x")).await));
    }
}

#[tokio::test]
async fn admissions() {
    for (which, plugin) in
        implementations!("admission", connect_admission_plugin, dyn AdmissionPlugin)
    {
        for (addr, expected) in
            [("192.0.2.1:5", true), ("[2001:db8::1]:5", true), ("192.0.2.2:5", false)]
        {
            let answer = plugin.admit("hub", addr.parse().unwrap()).await;
            assert_eq!(answer, Ok(expected), "{which}: {addr}");
        }
    }
    for plugin in without_token!("admission", connect_admission_plugin) {
        assert!(is_refused(plugin.admit("hub", ([192, 0, 2, 1], 5).into()).await));
    }
}

#[tokio::test]
async fn limits() {
    let question = |service: &str, scope| LimitQuestion { service: service.into(), scope };
    let src = ([192, 0, 2, 1], 5).into();
    let client = PluginScope::Client { host: name("host-1"), namespace: namespace(), src };
    let expected = support::rates();
    for (which, plugin) in implementations!("limiter", connect_limiter_plugin, dyn LimiterPlugin) {
        for scope in [PluginScope::Service, PluginScope::Connection(src), client.clone()] {
            let answer = plugin.limit(&question("hub", scope.clone())).await;
            assert_eq!(answer, Ok(expected), "{which}: {scope:?}");
        }
    }
    for plugin in without_token!("limiter", connect_limiter_plugin) {
        assert!(is_refused(plugin.limit(&question("hub", PluginScope::Service)).await));
    }
}

#[tokio::test]
async fn nodes() {
    for (which, plugin) in implementations!("hop", connect_node_plugin, dyn NodePlugin) {
        for (host, source, expected) in [
            ("host-1", "10.0.0.7", Some(NODE)),
            ("host-2", "", Some(NODE)),
            ("host-1", "10.0.0.8", None),
            ("nobody", "", None),
        ] {
            let answer = plugin.node(&node_question(host, source)).await;
            assert_eq!(answer, Ok(expected.map(str::to_owned)), "{which}: {host} {source}");
        }
    }
    for plugin in without_token!("hop", connect_node_plugin) {
        assert!(is_refused(plugin.node(&node_question("host-1", "10.0.0.7")).await));
    }
}
