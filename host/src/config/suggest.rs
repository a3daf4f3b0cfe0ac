//! What somebody probably meant: the nearest word by edit distance.

/// Words of the field that other systems use for ours.
const OTHER_WORDS: [(&str, &str); 12] = [
    ("bind", "address"),
    ("cert", "certificate"),
    ("configuration", "config"),
    ("destination", "to"),
    ("dir", "folder"),
    ("directory", "folder"),
    ("path", "folder"),
    ("settings", "config"),
    ("source", "from"),
    ("target", "to"),
    ("topic", "to"),
    ("workers", "threads"),
];

/// The candidate that a word was most probably meant to be.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let synonym = OTHER_WORDS.iter().find(|(other, _)| *other == lower).map(|(_, ours)| *ours);
    let rank = |candidate: &'a str| {
        if synonym == Some(candidate) || lower == candidate {
            return Some((0, candidate));
        }
        // A third of the letters may be wrong; more is another word.
        let most = (lower.chars().count().max(candidate.chars().count()) / 3).max(1);
        distance(&lower, candidate, most).map(|distance| (distance, candidate))
    };
    candidates.into_iter().filter_map(rank).min().map(|(_, candidate)| candidate)
}

/// The number of insertions, deletions, replacements and swaps of neighbours between two words
/// (optimal string alignment), if it is `most` or less.
fn distance(one: &str, other: &str, most: usize) -> Option<usize> {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    if one.len().abs_diff(other.len()) > most {
        return None;
    }
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (row, letter) in one.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, against) in other.iter().enumerate() {
            let at = |cells: &[usize], index: usize| cells.get(index).copied().unwrap_or(most);
            let replace = at(&last, column) + usize::from(letter != against);
            let insert = at(&current, column) + 1;
            let delete = at(&last, column + 1) + 1;
            let mut best = replace.min(insert).min(delete);
            let swapped = row > 0
                && column > 0
                && one.get(row - 1) == Some(against)
                && other.get(column - 1) == Some(letter);
            if swapped {
                best = best.min(at(&before_last, column - 1) + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last.last().copied().filter(|distance| *distance <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(word: &str, expected: Option<&str>) {
        let candidates = ["address", "max_streams", "max_connections", "to", "from", "threads"];
        assert_eq!(nearest(word, candidates), expected, "{word}");
    }

    #[test]
    fn a_slip_of_the_finger_is_understood() {
        check("adress", Some("address"));
        check("addrses", Some("address"));
        check("Address", Some("address"));
        check("max_steams", Some("max_streams"));
        check("form", Some("from"));
    }

    #[test]
    fn another_systems_word_is_understood() {
        check("destination", Some("to"));
        check("bind", Some("address"));
        check("workers", Some("threads"));
    }

    #[test]
    fn another_word_is_left_alone() {
        check("colour", None);
        check("", None);
        check(&"x".repeat(1 << 16), None);
    }
}
