//! README.md and the pages of docs/: each block says what it holds, each configuration loads, each command is run.
//!
//! Blocks of other tests: `hex` (crates/proto), `console` (explain.rs), `nginx`, `haproxy` and `caddy` (recipes.rs).

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use common::{HUB, World, reaches, wait_until};
use rtun_config::{
    findings::{Code, Profile},
    load_text,
};
use rtun_lab::NetNamespace;

/// What a block may hold.
const LANGUAGES: [&str; 9] =
    ["sh", "yaml", "yaml prometheus", "text", "console", "hex", "nginx", "haproxy", "caddy"];

/// A block of a page.
struct Block {
    page: String,
    line: usize,
    language: String,
    text: String,
    /// The file that the text before it names last, if that is in its paragraph.
    file: Option<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<_> =
        docs.filter(|path| path.extension().is_some_and(|it| it == "md")).collect();
    pages.extend(["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root().join(name)));
    pages.sort();
    pages
}

fn blocks_of(page: &Path) -> Vec<Block> {
    let text = fs::read_to_string(page).unwrap();
    let name = page.strip_prefix(root()).unwrap().display().to_string();
    let mut blocks = Vec::new();
    let (mut paragraph, mut before) = (String::new(), String::new());
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            if line.is_empty() {
                before = std::mem::take(&mut paragraph);
            }
            paragraph.push_str(line);
            continue;
        };
        let body: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        let language = match language.split_once(' ') {
            Some(("hex", _)) => "hex",
            _ => language,
        };
        let mut names = before.split('`').filter(|word| {
            !word.contains([' ', '/']) && (word.ends_with(".yaml") || word.ends_with(".txt"))
        });
        blocks.push(Block {
            page: name.clone(),
            line: number + 1,
            language: language.to_owned(),
            text: body.join("\n") + "\n",
            file: names.next_back().map(str::to_owned),
        });
        paragraph.clear();
    }
    blocks
}

fn all_blocks() -> Vec<Block> {
    pages().iter().flat_map(|page| blocks_of(page)).collect()
}

#[test]
fn every_block_says_what_it_holds() {
    let blocks = all_blocks();
    assert!(blocks.len() > 60, "only {} blocks", blocks.len());
    let unknown: Vec<_> = blocks
        .iter()
        .filter(|block| !LANGUAGES.contains(&&*block.language))
        .map(|block| format!("{}:{}: {:?}", block.page, block.line, block.language))
        .collect();
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
}

#[test]
fn every_page_is_in_the_index_and_short() {
    let index = fs::read_to_string(root().join("docs/README.md")).unwrap();
    for page in pages() {
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(
            name == "README.md" || index.contains(&format!("{name})")),
            "{name}: not in the index"
        );
        let lines = fs::read_to_string(&page).unwrap().lines().count();
        assert!(lines < 400, "{name} has {lines} lines");
    }
}

#[test]
fn every_configuration_loads_with_nothing_said_but_that_tls_is_missing() {
    let mut loaded = 0;
    for block in all_blocks().iter().filter(|block| block.language == "yaml") {
        let place = format!("{}:{}", block.page, block.line);
        let outcome = load_text(&place, &block.text, false, Profile::Compat);
        let others: Vec<_> = outcome
            .findings
            .iter()
            .filter(|finding| !matches!(finding.code, Some(Code::C02 | Code::C03)))
            // Said of every Ethernet tunnel that has a cipher.
            .filter(|finding| !finding.to_string().contains("no protection from replay"))
            // The example has a gateway that is no host, which it goes on to explain.
            .filter(|finding| {
                block.page != "docs/explain.md"
                    || !matches!(finding.code, Some(Code::C15 | Code::C28))
            })
            .map(ToString::to_string)
            .collect();
        if block.text.contains("services:") {
            assert!(
                outcome.config.is_some() && others.is_empty(),
                "{place}\n{}",
                others.join("\n")
            );
        } else {
            // A part of a configuration: nothing is wrong but that it is no more.
            let only = others.len() == 1 && others[0].contains("there is no service");
            assert!(only, "{place}\n{}", others.join("\n"));
        }
        loaded += 1;
    }
    assert!(loaded > 12, "only {loaded} configurations");
}

/// Where a page's paths may begin; crates are named without their folder.
fn exists(path: &str) -> bool {
    [".", "crates", "docs"].iter().any(|folder| root().join(folder).join(path).exists())
}

#[test]
fn every_file_of_the_source_that_a_page_names_is_there() {
    let mut missing = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for word in text.split('`').skip(1).step_by(2) {
            let path = word.split([':', ' ']).next().unwrap();
            let is_path = path.ends_with(".rs") && path.contains('/') && !path.contains('*');
            // Pages shorten `node/src/hub/forward.rs` to `hub/forward.rs` after the first mention.
            let short = || {
                [
                    "node/src",
                    "core/src",
                    "control/src",
                    "proto/src",
                    "transport/src",
                    "system/src",
                    "config/src",
                ]
                .iter()
                .any(|folder| exists(&format!("{folder}/{path}")))
            };
            if is_path && !exists(path) && !short() {
                missing.push(format!("{}: {path}", page.file_name().unwrap().display()));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// The anchors of a page's headings, as links name them.
fn anchors(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let mut is_block = false;
    let headings = text.lines().filter(|line| {
        is_block ^= line.starts_with("```");
        !is_block && line.starts_with('#')
    });
    let anchor = |heading: &str| {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        text.chars().filter(kept).collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_are_there() {
    let mut wrong = Vec::new();
    let changelog = root().join("CHANGELOG.md");
    for page in pages().iter().chain([&changelog]) {
        let text = fs::read_to_string(page).unwrap();
        for rest in text.split("](").skip(1) {
            let link = rest.split(')').next().unwrap();
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.clone(),
                file => page.parent().unwrap().join(file),
            };
            let leads = link.starts_with("https://")
                || target.exists()
                    && (anchor.is_empty() || anchors(&target).iter().any(|it| it == anchor));
            if !leads {
                wrong.push(format!("{}: {link}", page.file_name().unwrap().display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A folder with the files of a page, and a program `rtun` that prints the configuration in the place of running it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(blocks: &[Block]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for block in blocks {
            if let Some(file) =
                block.file.as_ref().filter(|_| matches!(&*block.language, "yaml" | "text"))
            {
                fs::write(folder.path().join(file), &block.text).unwrap();
            }
        }
        fs::create_dir(folder.path().join("bin")).unwrap();
        let program = folder.path().join("bin/rtun");
        let script = format!(
            "#!/bin/sh\ncase $1 in\n-*) exec {rtun} \"$@\" -O yaml ;;\nstatus | explain) exec {rtun} \"$1\" --help ;;\n\
             *) exec {rtun} \"$@\" ;;\nesac\n",
            rtun = env!("CARGO_BIN_EXE_rtun")
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self(folder)
    }

    /// Runs a block; 1 is the exit status of `rtun check` with warnings.
    fn run(&self, text: &str) -> Result<(), String> {
        let folder = self.0.path();
        let path = format!("{}/bin:{}", folder.display(), std::env::var("PATH").unwrap());
        let text = placeholders(text, &"ab".repeat(32)).replace("rtun check ", "check ");
        let script = format!("check() {{ rtun check \"$@\" || [ $? = 1 ]; }}\nset -e\n{text}");
        let output = Command::new("sh")
            .args(["-c", &script])
            .env("PATH", path)
            .env("HOME", folder)
            .env("RTUN_STATE_DIR", folder.join("state"))
            .current_dir(folder)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        output.status.success().then_some(()).ok_or(said)
    }
}

/// The text with what a reader has to put in.
fn placeholders(text: &str, fingerprint: &str) -> String {
    text.replace("HUB:", &format!("{HUB}:")).replace("FINGERPRINT", fingerprint)
}

/// Commands of other programs, or of the source tree.
fn is_of_the_tree(line: &str) -> bool {
    ["script/", "cargo ", "sudo ", "sysctl ", "RTUN_GOST=", "target/"]
        .iter()
        .any(|it| line.starts_with(it))
}

#[test]
fn every_command_of_rtun_is_understood() {
    let mut run = 0;
    for page in pages() {
        let blocks = blocks_of(&page);
        let folder = Folder::new(&blocks);
        for block in blocks.iter().filter(|block| block.language == "sh") {
            if block.text.lines().any(|line| line.starts_with("rtun")) {
                let done = folder.run(&block.text);
                assert!(done.is_ok(), "{}:{}: {done:?}", block.page, block.line);
                run += 1;
            }
        }
    }
    assert!(run > 12, "only {run} blocks of commands");
}

#[test]
fn every_other_command_is_there() {
    let manifests = [
        "rtun",
        "crates/workbench",
        "crates/core",
        "crates/proto",
        "crates/node",
        "crates/transport",
    ];
    for block in all_blocks().iter().filter(|block| block.language == "sh") {
        for line in block.text.lines().filter(|line| is_of_the_tree(line)) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let place = format!("{}:{}: {line}", block.page, block.line);
            if words[0].starts_with("script/") {
                assert!(root().join(words[0]).is_file(), "{place}");
            }
            for pair in words.windows(2) {
                let known = match pair[0] {
                    "-p" => manifests.iter().any(|folder| {
                        let text =
                            fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
                        text.contains(&format!("name = \"{}\"", pair[1]))
                    }),
                    "--test" => manifests.iter().any(|folder| {
                        let tests = root().join(folder).join("tests");
                        tests.join(format!("{}.rs", pair[1])).is_file()
                            || tests.join(pair[1]).is_dir()
                    }),
                    "--bench" => manifests.iter().any(|folder| {
                        root().join(folder).join(format!("benches/{}.rs", pair[1])).is_file()
                    }),
                    _ => true,
                };
                assert!(known, "{place}: there is no {}", pair[1]);
            }
        }
    }
}

/// Runs a page whose `hub.yaml` and two commands join `hosts`, word for word; gives the machines.
fn run_page(world: &World, page: &str, hosts: [&str; 2]) -> [NetNamespace; 2] {
    let blocks = blocks_of(&root().join(page));
    let config = blocks.iter().find(|block| block.file.as_deref() == Some("hub.yaml")).unwrap();
    let hub = world.hub(&config.text);
    let fingerprint = hub.said("certificate of the hub").pop();
    let fingerprint =
        fingerprint.map_or_else(String::new, |line| line["fingerprint"].as_str().unwrap().into());
    hosts.map(|name| {
        let machine = world.machine(name);
        machine.hosts([("hub.example", HUB)]);
        let begins = format!("rtun -L \"tun:///{name}?");
        let block = blocks.iter().find(|block| block.text.starts_with(&begins)).unwrap();
        let command = placeholders(&block.text, &fingerprint);
        let arguments: Vec<&str> = command
            .split('"')
            .enumerate()
            .filter_map(|(n, part)| match n % 2 {
                1 => Some(part),
                _ => part.split_whitespace().rfind(|word| word.starts_with('-')),
            })
            .collect();
        world.start(&machine, &arguments).wait_for("joined the hub");
        machine
    })
}

#[test]
fn the_tutorial_of_the_readme_runs_as_it_stands() {
    let Some(world) = World::new() else { return };
    let [one, two] = run_page(&world, "README.md", ["host-1", "host-2"]);
    let (left, right) = (world.behind(&one, "192.168.100"), world.behind(&two, "192.168.200"));
    reaches(&one, "192.168.123.2");
    reaches(&left, "192.168.200.2");
    reaches(&right, "192.168.100.2");
}

#[test]
fn two_sites_are_joined_as_the_page_says() {
    let Some(world) = World::new() else { return };
    let [berlin, paris] = run_page(&world, "docs/join-two-sites.md", ["berlin", "paris"]);
    reaches(&berlin, "172.20.0.2");
    wait_until("an answer the other way", || common::pings(&paris, "172.20.0.1"));
}
