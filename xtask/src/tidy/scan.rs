//! Enough of Rust's lexical rules to tell code from comments and literals, and test code from the rest.

/// The source with comments and the insides of literals blanked out; every line and column stays where it was.
pub(crate) fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    while code.len() < bytes.len() {
        let at = code.len();
        match opaque(source, at) {
            Some(length) => {
                let end = (at + length).min(bytes.len());
                code.extend(bytes[at..end].iter().map(|&byte| if byte == b'\n' { b'\n' } else { b' ' }));
            }
            None => code.push(bytes[at]),
        }
    }
    // Only whole comments and literals are blanked, so no character is cut in two.
    String::from_utf8(code).unwrap_or_default()
}

/// Where the test module at the bottom of a file begins, as a count of lines before it; the whole file when none does.
pub(crate) fn lines_before_tests(code: &str) -> usize {
    let total = code.lines().count();
    let mut offset = 0;
    for (number, line) in code.lines().enumerate() {
        let rest = &code[offset..];
        if line.trim() == "#[cfg(test)]" && is_last_module(rest) {
            return number;
        }
        offset += line.len() + 1;
    }
    total
}

/// A place where `word` stands as a whole identifier path in the code: the line, counted from 0.
pub(crate) fn lines_with<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.lines().enumerate().filter(|(_, line)| has_word(line, word)).map(|(number, _)| number)
}

/// Whether `word` stands in the line with no identifier character on either side.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(is_name);
        let after = line[at + word.len()..].chars().next().is_some_and(is_name);
        let longer = (before && word.starts_with(is_name)) || (after && word.ends_with(is_name));
        !longer
    })
}

/// The number of bytes up to and including the brace that closes the first one in `code`.
pub(crate) fn to_closing_brace(code: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth <= 1 => return (depth == 1).then_some(at + 1),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

pub(crate) fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn is_last_module(rest: &str) -> bool {
    let module = rest.lines().skip(1).find(|line| !line.trim().is_empty() && !line.trim().starts_with("#["));
    module.is_some_and(|line| line.trim_start().starts_with("mod ") && line.contains('{'))
        && to_closing_brace(rest).is_some_and(|end| rest[end..].trim().is_empty())
}

/// The length of the comment or literal that begins here, if one does.
fn opaque(source: &str, at: usize) -> Option<usize> {
    let rest = &source.as_bytes()[at..];
    if rest.starts_with(b"//") {
        return Some(rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len()));
    }
    if rest.starts_with(b"/*") {
        return Some(block_comment(rest));
    }
    match rest[0] {
        b'"' => Some(string(rest)),
        b'\'' => character(&source[at..]),
        b'r' | b'b' | b'c' if !source[..at].chars().next_back().is_some_and(is_name) => raw_string(rest),
        _ => None,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `r"..."`, `br#"..."#` and their kin; `None` for a plain name that begins with one of these letters.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let prefix = if rest[0] == b'r' { 1 } else { 2 };
    if prefix == 2 && rest.get(1) != Some(&b'r') {
        return None;
    }
    let hashes = rest[prefix..].iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(prefix + hashes) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.extend(std::iter::repeat_n(b'#', hashes));
    let inside = prefix + hashes + 1;
    let end = rest[inside..].windows(close.len()).position(|window| window == close);
    Some(end.map_or(rest.len(), |end| inside + end + close.len()))
}

/// A character literal; `None` for a lifetime, which begins alike.
fn character(rest: &str) -> Option<usize> {
    let mut inside = rest[1..].chars();
    let first = inside.next()?;
    if first == '\\' {
        let escaped = inside.next()?;
        let from = 2 + escaped.len_utf8();
        return rest[from..].find('\'').map(|end| from + end + 1);
    }
    let end = 1 + first.len_utf8();
    rest[end..].starts_with('\'').then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_vanish_and_lines_stay() {
        let source =
            "let a = \"} // no\"; // {\nlet b = '{'; /* { /* } */ */ let c = '\\'';\nfn d<'a>(x: &'a str) {}";
        let code = code_only(source);
        assert_eq!(code.len(), source.len());
        assert_eq!(code.lines().count(), 3);
        assert_eq!(code.matches(['{', '}']).collect::<String>(), "{}");
        assert!(code.contains("let c =") && code.contains("fn d<'a>(x: &'a str)"));
    }

    #[test]
    fn raw_and_byte_literals_vanish_but_names_stay() {
        let code = code_only("r#\"{ \" }\"# br\"{\" b'{' c\"}\" r#type bring(crate_b\"{\") 'é' '\\u{1F600}'");
        assert!(!code.contains('{') && !code.contains('}'), "{code}");
        assert!(code.contains("r#type") && code.contains("bring"), "{code}");
    }

    #[test]
    fn a_string_over_several_lines_keeps_them() {
        assert_eq!(code_only("\"a\n\\\"b\n\" x").lines().count(), 3);
        assert_eq!(code_only("\"never closed {\n").lines().count(), 1);
    }

    #[test]
    fn only_an_inline_module_at_the_bottom_counts_as_tests() {
        assert_eq!(lines_before_tests("fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() {}\n}\n"), 1);
        assert_eq!(lines_before_tests("#[cfg(test)]\nmod tests {\n}\nfn a() {}\n"), 4);
        assert_eq!(lines_before_tests("#[cfg(test)]\nmod tests;\nfn a() {}\n"), 3);
        assert_eq!(lines_before_tests("fn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n}\n"), 1);
    }

    #[test]
    fn words_are_whole_words() {
        assert!(has_word("use tokio::net;", "tokio"));
        assert!(!has_word("use tokio_util;", "tokio"));
        assert!(has_word("a.sleep(1)", "sleep("));
        assert!(!has_word("fn asleep(", "sleep("));
    }
}
