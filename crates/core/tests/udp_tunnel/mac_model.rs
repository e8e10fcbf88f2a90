//! The learning table against one that keeps a list.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use rtun_core::udp_tunnel::MacTable;
use rtun_proto::ethernet::MacAddress;

#[derive(Default)]
struct Model(Vec<(u16, MacAddress, u8, Instant, Option<Instant>)>);

const AGE: Duration = Duration::from_secs(300);
const STAYS: Duration = Duration::from_secs(2);

impl Model {
    fn learn(&mut self, peer: u8, vlan: u16, mac: MacAddress, now: Instant) -> bool {
        if !mac.is_station() {
            return false;
        }
        match self.0.iter_mut().find(|it| (it.0, it.1) == (vlan, mac)) {
            None => self.0.push((vlan, mac, peer, now, None)),
            Some(known) if known.2 == peer => known.3 = now,
            Some(known) => {
                let has_aged = now - known.3 >= AGE;
                if !has_aged && known.4.is_some_and(|at| now - at < STAYS) {
                    return false;
                }
                *known = (vlan, mac, peer, now, Some(now));
            }
        }
        true
    }

    fn lookup(&self, vlan: u16, mac: MacAddress, now: Instant) -> Option<u8> {
        let known = self.0.iter().find(|it| (it.0, it.1) == (vlan, mac))?;
        (now - known.3 < AGE).then_some(known.2)
    }
}

proptest! {
    #[test]
    fn the_table_answers_as_a_list_does(
        steps in prop::collection::vec((0..4_u8, 0..2_u16, 0..6_u64, 0..400_u64, any::<bool>()), 0..80),
    ) {
        let mut table = MacTable::default();
        let mut model = Model::default();
        let mut now = Instant::now();
        for (peer, vlan, mac, millis, long) in steps {
            now += Duration::from_millis(if long { millis * 1000 } else { millis * 10 });
            let mac = if mac == 5 { MacAddress::BROADCAST } else { MacAddress::local(mac) };
            prop_assert_eq!(table.learn(peer, vlan, mac, now), model.learn(peer, vlan, mac, now));
            for n in 0..5 {
                let mac = MacAddress::local(n);
                prop_assert_eq!(table.lookup(vlan, mac, now), model.lookup(vlan, mac, now));
            }
            let mut peers: Vec<u8> = table.peers().collect();
            peers.sort_unstable();
            let mut expected: Vec<u8> = model.0.iter().map(|it| it.2).collect();
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(peers, expected);
        }
    }
}
