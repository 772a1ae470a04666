//! What the pictures in the terminal share: the title with its keys, graphs of dots, texts cut between words.

use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

/// The first line: what it is on the left, the keys on the right, the longest form of them that fits.
pub(crate) fn title(left: String, keys: &[&'static str], width: usize) -> Line<'static> {
    let keys = keys.iter().copied().find(|keys| cells(&left) + cells(keys) + 2 <= width).unwrap_or_default();
    let gap = width.saturating_sub(cells(&left) + cells(keys) + 1);
    Line::from(vec![
        Span::styled(left, Style::new().add_modifier(Modifier::BOLD)),
        Span::raw(" ".repeat(gap)),
        Span::styled(keys, dim()),
    ])
}

/// An area graph in braille: `rows` lines of `values.len() / 2` cells, the highest first. `None` draws nothing.
pub(crate) fn braille(values: &[Option<u64>], highest: u64, rows: usize) -> Vec<String> {
    const LEFT: [u32; 4] = [0x40, 0x04, 0x02, 0x01];
    const RIGHT: [u32; 4] = [0x80, 0x20, 0x10, 0x08];
    let dots = rows as u64 * 4;
    // The ground line is one dot high, so that an empty queue is seen to be known.
    let top = dots.saturating_sub(1);
    let height = |value: u64| (value * top).div_ceil(highest.max(1)).min(top) + 1;
    let heights: Vec<u64> = values.iter().map(|value| value.map_or(0, height)).collect();
    (0..rows)
        .map(|row| {
            let below = (rows - 1 - row) as u64 * 4;
            let bits = |height: u64, marks: [u32; 4]| {
                let filled = usize::try_from(height.saturating_sub(below)).unwrap_or(4).min(4);
                marks[..filled].iter().sum::<u32>()
            };
            let cell = |pair: &[u64]| {
                let right = pair.get(1).copied().unwrap_or(0);
                char::from_u32(0x2800 + bits(pair[0], LEFT) + bits(right, RIGHT)).unwrap_or(' ')
            };
            heights.chunks(2).map(cell).collect()
        })
        .collect()
}

/// What is not the point.
pub(crate) const fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

/// Cuts a text between words, so that no line is longer than `width` unless one word is.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if cells(line) + 1 + cells(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Every character used here is one cell wide.
pub(crate) fn cells(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graph_has_a_ground_line_and_reaches_the_top() {
        assert_eq!(braille(&[Some(0), Some(0)], 100, 1), ["⣀"]);
        assert_eq!(braille(&[Some(100), Some(100)], 100, 2), ["⣿", "⣿"]);
        assert_eq!(braille(&[Some(0), Some(100), None, None], 100, 2), ["⢸⠀", "⣸⠀"]);
        assert_eq!(braille(&[None, Some(0)], 0, 1), ["⢀"]);
    }

    #[test]
    fn a_title_keeps_the_keys_that_fit() {
        let shown =
            |width| title(" rejoin".to_owned(), &["q quit", "q"], width).to_string().trim_end().to_owned();
        assert_eq!(shown(20), " rejoin      q quit");
        assert_eq!(shown(11), " rejoin  q");
        assert_eq!(shown(3), " rejoin");
    }
}
