//! Who gets an address, by the rules of the documentation.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use rtun_core::udp_tunnel::{
    AddressRules, ClientLimits, ClientTable, DatagramDrop, MAX_PER_REGISTER, RegisterRefusal,
    Registration,
};

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn outer(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) struct Table {
    pub(crate) clients: ClientTable,
    pub(crate) rules: AddressRules,
    pub(crate) has_auther: bool,
    pub(crate) now: Instant,
    asked: u32,
}

impl Table {
    pub(crate) fn new(has_auther: bool, limits: ClientLimits) -> Self {
        let own = ["192.168.123.1/24", "fd99::1/64"].map(|text| text.parse().unwrap());
        Self {
            clients: ClientTable::new(limits),
            rules: AddressRules::new(&own, &[]),
            has_auther,
            now: Instant::now(),
            asked: 0,
        }
    }

    pub(crate) fn register(
        &mut self,
        from: &str,
        addresses: &[&str],
    ) -> Result<Registration, RegisterRefusal> {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| address(text)).collect();
        let mut prove = |address: IpAddr| {
            self.asked += 1;
            address != IpAddr::from([192, 168, 123, 66])
        };
        let prove: Option<&mut dyn FnMut(IpAddr) -> bool> =
            if self.has_auther { Some(&mut prove) } else { None };
        let addresses = addresses.into_iter();
        let result =
            self.clients.register(outer(from), addresses, None, &self.rules, prove, self.now);
        assert!(self.clients.is_consistent());
        result
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn data(&mut self, from: &str) {
        let id = self.clients.sender(outer(from)).unwrap();
        self.clients.get_mut(id).data = self.now;
    }

    fn owner(&self, text: &str) -> Option<String> {
        let id = self.clients.owner(address(text))?;
        Some(self.clients.get(id).outer.to_string())
    }
}

fn reason(result: Result<Registration, RegisterRefusal>) -> DatagramDrop {
    result.unwrap_err().reason
}

const A: &str = "10.77.0.2:1000";
const B: &str = "10.77.0.3:1000";
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn one_bad_address_refuses_all_and_nothing_changes() {
    let mut table = Table::new(true, ClientLimits::default());
    let good = "192.168.123.2";
    for (bad, expected) in [
        ("192.168.123.1", DatagramDrop::OwnAddress),
        ("192.168.123.255", DatagramDrop::BadAddress),
        ("8.8.8.8", DatagramDrop::BadAddress),
        ("192.168.123.66", DatagramDrop::Auth),
    ] {
        let refused = table.register(A, &[good, bad]).unwrap_err();
        assert_eq!((refused.reason, refused.address), (expected, Some(address(bad))));
        assert!(table.clients.is_empty());
    }
    assert_eq!(reason(table.register(A, &[])), DatagramDrop::Malformed);
    let many: Vec<String> = (2..=18).map(|n| format!("192.168.123.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(reason(table.register(A, &many)), DatagramDrop::Malformed);
    assert!(table.register(A, &many[..MAX_PER_REGISTER]).unwrap().is_new);
    assert_eq!(table.clients.addresses(), MAX_PER_REGISTER);
}

#[test]
fn with_an_auther_an_address_moves_at_once_and_the_former_owner_is_a_duplicate() {
    let mut table = Table::new(true, ClientLimits::default());
    let address = "192.168.123.2";
    table.register(A, &[address]).unwrap();
    table.pass(SECOND);
    let moved = table.register(B, &[address]).unwrap();
    assert_eq!(moved.moved, [(self::address(address), outer(A))]);
    assert_eq!(table.owner(address).as_deref(), Some(B));
    // The former owner registers again and again: no flapping, for as long as the other one is there.
    for _ in 0..200 {
        table.pass(SECOND);
        table.register(B, &[address]).unwrap();
        let refused = table.register(A, &[address]).unwrap_err();
        assert_eq!(refused.reason, DatagramDrop::Duplicate);
        assert_eq!(refused.incumbent, Some(outer(B)));
        // From another port it is the same client.
        assert_eq!(reason(table.register("10.77.0.2:2000", &[address])), DatagramDrop::Duplicate);
    }
    // The other one is gone.
    table.pass(Duration::from_secs(31));
    table.register(A, &[address]).unwrap();
    assert_eq!(table.owner(address).as_deref(), Some(A));
}

#[test]
fn a_client_that_starts_again_or_moves_has_its_address_at_once() {
    for has_auther in [true, false] {
        let mut table = Table::new(has_auther, ClientLimits::default());
        for port in 1000..1100 {
            table.register(&format!("10.77.0.2:{port}"), &["192.168.123.2", "fd99::2"]).unwrap();
            table.pass(Duration::from_millis(700));
        }
        assert_eq!((table.clients.len(), table.clients.addresses()), (1, 2));
    }
}

#[test]
fn without_an_auther_only_a_silent_client_loses_its_address_to_another_machine() {
    let mut table = Table::new(false, ClientLimits::default());
    let address = "192.168.123.2";
    table.register(A, &[address]).unwrap();
    table.pass(29 * SECOND);
    assert_eq!(reason(table.register(B, &[address])), DatagramDrop::Duplicate);
    table.data(A);
    table.pass(29 * SECOND);
    assert_eq!(reason(table.register(B, &[address])), DatagramDrop::Duplicate, "data is life");
    table.pass(SECOND);
    table.register(B, &[address]).unwrap();
    assert_eq!(table.owner(address).as_deref(), Some(B));
}

#[test]
fn a_silent_client_stays_registered_until_its_place_is_needed() {
    let limits = ClientLimits { addresses: 3, per_outer: 3 };
    let mut table = Table::new(true, limits);
    table.register(A, &["192.168.123.2"]).unwrap();
    table.pass(SECOND);
    table.register(B, &["192.168.123.3", "192.168.123.4"]).unwrap();
    table.pass(5 * SECOND);
    let c = "10.77.0.4:1000";
    assert_eq!(reason(table.register(c, &["192.168.123.5"])), DatagramDrop::TableFull);
    table.pass(Duration::from_secs(86_400));
    assert_eq!(table.clients.len(), 2);
    assert_eq!(table.register(c, &["192.168.123.5"]).unwrap().evicted, [outer(A)]);
    assert_eq!(
        reason(table.register(c, &["192.168.123.6", "192.168.123.7", "192.168.123.8"])),
        DatagramDrop::TableFull
    );
    assert_eq!(table.clients.len(), 2, "nobody left for nothing");
}

#[test]
fn one_machine_fills_no_table_and_loopback_is_many_machines() {
    let limits = ClientLimits { addresses: 100, per_outer: 3 };
    let mut table = Table::new(true, limits);
    for n in 2..5 {
        table.register(&format!("10.77.0.2:{n}"), &[&format!("192.168.123.{n}")]).unwrap();
    }
    assert_eq!(reason(table.register(A, &["192.168.123.9"])), DatagramDrop::TableFull);
    for n in 10..60 {
        table.register(&format!("127.0.0.1:{n}"), &[&format!("192.168.123.{n}")]).unwrap();
    }
    assert_eq!(table.clients.len(), 53);
}

#[test]
fn a_flood_is_refused_before_the_auther_and_keepalives_go_on() {
    let mut table = Table::new(true, ClientLimits::default());
    table.register(A, &["192.168.123.2"]).unwrap();
    let mut refused = 0;
    for _ in 0..10 {
        table.pass(SECOND);
        for port in 1..2000 {
            let from = format!("10.77.0.2:{port}");
            let result = table.register(&from, &["192.168.123.66"]);
            refused += u32::from(result.unwrap_err().reason == DatagramDrop::Rate);
        }
        table.register(A, &["192.168.123.2"]).unwrap();
    }
    assert!(table.asked < 800, "{} questions", table.asked);
    assert!(refused > 19_000);
}
