//! What can be said about the matches of an expression without running it: all of them, how they begin, or a plain
//! comparison that decides.

use regex_syntax::hir::{Class, ClassUnicode, Hir, HirKind, Look};

/// The most texts that classes, repetitions and sequences may multiply into.
const EXPANDED_MAX: usize = 256;

/// The most texts in all; an alternation of more is left to the automaton.
const LITERALS_MAX: usize = 10_000;

/// The most bytes of all texts together.
const LITERAL_BYTES_MAX: usize = 1 << 20;

/// All texts that match, sorted and unique, if they are few.
pub(super) fn literals(hir: &Hir) -> Option<Vec<String>> {
    let mut literals = expand(strip_anchors(hir))?;
    literals.sort_unstable();
    literals.dedup();
    Some(literals)
}

/// `^` at the beginning and `$` at the end say what holds anyway.
fn strip_anchors(hir: &Hir) -> Vec<&Hir> {
    let parts = match hir.kind() {
        HirKind::Concat(parts) => parts.iter().collect(),
        _ => vec![hir],
    };
    let is_look = |part: &&&Hir, look| matches!(part.kind(), HirKind::Look(found) if *found == look);
    let first = parts.iter().take_while(|part| is_look(part, Look::Start)).count();
    let last = parts.iter().rev().take_while(|part| is_look(part, Look::End)).count();
    parts.get(first..parts.len().saturating_sub(last)).unwrap_or_default().to_vec()
}

fn expand(sequence: Vec<&Hir>) -> Option<Vec<String>> {
    let mut texts = vec![String::new()];
    for part in sequence {
        texts = product(texts, &expand_one(part)?)?;
    }
    Some(texts)
}

fn expand_one(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![String::new()]),
        HirKind::Literal(literal) => Some(vec![std::str::from_utf8(&literal.0).ok()?.to_owned()]),
        HirKind::Class(Class::Unicode(class)) => expand_class(class),
        // The engine writes what never matches as a class of no bytes; no other class of bytes comes from our parser.
        HirKind::Class(Class::Bytes(class)) => class.ranges().is_empty().then(Vec::new),
        HirKind::Look(_) => None,
        HirKind::Capture(capture) => expand_one(&capture.sub),
        HirKind::Concat(parts) => expand(parts.iter().collect()),
        HirKind::Alternation(alternatives) => {
            let mut texts = Vec::new();
            for alternative in alternatives {
                texts.append(&mut expand_one(alternative)?);
                if texts.len() > LITERALS_MAX {
                    return None;
                }
            }
            Some(texts)
        }
        HirKind::Repetition(repetition) => {
            let once = expand_one(&repetition.sub)?;
            let max = repetition.max.filter(|max| *max as usize <= EXPANDED_MAX)?;
            let mut all = Vec::new();
            let mut texts = vec![String::new()];
            for count in 0..=max {
                if count >= repetition.min {
                    all.extend_from_slice(&texts);
                }
                if all.len() > EXPANDED_MAX {
                    return None;
                }
                if count < max {
                    texts = product(texts, &once)?;
                }
            }
            Some(all)
        }
    }
}

fn expand_class(class: &ClassUnicode) -> Option<Vec<String>> {
    let count: usize = class.ranges().iter().map(|range| range.end() as usize - range.start() as usize + 1).sum();
    if count > EXPANDED_MAX {
        return None;
    }
    Some(class.ranges().iter().flat_map(|range| (range.start()..=range.end()).map(String::from)).collect())
}

/// Every text of `left` followed by every text of `right`.
fn product(mut left: Vec<String>, right: &[String]) -> Option<Vec<String>> {
    // Most often a single text; then `left` grows in place, so that a long sequence costs no more than its length.
    if let [only] = right {
        if !only.is_empty() {
            require_short(&left, right)?;
            left.iter_mut().for_each(|text| text.push_str(only));
        }
        return Some(left);
    }
    if left.len() > 1 && right.len() > 1 && left.len() * right.len() > EXPANDED_MAX {
        return None;
    }
    require_short(&left, right)?;
    Some(left.iter().flat_map(|head| right.iter().map(move |tail| format!("{head}{tail}"))).collect())
}

/// Long texts times many others: a product may be far larger than the pattern.
fn require_short(left: &[String], right: &[String]) -> Option<()> {
    let bytes = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
    let product = bytes(left).saturating_mul(right.len()).saturating_add(bytes(right).saturating_mul(left.len()));
    (product <= LITERAL_BYTES_MAX).then_some(())
}

/// The text with which every match begins.
pub(super) fn prefix(hir: &Hir) -> String {
    let mut out = String::new();
    push_prefix(hir, &mut out);
    out
}

/// Appends the prefix of `hir`; true when all of `hir` is that text, so that what follows may be appended too.
fn push_prefix(hir: &Hir, out: &mut String) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(Look::Start) => true,
        HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
            Ok(text) => {
                out.push_str(text);
                true
            }
            Err(_) => false,
        },
        HirKind::Capture(capture) => push_prefix(&capture.sub, out),
        HirKind::Concat(parts) => parts.iter().all(|part| push_prefix(part, out)),
        HirKind::Alternation(alternatives) => {
            let mut prefixes = alternatives.iter().map(prefix);
            let first = prefixes.next().unwrap_or_default();
            let common = prefixes.fold(first, |common, other| common_prefix(&common, &other).to_owned());
            out.push_str(&common);
            false
        }
        HirKind::Repetition(repetition) if repetition.min > 0 => {
            let whole = push_prefix(&repetition.sub, out);
            whole && repetition.min == 1 && repetition.max == Some(1)
        }
        HirKind::Repetition(_) | HirKind::Class(_) | HirKind::Look(_) => false,
    }
}

fn common_prefix<'a>(left: &'a str, right: &str) -> &'a str {
    let same = left.chars().zip(right.chars()).take_while(|(a, b)| a == b).map(|(c, _)| c.len_utf8()).sum();
    &left[..same]
}

/// A literal with `.*` or `.+` before or behind it, or just one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shortcut {
    before: Option<Gap>,
    literal: String,
    behind: Option<Gap>,
}

/// Any text, `.*`, or any but the empty one, `.+`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    Any,
    Some,
}

/// A plain comparison that decides, if there is one.
pub(super) fn shortcut(hir: &Hir) -> Option<Shortcut> {
    let mut parts = strip_anchors(hir).into_iter().map(strip_captures).peekable();
    let before = parts.next_if(|part| gap(part).is_some()).and_then(gap);
    let literal = match parts.next_if(|part| matches!(part.kind(), HirKind::Literal(_))).map(Hir::kind) {
        Some(HirKind::Literal(literal)) => std::str::from_utf8(&literal.0).ok()?.to_owned(),
        _ => String::new(),
    };
    let behind = parts.next_if(|part| gap(part).is_some()).and_then(gap);
    let decides = parts.next().is_none() && (before.is_some() || behind.is_some());
    // Two gaps that touch would have to be added up.
    let apart = before.is_none() || behind.is_none() || !literal.is_empty();
    (decides && apart).then_some(Shortcut { before, literal, behind })
}

fn strip_captures(mut hir: &Hir) -> &Hir {
    while let HirKind::Capture(capture) = hir.kind() {
        hir = &capture.sub;
    }
    hir
}

fn gap(hir: &Hir) -> Option<Gap> {
    let HirKind::Repetition(repetition) = hir.kind() else { return None };
    let HirKind::Class(Class::Unicode(class)) = repetition.sub.kind() else { return None };
    let [all] = class.ranges() else { return None };
    if (all.start(), all.end()) != ('\0', char::MAX) || repetition.max.is_some() {
        return None;
    }
    match repetition.min {
        0 => Some(Gap::Any),
        1 => Some(Gap::Some),
        _ => None,
    }
}

impl Shortcut {
    /// Whether the whole of `text` matches.
    pub(super) fn is_match(&self, text: &str) -> bool {
        let mut chars = text.chars();
        if self.before == Some(Gap::Some) && chars.next().is_none() {
            return false;
        }
        if self.behind == Some(Gap::Some) && chars.next_back().is_none() {
            return false;
        }
        let text = chars.as_str();
        match (self.before, self.behind) {
            (None, None) => text == self.literal,
            (None, Some(_)) => text.starts_with(&self.literal),
            (Some(_), None) => text.ends_with(&self.literal),
            (Some(_), Some(_)) => text.contains(&self.literal),
        }
    }
}
