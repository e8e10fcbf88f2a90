//! What tests of a hub share: its configuration, and hosts that join by writing the protocol themselves.

#![allow(dead_code, reason = "each test uses a part")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use rtun_core::Route;
use rtun_proto::relay::{Association, Network, Request};
use rtun_settings::{
    Config, HubRules, HubSettings, ListenerSettings, LocatedRow, Named, Provider, Rows, Service,
    ServiceKind,
};

/// A configuration with one hub, the service `hub`, on a free port of the loopback interface.
pub(crate) fn hub_with(rules: HubRules) -> Config {
    let hub = HubSettings {
        listener: ListenerSettings::tcp("127.0.0.1:0"),
        more_listeners: Vec::new(),
        rules,
        handshake_timeout: Duration::from_secs(10),
    };
    let service = Service::new("hub", ServiceKind::Hub(hub));
    Config { services: vec![service], ..Config::default() }
}

/// A routing table in the configuration itself: prefixes and their gateways.
pub(crate) fn table(name: &str, routes: &[(&str, &str)]) -> Named<Route> {
    let route = |(prefix, gateway): &(&str, &str)| {
        located(Route::new(prefix.parse().unwrap(), gateway.parse().unwrap()))
    };
    let rows = Rows::inline(routes.iter().map(route).collect());
    Named { name: name.into(), provider: Provider::Rows(rows) }
}

/// A row of a configuration.
pub(crate) fn located<T>(value: T) -> LocatedRow<T> {
    LocatedRow { value, file: Arc::from("test"), line: 1 }
}

/// The bytes of a host's request to join a namespace.
pub(crate) fn join_request(host: &str, namespace: [u8; 16]) -> Vec<u8> {
    let request = Request::associate(&Association {
        user: None,
        network: Network::Ip,
        source: None,
        host: host.into(),
        router_id: namespace,
    });
    request.encode().unwrap()
}

/// Asks to join; returns the connection and the status of the hub's answer, all of which has been read.
pub(crate) fn ask_to_join(hub: SocketAddr, host: &str, namespace: [u8; 16]) -> (TcpStream, u8) {
    let mut stream = TcpStream::connect(hub).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(&join_request(host, namespace)).unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    let features = u16::from_be_bytes([answer[2], answer[3]]);
    stream.read_exact(&mut vec![0; features.into()]).unwrap();
    (stream, answer[1])
}

/// Joins as a host that the hub has to admit.
pub(crate) fn join(hub: SocketAddr, host: &str, namespace: [u8; 16]) -> TcpStream {
    let (stream, status) = ask_to_join(hub, host, namespace);
    assert_eq!(status, 0, "{host} is admitted");
    stream
}
