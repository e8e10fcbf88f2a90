//! What was measured, as text and as JSON.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{
    figure::Figure,
    scenario::Scenario,
    statistics::Summary,
    target::{Bound, FigureTarget, targets},
};

/// How the measurements were made.
#[derive(Debug, Clone)]
pub(super) struct Conditions {
    pub(super) rounds: usize,
    pub(super) seconds: u64,
    pub(super) mtu: u16,
    pub(super) congestion_control: &'static str,
    /// How the programs' own connections got it.
    pub(super) congestion_setting: String,
    pub(super) cores: usize,
    pub(super) kernel: String,
    /// Name and command of every contender.
    pub(super) contenders: Vec<(String, String)>,
}

/// Every value of a run, by scenario and contender in the order of the run.
#[derive(Debug, Clone)]
pub(super) struct BenchReport {
    pub(super) conditions: Conditions,
    rows: Vec<ScenarioRow>,
}

/// One contender in one scenario.
#[derive(Debug, Clone)]
struct ScenarioRow {
    scenario: Scenario,
    contender: String,
    /// In the order of measuring; every figure has one value of each measurement that succeeded.
    series: Vec<Series>,
    failures: Vec<String>,
    /// Why it was not measured, if it cannot be.
    skipped: Option<String>,
}

#[derive(Debug, Clone)]
struct Series {
    name: String,
    unit: &'static str,
    values: Vec<f64>,
    compares: bool,
}

impl BenchReport {
    pub(super) fn new(conditions: Conditions) -> Self {
        Self { conditions, rows: Vec::new() }
    }

    /// Takes the figures of one measurement, or why it failed.
    pub(super) fn add(
        &mut self,
        scenario: Scenario,
        contender: &str,
        outcome: Result<Vec<Figure>, String>,
    ) {
        let row = self.row(scenario, contender);
        let figures = match outcome {
            Ok(figures) => figures,
            Err(failure) => return row.failures.push(failure),
        };
        for Figure { name, unit, value, compares } in figures {
            match row.series.iter_mut().find(|series| series.name == name) {
                Some(series) => series.values.push(value),
                None => row.series.push(Series { name, unit, values: vec![value], compares }),
            }
        }
    }

    /// Leaves a contender out that cannot take part.
    pub(super) fn skip(&mut self, scenario: Scenario, contender: &str, reason: String) {
        self.row(scenario, contender).skipped = Some(reason);
    }

    /// Whether it was left out before.
    pub(super) fn is_skipped(&self, scenario: Scenario, contender: &str) -> bool {
        let mut rows = self.rows.iter();
        rows.any(|row| {
            row.scenario == scenario && row.contender == contender && row.skipped.is_some()
        })
    }

    /// Whether any measurement failed.
    pub(super) fn has_failures(&self) -> bool {
        self.rows.iter().any(|row| !row.failures.is_empty())
    }

    fn row(&mut self, scenario: Scenario, contender: &str) -> &mut ScenarioRow {
        let found =
            self.rows.iter().position(|row| row.scenario == scenario && row.contender == contender);
        let index = found.unwrap_or_else(|| {
            let contender = contender.to_owned();
            self.rows.push(ScenarioRow {
                scenario,
                contender,
                series: vec![],
                failures: vec![],
                skipped: None,
            });
            self.rows.len() - 1
        });
        &mut self.rows[index]
    }

    /// The others in this scenario, each with its median of this figure over theirs. Where transports are compared, of the
    /// tunnels only those over TCP; where variants are, those of the same variant and those over UDP.
    fn ratios(&self, row: &ScenarioRow, figure: &str) -> Vec<(&str, f64)> {
        let Some(own) = row.summary(figure).filter(|_| row.compares(figure)) else {
            return Vec::new();
        };
        let transports = row.scenario.is_over_transports();
        let variants = row.scenario.is_over_variants();
        let way = |name: &str| name.split_once('+').map(|(_, way)| way.to_owned());
        let others = self.rows.iter().filter(|other| {
            let name = &*other.contender;
            let compares = match way(name).as_deref() {
                None => true,
                Some("tcp") => transports,
                Some(other) if variants => {
                    other == "udp" || Some(other) == way(&row.contender).as_deref()
                }
                Some(_) => !transports,
            };
            other.scenario == row.scenario && name != row.contender && compares
        });
        others
            .filter_map(|other| {
                let theirs = other.summary(figure)?;
                (theirs.median > 0.0).then(|| (&*other.contender, own.median / theirs.median))
            })
            .collect()
    }

    /// The targets of a figure that could be checked in this run, each with what was reached.
    fn targets(&self, row: &ScenarioRow, figure: &str) -> Vec<(FigureTarget, f64)> {
        let reached = |target: &FigureTarget| match target.over {
            None => row.summary(figure).map(|summary| summary.median),
            Some(over) => self
                .ratios(row, figure)
                .into_iter()
                .find_map(|(other, ratio)| other.starts_with(over).then_some(ratio)),
        };
        targets(row.scenario, &row.contender, figure)
            .filter_map(|target| reached(&target).map(|value| (target, value)))
            .collect()
    }

    /// For people: medians, spread, ratios and targets.
    pub(super) fn text(&self) -> String {
        let Conditions { rounds, seconds, mtu, cores, kernel, .. } = &self.conditions;
        let mut text = format!(
            "{rounds} rounds of {seconds} s, MTU {mtu}, {cores} cores, Linux {kernel}; {} on every connection (the programs' own \
             by {}).\nMedian (min..max), median over the other's in the same run.\n",
            self.conditions.congestion_control, self.conditions.congestion_setting
        );
        let mut scenario = None;
        for row in &self.rows {
            if scenario != Some(row.scenario) {
                scenario = Some(row.scenario);
                let _ = writeln!(text, "\n{}: {}", row.scenario.name(), row.scenario.description());
            }
            self.write_row(row, &mut text);
        }
        text
    }

    fn write_row(&self, row: &ScenarioRow, text: &mut String) {
        for series in &row.series {
            let Some(summary) = row.summary(&series.name) else { continue };
            let Summary { median, min, max } = summary;
            let (label, unit) = (&series.name, series.unit);
            let contender = &row.contender;
            let values = format!("{} ({}..{}) {unit}", digits(median), digits(min), digits(max));
            let _ = write!(text, "  {contender:<10} {label:<11} {values:<36}");
            for (other, ratio) in self.ratios(row, &series.name) {
                let _ = write!(text, "  {} x {other}", digits(ratio));
            }
            if series.compares && summary.is_wide() && series.values.len() > 1 {
                text.push_str("  wide spread");
            }
            for (FigureTarget { over, bound, .. }, reached) in self.targets(row, &series.name) {
                let (side, wanted) = match bound {
                    Bound::AtLeast(wanted) => ("at least", wanted),
                    Bound::AtMost(wanted) => ("at most", wanted),
                };
                let over = over.map(|over| format!(" x {over}")).unwrap_or_default();
                let verdict = if bound.is_met(reached) { "met" } else { "missed" };
                let _ = write!(text, "  target {side} {}{over}: {verdict}", digits(wanted));
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        if let Some(reason) = &row.skipped {
            let _ = writeln!(text, "  {:<10} skipped: {reason}", row.contender);
        }
        if let Some(last) = row.failures.last() {
            let (contender, count) = (&row.contender, row.failures.len());
            let _ = writeln!(text, "  {contender:<10} failed {count} times; the last time: {last}");
        }
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let conditions = &self.conditions;
        let mut scenarios = Map::new();
        for row in &self.rows {
            let scenario = scenarios.entry(row.scenario.name()).or_insert_with(|| json!({}));
            scenario[&row.contender] = self.row_json(row);
        }
        let contenders: Map<_, _> = conditions
            .contenders
            .iter()
            .map(|(name, command)| (name.clone(), command.clone().into()))
            .collect();
        json!({
            "workbench": env!("CARGO_PKG_VERSION"),
            "rounds": conditions.rounds,
            "seconds": conditions.seconds,
            "mtu": conditions.mtu,
            "cores": conditions.cores,
            "kernel": conditions.kernel,
            "congestion_control": {
                "name": conditions.congestion_control,
                "traffic": "socket option TCP_CONGESTION",
                "programs": conditions.congestion_setting,
            },
            "contenders": contenders,
            "scenarios": scenarios,
        })
    }

    fn row_json(&self, row: &ScenarioRow) -> Value {
        let mut figures = Map::new();
        for series in &row.series {
            let Some(Summary { median, min, max }) = row.summary(&series.name) else { continue };
            let ratios: Map<_, _> = self
                .ratios(row, &series.name)
                .into_iter()
                .map(|(other, ratio)| (other.to_owned(), ratio.into()))
                .collect();
            figures.insert(
                series.name.replace(' ', "_"),
                json!({
                    "unit": series.unit,
                    "median": median,
                    "min": min,
                    "max": max,
                    "values": series.values,
                    "ratios": ratios,
                    "targets": self.targets_json(row, &series.name),
                }),
            );
        }
        json!({ "figures": figures, "failures": row.failures, "skipped": row.skipped })
    }
}

impl BenchReport {
    fn targets_json(&self, row: &ScenarioRow, figure: &str) -> Value {
        let targets = self.targets(row, figure).into_iter();
        let targets = targets.map(|(FigureTarget { over, bound, .. }, reached)| {
            let (side, wanted) = match bound {
                Bound::AtLeast(wanted) => ("at_least", wanted),
                Bound::AtMost(wanted) => ("at_most", wanted),
            };
            json!({ "over": over, side: wanted, "reached": reached, "met": bound.is_met(reached) })
        });
        targets.collect()
    }
}

impl ScenarioRow {
    fn compares(&self, figure: &str) -> bool {
        self.series.iter().any(|series| series.name == figure && series.compares)
    }

    fn summary(&self, figure: &str) -> Option<Summary> {
        let series = self.series.iter().find(|series| series.name == figure)?;
        Summary::of(&series.values)
    }
}

/// Three significant digits, or all before the point.
fn digits(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throughput(value: f64) -> Result<Vec<Figure>, String> {
        Ok(vec![Figure::new("throughput", "Gbit/s", value), Figure::derived("lost", "%", value)])
    }

    fn report() -> BenchReport {
        let mut report = BenchReport::new(Conditions {
            rounds: 3,
            seconds: 1,
            mtu: 1420,
            congestion_control: "cubic",
            congestion_setting: "route attribute congctl".into(),
            cores: 2,
            kernel: "6.1".into(),
            contenders: vec![
                ("relay".into(), "built in".into()),
                ("rtun".into(), "/usr/bin/rtun".into()),
            ],
        });
        for (relay, rtun) in [(20.0, 9.0), (18.0, 8.0), (30.0, 10.0)] {
            report.add(Scenario::Tcp1, "relay", throughput(relay));
            report.add(Scenario::Tcp1, "rtun", throughput(rtun));
        }
        report.add(Scenario::Tcp4, "rtun", Err("no way".into()));
        report.skip(Scenario::Lossy, "rtun+quic", "not there".into());
        report
    }

    #[test]
    fn text_has_medians_spread_ratios_and_failures() {
        let report = report();
        let text = report.text();
        let line = |start: &str| {
            let found = text.lines().find(|line| line.starts_with(start));
            found
                .unwrap_or_else(|| panic!("{start} in {text}"))
                .split_whitespace()
                .collect::<Vec<_>>()
        };
        assert_eq!(line("tcp1"), ["tcp1:", "One", "TCP", "stream"]);
        assert_eq!(
            line("  relay").join(" "),
            "relay throughput 20.0 (18.0..30.0) Gbit/s 2.22 x rtun wide spread"
        );
        assert_eq!(
            line("  rtun").join(" "),
            "rtun throughput 9.00 (8.00..10.0) Gbit/s 0.450 x relay target at least 0.600 x relay: missed"
        );
        assert!(text.contains("rtun       lost        9.00 (8.00..10.0) %\n"), "{text}");
        assert!(text.contains("failed 1 times; the last time: no way"), "{text}");
        assert!(text.contains("  rtun+quic  skipped: not there\n"), "{text}");
        assert!(report.is_skipped(Scenario::Lossy, "rtun+quic"));
        assert!(!report.is_skipped(Scenario::Lossy, "rtun+tcp"));
        assert!(report.has_failures());
    }

    #[test]
    fn transports_are_compared_with_tcp() {
        let mut report = report();
        for (name, value) in
            [("relay", 8.0), ("rtun+tcp", 4.0), ("rtun+tls", 3.0), ("rtun+ws", 2.0)]
        {
            report.add(Scenario::Transports, name, throughput(value));
        }
        let text = report.text();
        let tls = text.lines().find(|line| line.starts_with("  rtun+tls   throughput")).unwrap();
        assert_eq!(
            tls.split_whitespace().skip(4).collect::<Vec<_>>().join(" "),
            "Gbit/s 0.375 x relay 0.750 x rtun+tcp target at least 0.600 x rtun+tcp: met"
        );
    }

    #[test]
    fn json_has_every_value_and_how_it_was_measured() {
        let json = report().json();
        assert_eq!(json["congestion_control"]["programs"], "route attribute congctl");
        assert_eq!(json["contenders"]["relay"], "built in");
        let figure = &json["scenarios"]["tcp1"]["rtun"]["figures"]["throughput"];
        assert_eq!(
            *figure,
            json!({
                "unit": "Gbit/s", "median": 9.0, "min": 8.0, "max": 10.0, "values": [9.0, 8.0, 10.0],
                "ratios": { "relay": 0.45 },
                "targets": [{ "over": "relay", "at_least": 0.6, "reached": 0.45, "met": false }],
            })
        );
        assert_eq!(json["scenarios"]["tcp4"]["rtun"]["failures"], json!(["no way"]));
        assert_eq!(json["scenarios"]["lossy"]["rtun+quic"]["skipped"], "not there");
    }

    #[test]
    fn three_digits_count() {
        let shown = [12_345.6, 99.96, 12.345, 1.2345, 0.012_34].map(digits);
        assert_eq!(shown, ["12346", "100.0", "12.3", "1.23", "0.012"]);
    }
}
