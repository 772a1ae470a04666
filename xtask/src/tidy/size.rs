//! Files of one idea and functions that fit on a screen.

use super::{Finding, scan};
use crate::tree::Text;

/// Lines of code and documentation, without the test module at the bottom.
pub(super) const FILE_LINES: usize = 800;
/// Lines of everything; beyond this the tests deserve a file of their own.
pub(super) const FILE_LINES_WITH_TESTS: usize = 1_000;
/// From `fn` to the closing brace.
pub(super) const FUNCTION_LINES: usize = 70;

pub(super) fn check(text: &Text, code: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let (own, total) = (scan::lines_before_tests(code), text.body.lines().count());
    if own > FILE_LINES {
        let what = format!("{own} lines without tests, at most {FILE_LINES}: split it along its ideas");
        found.push(Finding::new("file-size", text, 0, what));
    } else if total > FILE_LINES_WITH_TESTS {
        let what =
            format!("{total} lines with tests, at most {FILE_LINES_WITH_TESTS}: move the tests to a file");
        found.push(Finding::new("file-size", text, 0, what));
    }
    for function in functions(code).into_iter().filter(|function| function.lines > FUNCTION_LINES) {
        let what = format!("`{}` has {} lines, at most {FUNCTION_LINES}", function.name, function.lines);
        found.push(Finding::new("function-size", text, function.line, what));
    }
    found
}

struct Function {
    name: String,
    line: usize,
    lines: usize,
}

fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if code[..at].chars().next_back().is_some_and(scan::is_name) {
            continue;
        }
        let name: String = code[at + 3..].chars().take_while(|&character| scan::is_name(character)).collect();
        if let (false, Some(end)) = (name.is_empty(), body_end(&code[at..])) {
            let line = code[..at].matches('\n').count();
            let lines = code[at..at + end].matches('\n').count() + 1;
            found.push(Function { name, line, lines });
        }
    }
    found
}

/// From `fn` to the end of the body; `None` for a declaration that ends with a semicolon.
fn body_end(code: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b';' if depth == 0 => return None,
            b'{' if depth == 0 => return scan::to_closing_brace(&code[at..]).map(|length| at + length),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(body: String) -> Vec<&'static str> {
        let text = Text { path: "crates/x/src/a.rs".to_owned(), body };
        check(&text, &scan::code_only(&text.body)).into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn a_file_is_too_long_by_its_own_lines_or_by_its_tests() {
        assert!(rules("const A: u8 = 1;\n".repeat(800)).is_empty());
        assert_eq!(rules("const A: u8 = 1;\n".repeat(801)), ["file-size"]);
        let tests =
            |lines: usize| format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "const A: u8 = 1;\n".repeat(lines));
        assert!(rules("const A: u8 = 1;\n".repeat(700) + &tests(200)).is_empty());
        assert_eq!(rules("const A: u8 = 1;\n".repeat(700) + &tests(400)), ["file-size"]);
    }

    #[test]
    fn a_function_is_too_long_at_71_lines_and_braces_in_literals_do_not_matter() {
        let function =
            |lines: usize| format!("fn a(x: [u8; 2]) -> char {{\n{}}}\n", "    '}'; \"{\";\n".repeat(lines));
        assert!(rules(function(68)).is_empty());
        assert_eq!(rules(function(69)), ["function-size"]);
    }

    #[test]
    fn declarations_and_function_pointers_are_no_functions() {
        let long = "\n".repeat(90);
        assert!(rules(format!("trait A {{ fn a(x: [u8; 2]); {long} }}")).is_empty());
        assert!(rules(format!("struct A {{ a: fn (u8) -> u8, {long} }}")).is_empty());
    }
}
