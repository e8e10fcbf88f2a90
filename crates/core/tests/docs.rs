//! The documentation names every drop reason.

use rtun_core::DropReason;

#[test]
fn every_drop_reason_is_explained() {
    let page = include_str!("../../../docs/troubleshooting.md");
    let table = page.split("## Packets that go nowhere").nth(1).expect("the page has that section");
    for reason in DropReason::ALL {
        let word = format!("`{}`", reason.as_str());
        assert!(table.contains(&word), "{word} is missing in docs/troubleshooting.md");
    }
}
