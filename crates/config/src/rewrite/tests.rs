use proptest::prelude::*;

use super::*;
use crate::{ChangeAction, Environment, ObjectChange, cli, load};

const COMMENTED: &str = "# The hub of Berlin.
services:
# In use since 2024.
- name: hub
  addr: 127.0.0.1:8443   # behind the firewall
  handler: {type: router, metadata: {router: main}}
  listener:
    type: tcp

# Tables.
routers:
  # Everybody.
  - name: main
    # Offices.
    routes:
      - dst: 10.1.0.0/24
        gateway: host-1

  # Visitors.
  - name: visitors
    routes: []

# Who may see it.
api:
  addr: 127.0.0.1:18080
";

fn parts(text: &str, name: &str) -> ConfigParts {
    let args = cli::parse(["-C", name]).unwrap();
    let mut reader = |_: &ConfigSource| Ok(content(text.as_bytes()));
    load(&args, &Environment::default(), &mut reader, Profile::Compat).parts.unwrap()
}

fn edited(parts: &ConfigParts, group: &str, action: ChangeAction<'_>) -> ConfigParts {
    parts.edit(&ObjectChange { group, action, title: "PUT" }).unwrap()
}

fn saved(parts: &ConfigParts) -> FileRewrite {
    let mut rewrites = parts.rewrites().unwrap();
    assert_eq!(rewrites.len(), 1);
    rewrites.remove(0)
}

use ChangeAction::{Create, Delete, Replace};

#[test]
fn comments_of_what_is_not_touched_stay() {
    let parts = parts(COMMENTED, "hub.yaml");
    assert_eq!(parts.rewrites(), Ok(Vec::new()), "nothing was changed");
    let body = r#"{"routes": [{"dst": "10.2.0.0/24", "gateway": "host-2"}]}"#;
    let changed = saved(&edited(&parts, "routers", Replace("visitors", body)));
    let expected = COMMENTED.replace(
        "  - name: visitors\n    routes: []\n",
        "  - name: visitors\n    routes:\n    - dst: 10.2.0.0/24\n      gateway: host-2\n",
    );
    assert_eq!(changed.after, expected);
    assert!(!changed.loses_comments);

    let added = saved(&edited(&parts, "routers", Create(r#"{"name": "more", "routes": []}"#)));
    let expected = COMMENTED.replace(
        "  - name: visitors\n    routes: []\n",
        "  - name: visitors\n    routes: []\n  - name: more\n    routes: []\n",
    );
    assert_eq!(added.after, expected);

    let gone = saved(&edited(&parts, "routers", Delete("visitors")));
    let expected = COMMENTED.replace("\n  # Visitors.\n  - name: visitors\n    routes: []\n", "");
    assert_eq!(gone.after, expected);

    let other = saved(&edited(&parts, "authers", Create(r#"{"name": "a", "auths": []}"#)));
    assert_eq!(other.after, format!("{COMMENTED}authers:\n- name: a\n  auths: []\n"));
}

#[test]
fn what_cannot_be_changed_in_place_is_written_anew() {
    let flow = "services: [{name: hub, addr: '127.0.0.1:1', handler: {type: router}}] # one\nrouters: [{name: main, routes: []}]\n";
    let parts = parts(flow, "hub.yml");
    let rewrite = saved(&edited(&parts, "routers", Create(r#"{"name": "more", "routes": []}"#)));
    assert!(rewrite.loses_comments && rewrite.after.contains("- name: more"), "{}", rewrite.after);
    let json = r#"{"routers": [{"name": "main", "routes": []}], "x": 1}"#;
    let parts = self::parts(json, "hub.json");
    let rewrite = saved(&edited(&parts, "routers", Delete("main")));
    assert!(!rewrite.loses_comments && !rewrite.after.contains("main"), "{}", rewrite.after);
    assert!(rewrite.after.contains("\"x\": 1"), "{}", rewrite.after);
}

#[test]
fn what_has_no_file_that_can_be_written_is_named() {
    let parts = parts("[[routers]]\nname = \"main\"\n", "hub.toml");
    let error = edited(&parts, "routers", Delete("main")).rewrites().unwrap_err();
    assert!(error.to_string().contains("hub.toml cannot be written"), "{error}");
    let args = cli::parse(["-L", "router://:1?router=main", "-api", ":2"]).unwrap();
    let mut nothing = |_: &ConfigSource| unreachable!();
    let parts = load(&args, &Environment::default(), &mut nothing, Profile::Compat).parts.unwrap();
    let added = edited(&parts, "routers", Create(r#"{"name": "main", "routes": []}"#));
    let error = added.rewrites().unwrap_err();
    assert!(error.to_string().contains("the Web API cannot be saved"), "{error}");
    let again = edited(&added, "routers", Create(r#"{"name": "more", "routes": []}"#));
    assert!(again.has("routers", "main") && again.has("routers", "more"));
    let gone = edited(&parts, "services", Delete("service-0"));
    assert!(gone.rewrites().unwrap_err().to_string().contains("the command line"), "{gone:?}");
}

#[test]
fn each_object_is_saved_where_it_comes_from() {
    let args = cli::parse(["-C", "one.yaml", "-C", "two.yaml"]).unwrap();
    let mut reader = |source: &ConfigSource| {
        let name = if source.to_string() == "one.yaml" { "one" } else { "two" };
        Ok(content(format!("routers:\n- name: {name} # {name}\n").as_bytes()))
    };
    let parts = load(&args, &Environment::default(), &mut reader, Profile::Compat).parts.unwrap();
    let body = r#"{"routes": []}"#;
    let first = saved(&edited(&parts, "routers", Replace("one", body)));
    assert_eq!(
        (first.path.to_str(), &*first.after),
        (Some("one.yaml"), "routers:\n- name: one\n  routes: []\n")
    );
    let mut added = edited(&parts, "routers", Create(r#"{"name": "three"}"#));
    let rewrite = saved(&added);
    assert_eq!(rewrite.path.to_str(), Some("two.yaml"), "to the last file, as GOST does");
    added.saved(&[rewrite]);
    assert!(!added.is_edited() && added.has("routers", "three"));
    assert_eq!(added.rewrites(), Ok(Vec::new()));
}

proptest! {
    #[test]
    fn what_is_written_is_what_was_edited(
        names in prop::collection::vec("[a-c]", 0..4),
        kinds in prop::collection::vec(0..3_usize, 4),
        style in 0..4_usize,
    ) {
        let text = match style {
            0 => COMMENTED.to_owned(),
            1 => COMMENTED.replace("- name: main", "-\n    name: main"),
            2 => COMMENTED.replace("\n\n", "\n"),
            _ => COMMENTED.trim_end().replace("# ", "#- "),
        };
        let mut parts = parts(&text, "hub.yaml");
        for (name, kind) in names.iter().zip(kinds) {
            let body = format!(r#"{{"name": "{name}", "routes": [{{"dst": "10.{kind}.0.0/24", "gateway": "{name}"}}]}}"#);
            let action = match kind {
                0 => Create(&body),
                1 => Replace("visitors", &body),
                _ => Delete(name),
            };
            if let Ok(next) = parts.edit(&ObjectChange { group: "routers", action, title: "x" }) {
                parts = next;
            }
        }
        for rewrite in parts.rewrites().unwrap() {
            prop_assert!(reads_as(&rewrite.path, &rewrite.after, &parts.parts[0].value), "{}", rewrite.after);
        }
    }
}
