use proptest::prelude::*;

use super::*;

fn bytes(meter: &StatsMeter, bytes: u64) {
    meter.count_in(bytes);
    meter.count_out(2 * bytes);
}

#[test]
fn a_batch_stands_until_it_is_acknowledged() {
    let mut ledger = StatsLedger::new(true, 10);
    let meter = ledger.meter("a");
    meter.connected();
    bytes(&meter, 5);
    assert_eq!(ledger.batch(), [], "no round has begun");
    ledger.begin();
    let first = ledger.batch();
    let stats = ObservedStats {
        total_conns: 1,
        current_conns: 1,
        input_bytes: 5,
        output_bytes: 10,
        total_errs: 0,
    };
    assert_eq!(first, [("a".to_owned(), stats)]);
    bytes(&meter, 7);
    ledger.begin();
    assert_eq!(ledger.batch(), first, "it was not acknowledged");
    ledger.acknowledge();
    let rest = ObservedStats { input_bytes: 7, output_bytes: 14, ..stats };
    assert_eq!(ledger.batch(), [("a".to_owned(), rest)], "what was counted since");
    ledger.acknowledge();
    ledger.begin();
    assert_eq!(ledger.batch(), [], "nothing has happened");
    ledger.set_reset_traffic(false);
    meter.disconnected();
    ledger.begin();
    let total = ObservedStats { current_conns: 0, input_bytes: 12, output_bytes: 24, ..stats };
    assert_eq!(ledger.batch(), [("a".to_owned(), total)], "totals");
}

#[test]
fn a_client_that_returns_goes_on_counting_and_many_come_in_several_batches() {
    let mut ledger = StatsLedger::new(false, 2 * MAX_EVENTS);
    for n in 0..MAX_EVENTS + 10 {
        bytes(&ledger.meter(&format!("{n:06}")), 1);
    }
    bytes(&ledger.meter("000000"), 1);
    ledger.begin();
    let first = ledger.batch();
    assert_eq!((first.len(), first[0].1.input_bytes, first[1].1.input_bytes), (MAX_EVENTS, 2, 1));
    ledger.acknowledge();
    assert_eq!(ledger.batch().len(), 10);
    ledger.acknowledge();
    assert_eq!(ledger.batch(), []);
}

#[test]
fn a_meter_that_has_counted_elsewhere_is_taken_over_without_its_past() {
    let mut ledger = StatsLedger::new(true, 10);
    let meter = Arc::<StatsMeter>::default();
    bytes(&meter, 100);
    ledger.adopt("a", &meter);
    bytes(&ledger.meter("a"), 1);
    ledger.begin();
    assert_eq!(ledger.batch()[0].1.input_bytes, 1);
}

#[derive(Debug, Clone)]
enum LedgerStep {
    Connect(u8),
    Leave(u8),
    Count(u8, u64),
    Report { rounds: bool, taken: bool },
}

fn steps() -> impl Strategy<Value = Vec<LedgerStep>> {
    let step = prop_oneof![
        (0u8..20).prop_map(LedgerStep::Connect),
        (0u8..20).prop_map(LedgerStep::Leave),
        (0u8..20, 0u64..100).prop_map(|(client, bytes)| LedgerStep::Count(client, bytes)),
        (any::<bool>(), any::<bool>())
            .prop_map(|(rounds, taken)| LedgerStep::Report { rounds, taken }),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    /// Clients come, count, go and are forgotten, and the observer is away at times: what it has been informed of in the end
    /// is what was counted. Totals are compared where no client is forgotten.
    #[test]
    fn nothing_is_lost_and_nothing_counted_twice(steps in steps(), reset in any::<bool>()) {
        let mut ledger = StatsLedger::new(reset, if reset { 4 } else { 100 });
        let mut holders: BTreeMap<u8, Arc<StatsMeter>> = BTreeMap::new();
        let (mut counted, mut joined, mut peak) = (0, 0, 0);
        let mut observed: BTreeMap<String, ObservedStats> = BTreeMap::new();
        let mut report = |ledger: &mut StatsLedger, round: bool, taken: bool| {
            if round {
                ledger.begin();
            }
            for (client, stats) in ledger.batch().into_iter().filter(|_| taken) {
                let seen = observed.entry(client).or_default();
                let before = if reset { seen.input_bytes } else { 0 };
                *seen = ObservedStats { input_bytes: before + stats.input_bytes, ..stats };
            }
            if taken {
                ledger.acknowledge();
            }
            observed.values().fold((0, 0), |(bytes, standing), it| {
                (bytes + it.input_bytes, standing + it.current_conns)
            })
        };
        for step in steps {
            match step {
                LedgerStep::Connect(client) => {
                    if let Some(older) = holders.insert(client, ledger.meter(&client.to_string())) {
                        older.disconnected();
                    }
                    holders[&client].connected();
                    joined += 1;
                }
                LedgerStep::Leave(client) => {
                    if let Some(meter) = holders.remove(&client) {
                        meter.disconnected();
                    }
                }
                LedgerStep::Count(client, bytes) => {
                    if let Some(meter) = holders.get(&client) {
                        meter.count_in(bytes);
                        counted += bytes;
                    }
                }
                LedgerStep::Report { rounds, taken } => {
                    report(&mut ledger, rounds, taken);
                }
            }
            peak = peak.max(holders.len());
            // Those of a batch under way, and the one that stands for all that are forgotten, are kept too.
            let bound = if reset { 2 * (4 + 2 * peak + ledger.waiting()) + 2 } else { 20 };
            prop_assert!(ledger.clients() <= bound, "{} clients", ledger.clients());
        }
        report(&mut ledger, true, true);
        let (bytes, standing) = report(&mut ledger, true, true);
        prop_assert_eq!(bytes, counted);
        prop_assert_eq!(standing, holders.len() as u64);
        if !reset {
            let total: u64 = holders.keys().map(|it| observed[&it.to_string()].total_conns).sum();
            prop_assert!(total <= joined);
        }
    }
}
