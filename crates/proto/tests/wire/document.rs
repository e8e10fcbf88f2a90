//! `docs/wire-vectors.md` shows every fixture unchanged.

use std::collections::BTreeMap;

use crate::fixtures;

const FENCE: &str = "```";

/// The blocks of the document that begin with "```hex NAME".
fn hex_blocks(document: &str) -> BTreeMap<String, Vec<u8>> {
    let mut blocks = BTreeMap::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix(FENCE).and_then(|info| info.strip_prefix("hex ")) {
            let block: Vec<_> = lines.by_ref().take_while(|line| *line != FENCE).collect();
            let known = blocks.insert(name.to_owned(), fixtures::hex(&block.join("\n")));
            assert_eq!(known, None, "{name} stands there twice");
        }
    }
    blocks
}

#[test]
fn the_document_shows_the_fixtures() {
    let document = concat!(
        include_str!("../../../../docs/wire.md"),
        include_str!("../../../../docs/wire-vectors.md")
    );
    let shown = hex_blocks(document);
    for (name, bytes) in &shown {
        fixtures::check(name, bytes);
    }
    let fixtures: BTreeMap<_, _> = fixtures::all().into_iter().collect();
    assert_eq!(shown, fixtures);
}
