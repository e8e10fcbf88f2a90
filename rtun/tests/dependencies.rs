//! The allowed dependencies between the crates of the workspace, and all dependencies of the pure ones.
//!
//! These directions keep decisions free of sockets and clocks: see docs/architecture.md.

use std::process::Command;

use serde_json::Value;

/// Every allowed dependency: a crate, the crates it may use, and the crates that only its tests may use.
const ALLOWED: [(&str, &[&str], &[&str]); 16] = [
    ("rtun-proto", &[], &[]),
    ("rtun-core", &["rtun-proto"], &[]),
    ("rtun-settings", &["rtun-core", "rtun-proto"], &[]),
    ("rtun-document", &["rtun-core"], &[]),
    ("rtun-config", &["rtun-core", "rtun-document", "rtun-settings"], &[]),
    ("rtun-state", &["rtun-settings"], &[]),
    ("rtun-control", &["rtun-core", "rtun-settings", "rtun-state", "rtun-tls"], &[]),
    ("rtun-tls", &["rtun-settings", "rtun-state"], &[]),
    ("rtun-system", &["rtun-proto", "rtun-state"], &[]),
    (
        "rtun-transport",
        &["rtun-proto", "rtun-settings", "rtun-system", "rtun-tls"],
        &["rtun-state"],
    ),
    (
        "rtun-node",
        &[
            "rtun-control",
            "rtun-core",
            "rtun-proto",
            "rtun-settings",
            "rtun-state",
            "rtun-system",
            "rtun-tls",
            "rtun-transport",
        ],
        &["rtun-lab"],
    ),
    ("rtun-api", &["rtun-config", "rtun-node", "rtun-settings"], &[]),
    ("rtun-lab", &["rtun-system"], &[]),
    ("rtun-workbench", &["rtun-lab", "rtun-proto"], &[]),
    (
        "rtun",
        &[
            "rtun-api",
            "rtun-config",
            "rtun-core",
            "rtun-node",
            "rtun-settings",
            "rtun-state",
            "rtun-tls",
        ],
        &["rtun-lab", "rtun-proto", "rtun-system", "rtun-transport"],
    ),
    (
        "rtun-fuzz",
        &[
            "rtun-api",
            "rtun-config",
            "rtun-core",
            "rtun-proto",
            "rtun-settings",
            "rtun-tls",
            "rtun-transport",
        ],
        &[],
    ),
];

/// All external dependencies of the pure crates. Nothing that they use of these does I/O, reads a clock or makes
/// random numbers: time is an argument, randomness a seed.
const PURE: [(&str, &[&str]); 2] = [
    ("rtun-proto", &["aws-lc-rs", "base64", "md-5", "thiserror"]),
    ("rtun-core", &["ipnet", "serde", "subtle", "thiserror"]),
];

#[test]
fn crates_depend_on_each_other_in_the_allowed_directions() {
    assert_eq!(complaints(&workspace()), [""; 0]);
}

#[test]
fn every_crate_of_the_workspace_is_listed() {
    let mut found: Vec<String> = workspace().into_iter().map(|package| package.name).collect();
    let mut listed: Vec<&str> = ALLOWED.iter().map(|(name, ..)| *name).collect();
    found.sort();
    listed.sort_unstable();
    assert_eq!(found, listed);
}

#[test]
fn dependencies_that_are_not_allowed_are_reported() {
    let package = |name: &str, dependencies: &[(&str, bool)]| Package {
        name: name.to_owned(),
        dependencies: dependencies.iter().map(|(name, test)| (name.to_string(), *test)).collect(),
    };
    let packages = [
        package("rtun-core", &[("rtun-transport", false), ("tokio", false), ("proptest", true)]),
        package("rtun-transport", &[("rtun-proto", false), ("tokio", false)]),
        package("rtun", &[("rtun-transport", false), ("rtun-core", true)]),
    ];
    assert_eq!(
        complaints(&packages),
        [
            "rtun-core must not use rtun-transport",
            "rtun-core must not use rtun-transport: it is pure",
            "rtun-core must not use tokio: it is pure",
            "rtun must not use rtun-transport",
        ]
    );
}

struct Package {
    name: String,
    /// Each with whether only tests use it.
    dependencies: Vec<(String, bool)>,
}

fn complaints(packages: &[Package]) -> Vec<String> {
    let mut complaints = Vec::new();
    for package in packages {
        let (uses, tests_use) = ALLOWED
            .iter()
            .find(|(name, ..)| *name == package.name)
            .map_or((&[][..], &[][..]), |(_, uses, tests_use)| (uses, tests_use));
        let pure = PURE.iter().find(|(name, _)| *name == package.name).map(|(_, uses)| uses);
        for (dependency, only_tests) in &package.dependencies {
            let name = dependency.as_str();
            let agreed = uses.contains(&name) || *only_tests && tests_use.contains(&name);
            if name.starts_with("rtun") && !agreed {
                complaints.push(format!("{} must not use {name}", package.name));
            }
            if pure.is_some_and(|pure| !pure.contains(&name)) && !agreed && !only_tests {
                complaints.push(format!("{} must not use {name}: it is pure", package.name));
            }
        }
    }
    complaints
}

/// The workspace as cargo sees it.
fn workspace() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("the cargo that runs this test can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("cargo lists packages");
    packages.iter().map(package).collect()
}

fn package(value: &Value) -> Package {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let dependencies = value["dependencies"].as_array().expect("every package lists them");
    Package {
        name: text(&value["name"]),
        dependencies: dependencies
            .iter()
            .map(|dependency| (text(&dependency["name"]), dependency["kind"] == "dev"))
            .collect(),
    }
}
