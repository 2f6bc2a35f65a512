//! What of a text people see: characters that can't be seen forge what others read.
//!
//! Which characters these are is told by the properties of Unicode: all that is ignorable by default (fillers, joiners, selectors,
//! tags, marks that turn the direction of writing), controls, separators of lines. Where one of them changes how its neighbours
//! look, in a script or an emoji that needs it, it may stand (`shapes`). Combining marks are seen, but may not pile up.

use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{
        DefaultIgnorableCodePoint, Emoji, EmojiModifier, ExtendedPictographic, GeneralCategory, GeneralCategoryGroup,
        JoiningType, NoncharacterCodePoint, UnifiedIdeograph,
    },
};
use unicode_normalization::char::canonical_combining_class;

/// A character that a text may not have, and why.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flaw {
    /// It can't be seen.
    Hidden(char),
    /// It is one combining mark too many in a row.
    Piled(char),
}

/// What is wrong with a text, if anything: a hidden character, or more than so many combining marks in a row.
pub fn flaw(text: &str, marks_max: usize) -> Option<Flaw> {
    let chars: Vec<char> = text.chars().collect();
    let mut marks = 0;
    for (place, c) in chars.iter().copied().enumerate() {
        if is_hidden(c) {
            if !shapes(&chars, place) {
                return Some(Flaw::Hidden(c));
            }
            continue;
        }
        marks = if is_stacked(c) { marks + 1 } else { 0 };
        if marks > marks_max {
            return Some(Flaw::Piled(c));
        }
    }
    None
}

/// Whether a character can't be seen by itself, or changes how others are read.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        // Line and paragraph separators, and marks of annotations.
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{fff9}'..='\u{fffb}')
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
        || CodePointSetData::new::<NoncharacterCodePoint>().contains(c)
}

/// Whether a character shows something by itself: a letter, digit, punctuation mark or symbol.
pub fn is_visible(c: char) -> bool {
    let shown = GeneralCategoryGroup::Letter
        .union(GeneralCategoryGroup::Number)
        .union(GeneralCategoryGroup::Punctuation)
        .union(GeneralCategoryGroup::Symbol);
    // An empty braille pattern, a musical symbol for no note, and the place of an object that is not there.
    let empty = matches!(c, '\u{2800}' | '\u{1d159}' | '\u{fffc}');
    !empty && !is_hidden(c) && shown.contains(category(c))
}

/// Whether a character is a blank to people, the empty braille pattern included.
pub fn is_blank(c: char) -> bool {
    c.is_whitespace() || c == '\u{2800}'
}

/// Whether a character combines with the one before it.
pub fn is_mark(c: char) -> bool {
    GeneralCategoryGroup::Mark.contains(category(c))
}

/// Whether it does so above, below or around it, so that many of them grow over the lines of others.
fn is_stacked(c: char) -> bool {
    matches!(category(c), GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark)
}

fn category(c: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(c)
}

/// Whether a hidden character changes how its neighbours look, as Unicode has it.
fn shapes(chars: &[char], place: usize) -> bool {
    let Some(before) = place.checked_sub(1).map(|before| chars[before]) else { return false };
    let after = chars.get(place + 1).copied();
    match chars[place] {
        // Text or emoji: of digits only as keys, since they look the same otherwise.
        '\u{fe0e}' | '\u{fe0f}' if before.is_ascii() => after == Some('\u{20e3}') && is_emoji(before),
        '\u{fe0e}' | '\u{fe0f}' => is_emoji(before),
        // Variants of ideographs, which names in Japanese have.
        '\u{e0100}'..='\u{e01ef}' => CodePointSetData::new::<UnifiedIdeograph>().contains(before),
        '\u{200c}' => after.is_some_and(is_visible) && (is_virama(before) || joins(chars, place)),
        '\u{200d}' => after.is_some_and(is_visible) && (is_virama(before) || joins_emoji(chars, place)),
        _ => false,
    }
}

fn is_emoji(c: char) -> bool {
    CodePointSetData::new::<Emoji>().contains(c)
}

/// Whether a character takes the vowel from the consonant before it, as in Devanagari or Sinhala (RFC 5892, A.1 and A.2).
fn is_virama(c: char) -> bool {
    const VIRAMA: u8 = 9;
    canonical_combining_class(c) == VIRAMA
}

/// Whether the letters around a place would join, as in Persian (RFC 5892, A.1).
fn joins(chars: &[char], place: usize) -> bool {
    let kinds = CodePointMapData::<JoiningType>::new();
    let kind = |c: &char| Some(kinds.get(*c)).filter(|kind| *kind != JoiningType::Transparent);
    let before = chars[..place].iter().rev().find_map(kind);
    let after = chars[place + 1..].iter().find_map(kind);
    matches!(before, Some(JoiningType::LeftJoining | JoiningType::DualJoining))
        && matches!(after, Some(JoiningType::RightJoining | JoiningType::DualJoining))
}

/// Whether an emoji before a place and one after it become one.
fn joins_emoji(chars: &[char], place: usize) -> bool {
    let pictures = CodePointSetData::new::<ExtendedPictographic>();
    let dresses = |c: &char| *c == '\u{fe0f}' || CodePointSetData::new::<EmojiModifier>().contains(*c);
    let before = chars[..place].iter().rev().find(|c| !dresses(c));
    let after = chars.get(place + 1);
    before.zip(after).is_some_and(|(before, after)| pictures.contains(*before) && pictures.contains(*after))
}

/// A character by its number, and by its name where people may know it.
pub fn named(c: char) -> String {
    let name = match c {
        '\u{ad}' => " (soft hyphen)",
        '\u{200b}' => " (zero-width space)",
        '\u{200c}' => " (zero-width non-joiner)",
        '\u{200d}' => " (zero-width joiner)",
        '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            " (a mark of writing direction)"
        }
        '\u{2028}' | '\u{2029}' => " (a line separator)",
        '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' => " (Hangul filler)",
        '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => " (variation selector)",
        '\u{feff}' => " (byte order mark)",
        '\u{e0000}'..='\u{e007f}' => " (a tag)",
        c if c.is_control() => " (a control character)",
        _ => "",
    };
    format!("U+{:04X}{name}", u32::from(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// THREATS 85: nothing that can't be seen stands by itself, and marks don't pile up.
    #[test]
    fn threat_85_hidden_characters() {
        let hidden = "\u{3164}\u{115f}\u{1160}\u{ffa0}\u{34f}\u{180e}\u{17b4}\u{17b5}\u{fe0f}\u{fe00}\u{e0020}\u{e007f}\u{e0100}\u{200b}\
                      \u{200c}\u{200d}\u{200e}\u{202e}\u{2060}\u{2066}\u{feff}\u{ad}\u{61c}\u{180b}\u{1bca0}\u{1d173}\u{fff9}\u{2028}\u{7f}\u{9b}\u{ffff}";
        for c in hidden.chars() {
            assert_eq!(flaw(&format!("Ann{c}Lee"), 4), Some(Flaw::Hidden(c)), "{}", named(c));
            assert!(!is_visible(c));
        }
        for c in ['\u{2800}', '\u{1d159}', '\u{fffc}', ' ', '\u{a0}', '\u{3000}', '\u{301}', '\u{1680}'] {
            assert!(!is_visible(c), "{}", named(c));
        }
        assert_eq!(flaw(&format!("a{}", "\u{301}".repeat(5)), 4), Some(Flaw::Piled('\u{301}')));
        assert_eq!(flaw(&format!("a{}", "\u{20dd}".repeat(90)), 4), Some(Flaw::Piled('\u{20dd}')));
        assert_eq!(named('\u{e0041}'), "U+E0041 (a tag)");
    }

    /// What is written so in its language, or shown so, stays.
    #[test]
    fn what_people_write_has_no_flaw() {
        for text in [
            "Ann Lee",
            "Nguyễn Thị Ánh",
            "สมชาย รักชาติ",
            "ศิริพร กี่สิบ",
            "שָׁלוֹם בֶּן־דָּוִד",
            "क्षत्रिय श्रीमान्",
            "ကျွန်ုပ်",
            "བསྒྲུབས",
            "ខ្មែរ",
            "می\u{200c}خواهم",
            "شامپو\u{200c}ها".replace('\u{200c}', "").as_str(),
            "ශ්\u{200d}රී ලංකා",
            "क्\u{200d}ष",
            "葛\u{e0100}城",
            "❤\u{fe0f}",
            "👩🏽\u{200d}💻 Ann",
            "👨\u{200d}👩\u{200d}👧",
            "🏳\u{fe0f}\u{200d}🌈",
            "1\u{fe0f}\u{20e3}",
            "🇩🇪",
            "O’Brien & Söhne №1",
        ] {
            assert_eq!(flaw(text, 4), None, "{text}");
        }
        for text in
            ["Ann\u{200c}Lee", "a\u{200d}", "1\u{fe0f}", "\u{fe0f}", "👩\u{200d}", "می\u{200c}", "A\u{e0100}", "👩\u{200d}x"]
        {
            assert!(matches!(flaw(text, 4), Some(Flaw::Hidden(_))), "{text}");
        }
    }
}
