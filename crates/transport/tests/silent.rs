//! An address from which nothing ever comes.

#![allow(clippy::unwrap_used)]

#[path = "../../system/tests/common/mod.rs"]
mod common;

use std::{net::SocketAddr, time::Duration};

use rtun_system::{
    installation::Installation,
    link::{LinkSetup, SystemLink},
    placement::OwnPackets,
    tun::{PacketDevice, Tun, TunConfig},
};

use rtun_settings::SocketOptions;
use rtun_transport::tcp::{ConnectError, connect};

#[test]
fn an_address_that_never_answers_costs_the_time_given_and_no_more() {
    common::in_namespace(async || {
        let tun = Tun::create(&TunConfig { name: Some("net0".to_owned()), mtu: 1380 }).unwrap();
        let link = SystemLink::open(tun.name()).unwrap();
        let addresses = vec!["10.2.0.1/24".parse().unwrap()];
        let setup = LinkSetup { mtu: 1380, addresses, routes: Vec::new() };
        let mut installation = Installation::prepare(link, setup).await.unwrap();
        installation.restore(&OwnPackets::default(), &mut |_| true).await.unwrap();
        let within = Duration::from_millis(300);
        let start = std::time::Instant::now();
        let to = "10.2.0.7:80".parse::<SocketAddr>().unwrap().into();
        let error = connect(&to, &SocketOptions::default(), None, within).await.unwrap_err();
        assert!(matches!(error, ConnectError::TimedOut { .. }), "{error}");
        assert!(
            error.to_string().contains("10.2.0.7:80 within 0.3 s: 10.2.0.7:80: no answer"),
            "{error}"
        );
        assert!((within..within * 20).contains(&start.elapsed()));
    });
}
