//! Words that are no longer used, each with the word to use instead.

use std::sync::LazyLock;

use regex::Regex;

use crate::{code, source::SourceFile};

/// What must not occur, what may stand in the same line nevertheless, and what to write instead.
const WORDS: &[(&str, &str, &str)] = &[
    (r"\(spec:", "", "the fact, an RFC section, or a page of docs/"),
    (
        r"(?i)super[-_]?(frame|packet)",
        // Names that users meet: the key, and the field of the log and of JSON.
        r#"superFrames|superframes|"super_frames"|super_frames = "#,
        "GSO frame, GSO packet",
    ),
    (r"(?i)\bcarriages?\b|Carriage|_carriage|carriage_", "(?i)carriage return", "transport stack"),
    (r"(?i)witness", "", "handshake diagnostics"),
    (r"\bis_holding\b", "", "has_buffered"),
    (
        r"Standing|\bstandings\b|\b(let|fn) standing\b|\bstanding:|\.standing\b",
        "",
        "weight, backup, preference",
    ),
    (r"\bWays?\b|\b(let|fn) ways?\b", r"^\s*//|^#|\|", "endpoint, or path for the network between"),
    (
        r"(?i)\bways? to (the|a|an|its|one|each|that|every) hubs?\b",
        "",
        "endpoint of the hub, or path to the hub",
    ),
    (r"(?i)\b(entrance|door)s?\b|(?-i)\bGuests?\b", "", "listener, acceptor, pending stream"),
    (r"(?i)\bbeside\b", "", "next to, after, with; in addition to"),
    (r"(?i)census", "", "stats"),
    (r"\blasting\b", "long-lasting", "cacheable"),
    (r"(?i)\bseats?\b|Seat\b|_seat\b", "", "worker, or slot"),
    (r"\b(struct|enum|type) Place\b", "", "slot, position or location"),
    (
        r"(?i)\bmarks?\b|\b(let|fn|mod) mark\b|\.mark\(|wants_mark",
        r"(?i)\bCE marks?\b|byte order mark|so_mark|question mark|quotation mark|exclamation mark|fwmark|mark_ce|sockopts: \{mark:",
        "CE mark, window stamp or so_mark",
    ),
    (r"\b(struct|enum|type) Snapshot\b", "", "RoutingSnapshot, or the subject of the sample"),
    (r"\b(struct|enum|type|trait) Carrier\b|one_carrier", "", "active session"),
    (r"(?i)\bstrangers?\b", "", "unauthenticated peer"),
    (
        r"(?i)\b(told|believed|believes)\b",
        "",
        "informed, reported, counted; cached, trusted, followed",
    ),
    (r"(?i)\bkept to\b", "", "followed"),
    (r"(?i)\blook(s|ed|ing)? over\b", "", "check, inspect"),
    (r"(?i)\bso many\b", "", "this many, or the number"),
    (r"(?i)\bof the moment\b", "", "current"),
    (r"(?i)\bfor ?ever\b", "", "without end, always"),
    (r"(?i)\bwho(m)?ever\b", "", "the one that, any host that"),
    (r"(?i)\bgo(es|ing)? without\b", "", "has no, does not use"),
    (r"(?i)\bcom(e|es|ing) about\b", "", "happens, is caused by"),
    (r"(?i)\bnone the more\b", "", "plain words"),
    (
        r"(?i)\bbehind (it|them|its length|their length|the (first|last|id|header|headers|packet|fields|message|frame|length|colon|blank))\b|\bbytes? behind\b",
        r"(?i)(hosts?|networks?|prefix|LAN|hub|NAT|proxy|address|router|machine|device|server|network is|lies) behind (it|them)\b",
        "after",
    ),
];

struct Word {
    pattern: Regex,
    allowed: Option<Regex>,
    instead: &'static str,
}

static COMPILED: LazyLock<Vec<Word>> = LazyLock::new(|| {
    let compile = |(pattern, allowed, instead): &(&str, &str, &'static str)| Word {
        pattern: Regex::new(pattern).unwrap(),
        allowed: (!allowed.is_empty()).then(|| Regex::new(allowed).unwrap()),
        instead,
    };
    WORDS.iter().map(compile).collect()
});

/// One report for each line with such a word.
pub(crate) fn check(file: &SourceFile) -> Vec<String> {
    let mut reports = Vec::new();
    for word in &*COMPILED {
        let mut last = 0;
        for found in word.pattern.find_iter(&file.text) {
            let start = file.text[..found.start()].rfind('\n').map_or(0, |at| at + 1);
            let line = file.text[start..].lines().next().unwrap_or_default();
            let number = code::line_of(&file.text, found.start());
            let is_allowed = word.allowed.as_ref().is_some_and(|allowed| allowed.is_match(line));
            if number != last && !is_allowed {
                last = number;
                reports.push(format!(
                    "{}:{number}: \"{}\"; write instead: {}",
                    file.path,
                    found.as_str().trim(),
                    word.instead
                ));
            }
        }
    }
    reports
}

#[test]
fn old_words_are_found_and_others_are_not() {
    let file = |text: &str| SourceFile { path: "docs/x.md".into(), text: text.into() };
    let found = check(&file(
        "A CE mark.\nA mark.\nfor ever and\nthe host behind it\nsockopts: {mark: 9}\nthe byte behind them\nthe networks behind them\n",
    ));
    assert_eq!(
        found,
        [
            "docs/x.md:2: \"mark\"; write instead: CE mark, window stamp or so_mark",
            "docs/x.md:3: \"for ever\"; write instead: without end, always",
            "docs/x.md:6: \"byte behind\"; write instead: after",
        ]
    );
}
