//! Names in a list: how many places it has, and what stands there.

/// How many places a statement has for so many names: a power of two, so that few statements are
/// prepared.
pub(super) fn places(count: usize) -> usize {
    count.next_power_of_two()
}

/// All of them, the last again and again until each place has one.
pub(super) fn padded<T>(all: &[T]) -> impl Iterator<Item = &T> {
    let missing = if all.is_empty() { 0 } else { places(all.len()) - all.len() };
    all.iter().chain(all.last().into_iter().cycle().take(missing))
}

pub(super) fn one_of(column: &str, places: usize) -> String {
    format!("{column} IN ({})", vec!["?"; places].join(", "))
}

pub(super) fn any_of(condition: &str, places: usize) -> String {
    format!("({})", vec![format!("({condition})"); places].join(" OR "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_has_a_name() {
        for count in 1..40 {
            let all: Vec<usize> = (0..count).collect();
            let padded: Vec<_> = padded(&all).copied().collect();
            assert_eq!(padded.len(), places(count));
            assert_eq!(padded[..count], all);
            assert!(padded[count..].iter().all(|&name| name == count - 1));
        }
        assert_eq!(padded::<u8>(&[]).count(), 0);
        assert_eq!(one_of("k", 2), "k IN (?, ?)");
        assert_eq!(any_of("u = ?", 2), "((u = ?) OR (u = ?))");
    }
}
