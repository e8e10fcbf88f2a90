//! What a full table of clients costs.

use std::{
    alloc::System,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use rtun_core::udp_tunnel::{AddressRules, ClientLimits, ClientTable, DatagramDrop};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ADDRESSES: u32 = 65_536;

/// One test, since the allocator counts for the whole process.
#[test]
fn as_many_addresses_as_there_may_be_cost_less_than_64_mib_and_no_more_are_taken() {
    let rules = AddressRules::new(&["10.0.0.1/8".parse().unwrap()], &[]);
    let region = Region::new(ALLOCATOR);
    let mut clients = ClientTable::new(ClientLimits::default());
    let mut now = Instant::now();
    let mut register = |n: u32, clients: &mut ClientTable| {
        let address = IpAddr::from((0x0a00_0002 + n).to_be_bytes());
        // Each from its own machine, so that nothing is shared.
        let outer = SocketAddr::from(((0x6400_0000 + n).to_be_bytes(), 1000));
        let mut prove = |_| true;
        let prove: Option<&mut dyn FnMut(IpAddr) -> bool> = Some(&mut prove);
        // Slow enough for sources whose rates fall together.
        now += Duration::from_micros(100);
        clients.register(outer, [address].into_iter(), None, &rules, prove, now)
    };
    let fits = (0..ADDRESSES).filter(|n| register(*n, &mut clients).is_ok()).count();
    assert_eq!((fits, clients.addresses()), (65_536, 65_536));
    let refused = (ADDRESSES..ADDRESSES + 1000).map(|n| register(n, &mut clients));
    assert!(refused.map(|it| it.unwrap_err().reason).all(|it| it == DatagramDrop::TableFull));
    let stats = region.change();
    let used = stats.bytes_allocated - stats.bytes_deallocated;
    assert!(used < 64 << 20, "{used} bytes");
    assert!(used > 8 << 20, "the allocator counts");
}
