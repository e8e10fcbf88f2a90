use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    time::Duration,
};

use rtun_core::limit::{LimitScope, TrafficRate};
use rtun_settings::{
    HubLimits, HubRules, HubSettings, LimiterScope, LimiterSettings, ListenerSettings, LocatedRow,
    Rows, Service, SourceSettings,
};
use tokio::time::{sleep, timeout};

use super::*;

/// A limiter whose row `$` lets this much in, in bytes a second.
fn limiter(name: &str, rate: u64) -> Named<LimitRow<TrafficLimit>> {
    let input = rate.try_into().ok().map(TrafficRate::new);
    let limit = TrafficLimit { input, output: None };
    let value = LimitRow { scope: LimitScope::Service, limit };
    let row = LocatedRow { value, file: "test".into(), line: 1 };
    Named { name: name.into(), provider: Provider::Rows(Rows::inline(vec![row])) }
}

fn of_service(limits: Named<LimitRow<TrafficLimit>>) -> HubLimits {
    let (refresh, scope) = (Duration::from_secs(30), LimiterScope::All);
    let traffic = Some(LimiterSettings { limits, refresh, scope });
    HubLimits { traffic, ..HubLimits::default() }
}

fn of_handler(limits: Named<LimitRow<TrafficLimit>>) -> HubLimits {
    let HubLimits { traffic: hosts, .. } = of_service(limits);
    HubLimits { hosts, ..HubLimits::default() }
}

/// A hub with each of these limits.
fn config(limits: impl IntoIterator<Item = HubLimits>) -> Config {
    let hub = |(n, limits): (usize, _)| {
        let hub = HubSettings {
            listener: ListenerSettings::tcp("127.0.0.1:0"),
            more_listeners: Vec::new(),
            rules: HubRules { limits, ..HubRules::default() },
            handshake_timeout: Duration::from_secs(10),
        };
        Service::new(format!("hub-{n}"), ServiceKind::Hub(hub))
    };
    Config { services: limits.into_iter().enumerate().map(hub).collect(), ..Config::default() }
}

async fn used(book: &LimiterBook, config: &Config) -> Vec<SharedLimiters> {
    let mut all = Vec::new();
    for service in &config.services {
        all.push(book.of(&service.kind).await);
    }
    all
}

fn rate(limiter: &TrafficLimiter) -> Option<u64> {
    Some(limiter.service(now()).limit().input?.bytes_per_second.get())
}

#[tokio::test]
async fn who_names_a_limiter_shares_it_and_it_is_forgotten_with_the_last() {
    let book = LimiterBook::new(&Machine::default());
    let feeds = Feeds::default();
    let three = config([
        of_service(limiter("all", 1000)),
        of_service(limiter("all", 1000)),
        of_handler(limiter("all", 1000)),
        of_service(limiter("other", 1000)),
        HubLimits::default(),
    ]);
    book.open(&three, &feeds).await;
    book.commit(&three, &feeds).await;
    let used_by = used(&book, &three).await;
    let all = used_by[0].traffic.clone().unwrap();
    assert!(Arc::ptr_eq(&all, used_by[1].traffic.as_ref().unwrap()));
    let hosts = used_by[2].hosts.as_ref().unwrap();
    assert!(!Arc::ptr_eq(&all, hosts), "hosts are not connections");
    assert!(!Arc::ptr_eq(&all, used_by[3].traffic.as_ref().unwrap()));
    assert!(used_by[4].traffic.is_none());
    drop(used_by);

    // What another configuration says is in force once it is.
    let one = config([of_service(limiter("all", 2000))]);
    book.open(&one, &feeds).await;
    assert_eq!(rate(&all), Some(1000));
    book.commit(&one, &feeds).await;
    assert_eq!(rate(&all), Some(2000));
    let now_used = used(&book, &one).await;
    assert!(Arc::ptr_eq(&all, now_used[0].traffic.as_ref().unwrap()));
    drop(now_used);
    assert_eq!(Arc::strong_count(&all), 2, "here and in the book");
    book.commit(&config([]), &feeds).await;
    assert_eq!(Arc::strong_count(&all), 1);
}

#[tokio::test]
async fn rows_of_a_file_are_in_force_as_they_change_and_before_a_service_begins() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("limits.txt");
    fs::write(&path, "$ 3000B\n").unwrap();
    let from_file = |path: &Path| {
        let mut limiter = limiter("all", 1000);
        if let Provider::Rows(rows) = &mut limiter.provider {
            rows.sources = vec![SourceSettings::File(path.into())];
        }
        config([of_service(limiter)])
    };
    let book = LimiterBook::new(&Machine::default());
    let config = from_file(&path);
    let feeds = Feeds::default().follow(&config, None).await.unwrap();
    book.open(&config, &feeds).await;
    let all = used(&book, &config).await[0].traffic.clone().unwrap();
    assert_eq!(rate(&all), Some(3000), "not that of the configuration alone");
    book.commit(&config, &feeds).await;
    fs::write(&path, "$ 4000B\n").unwrap();
    let changes = async {
        while rate(&all) != Some(4000) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), changes).await.expect("the file's new row");
}

#[tokio::test]
async fn a_service_has_only_the_shapers_that_its_scope_has() {
    let service = ServiceTraffic::default();
    let addr = IpAddr::from(Ipv4Addr::LOCALHOST);
    let shared = Arc::new(TrafficLimiter::new(None));
    let open = |rows: &str| {
        let parsed = rtun_core::parse_traffic_limits(rows, 10).unwrap();
        let rows = parsed.rows.into_iter().map(|row| row.value);
        shared.set_limits(Some(Arc::new(ScopedLimits::new(rows))), now());
    };
    open("$ 1000B\n$$ 2000B\n127.0.0.0/8 3000B");
    let rates = |scope| {
        let settings =
            LimiterSettings { limits: limiter("all", 1), refresh: Duration::from_secs(30), scope };
        let changes = service.apply(Some(&settings), Some(Arc::clone(&shared)), &[]);
        let pairs = service.connection(addr);
        let rate = |pair: Arc<rtun_core::limit::ShaperPair>| {
            pair.limit().input.map_or(0, |rate| rate.bytes_per_second.get())
        };
        (changes, pairs.map(rate))
    };
    assert_eq!(rates(LimiterScope::All), (true, [1000, 3000, 2000]));
    assert_eq!(rates(LimiterScope::All), (false, [1000, 3000, 2000]), "nothing to change");
    assert_eq!(rates(LimiterScope::Service), (true, [1000, 0, 0]));
    assert_eq!(rates(LimiterScope::Connection), (true, [0, 3000, 2000]));
    assert!(service.apply(None, None, &[]), "without a limiter");
    assert!(service.connection(addr).iter().all(|pair| pair.limit().input.is_none()));
}
