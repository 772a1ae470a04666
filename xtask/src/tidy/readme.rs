//! The first example people copy is one that compiles.

use super::Finding;
use crate::tree::Text;

const README: &str = "README.md";
const EXAMPLE: &str = "crates/rejoin/examples/hello.rs";

/// The first Rust block of the README is the example file, without the comment and the lint settings at its top.
/// Nothing to say while one of the two is missing.
pub(super) fn check(texts: &[Text]) -> Option<Finding> {
    let find = |path: &str| texts.iter().find(|text| text.path == path);
    let (readme, example) = (find(README)?, find(EXAMPLE)?);
    let (line, block) = first_rust_block(&readme.body)?;
    let what = format!("this block differs from {EXAMPLE}, which is what compiles");
    (block.trim() != program(&example.body).trim()).then(|| Finding::new("readme", readme, line, what))
}

fn first_rust_block(markdown: &str) -> Option<(usize, String)> {
    let mut lines = markdown.lines().enumerate();
    let (start, _) = lines.find(|(_, line)| line.starts_with("```rust"))?;
    let block: Vec<&str> = lines.map(|(_, line)| line).take_while(|line| !line.starts_with("```")).collect();
    Some((start, block.join("\n")))
}

fn program(example: &str) -> String {
    example
        .lines()
        .skip_while(|line| line.starts_with("//!") || line.starts_with("#![") || line.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differs(readme: &str, example: &str) -> bool {
        let text = |path: &str, body: &str| Text { path: path.to_owned(), body: body.to_owned() };
        check(&[text(README, readme), text(EXAMPLE, example)]).is_some()
    }

    #[test]
    fn the_block_must_be_the_example() {
        let readme = "# x\n```sh\nls\n```\n```rust\nfn main() {}\n```\n";
        assert!(!differs(readme, "//! Says hello.\n\nfn main() {}\n"));
        assert!(differs(readme, "fn main() { more() }\n"));
        assert!(!differs("# no block\n", "fn main() {}\n"));
    }
}
