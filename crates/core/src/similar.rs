//! Suggestions for a misspelt name.

/// The most names that are compared.
const MAX_NAMES: usize = 10_000;

/// The name closest to `written`, if it is close enough to be the intended one. Case is ignored.
pub fn closest<'n>(written: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let written: Vec<char> = written.to_lowercase().chars().take(64).collect();
    let allowed = match written.len() {
        0..3 => 1,
        3..6 => 2,
        _ => 3,
    };
    names
        .into_iter()
        .take(MAX_NAMES)
        .map(|name| (distance(&written, name), name))
        .filter(|(distance, name)| *distance <= allowed && *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The number of insertions, deletions, replacements and swaps of neighbours between the two (optimal string alignment).
fn distance(a: &[char], b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().take(64).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_finger_are_recognised() {
        let names = ["gateway", "dst", "net", "routes", "route"];
        for (written, meant) in [
            ("gatway", Some("gateway")),
            ("gatewya", Some("gateway")),
            ("GATEWAY", Some("gateway")),
            ("rotue", Some("route")),
            ("dest", Some("dst")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(closest(written, names), meant, "{written}");
        }
    }
}
