//! The page that shows which line obeys each clause and which test proves it.

use super::cited::{Citation, Role};
use super::table::{Class, Clause};
use super::{Known, OPEN};
use std::fmt::Write as _;

/// More places than this say no more.
const PLACES: usize = 3;

const HEAD: &str = "\
# Conformance

Every clause of MQTT 3.1.1 and 5.0 that concerns a client, the place that obeys it and the test that fails without it. Written by
`cargo xtask clauses` from the citations in the code and `docs/conformance/clauses.tsv`; `cargo xtask tidy` fails when a *must* or a *guard*
has no line or no test, when a citation names no clause, and when this page is out of date.

- **must**: a duty of a client. **guard**: a duty of a server that we verify or withstand. **should**: advice. **out**: binds servers alone
  and shows in nothing that a client could check; listed at the end with the reason.
- `MQTT-` is a clause of 5.0, `MQTT311-` one of 3.1.1: equal numbers of the two often mean different things. `u5-` and `u311-` are rules the
  standards state without a number, named by their section. The statements are in our own words.
- *as ...*: the same line decides both versions, and the same test proves it, so it is cited once.
- **judge**: the lab's broker looks at every packet it gets and names the clause that a client breaks; the simulation and the tests over
  sockets fail on any such word. That every rule of it finds what it is for is proved in `crates/rejoin-lab/tests/it/judge.rs`.
- A test proves a clause when it fails without the line that obeys. That was tried by hand for the clauses of the last table.
";

/// Prints the page.
pub(super) fn print(known: &Known) -> String {
    let mut out = String::from(HEAD);
    counts(known, &mut out);
    for (title, v311) in [("MQTT 5.0", false), ("MQTT 3.1.1", true)] {
        let of_version = |clause: &&Clause| clause.is_v311() == v311 && clause.class != Class::Out;
        let clauses: Vec<&Clause> = known.clauses.iter().filter(of_version).collect();
        let mut chapter = None;
        for clause in clauses {
            if chapter != Some(clause.chapter()) {
                chapter = Some(clause.chapter());
                let name = clause.chapter().unwrap_or_else(|| "rules without a number".to_owned());
                let _ =
                    writeln!(out, "\n## {title}: {name}\n\n| clause | | what | obeyed | proved | remark |");
                out.push_str("|---|---|---|---|---|---|\n");
            }
            row(known, clause, &mut out);
        }
    }
    outside(known, &mut out);
    taken_out(known, &mut out);
    out
}

fn counts(known: &Known, out: &mut String) {
    out.push_str("\n| | clauses | obeyed | proved |\n|---|---|---|---|\n");
    for class in [Class::Must, Class::Guard, Class::Should, Class::Out] {
        for (version, v311) in [("5.0", false), ("3.1.1", true)] {
            let of_class = |clause: &&Clause| clause.class == class && clause.is_v311() == v311;
            let clauses: Vec<&Clause> = known.clauses.iter().filter(of_class).collect();
            let with = |role| clauses.iter().filter(|clause| !known.places(clause, role).is_empty()).count();
            let (obeyed, proved) = match class {
                Class::Out => ("-".to_owned(), "-".to_owned()),
                _ => (with(Role::Obeys).to_string(), with(Role::Proves).to_string()),
            };
            let _ =
                writeln!(out, "| {}, {version} | {} | {obeyed} | {proved} |", class.name(), clauses.len());
        }
    }
    if !OPEN.is_empty() {
        let _ = writeln!(out, "\nOpen, and to become fewer: {}.", OPEN.join(", "));
    }
}

fn row(known: &Known, clause: &Clause, out: &mut String) {
    let Clause { id, class, statement, remark, .. } = clause;
    let own = |role| known.citations.iter().any(|citation| citation.role == role && citation.clause == *id);
    let cell = |role| {
        let places = known.places(clause, role);
        if !places.is_empty() && !own(role) {
            format!("as {}", clause.same_as.join(", "))
        } else {
            told(&places)
        }
    };
    let (obeyed, proved) = (cell(Role::Obeys), cell(Role::Proves));
    let _ = writeln!(out, "| {id} | {} | {statement} | {obeyed} | {proved} | {remark} |", class.name());
}

fn told(places: &[&Citation]) -> String {
    let mut names: Vec<String> = Vec::new();
    for place in places {
        let path = place.path.trim_start_matches("crates/");
        let who = if place.is_judge { "judge: " } else { "" };
        let name = match place.item.as_str() {
            "" => format!("{who}`{path}`"),
            item => format!("{who}`{path}` {item}"),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let more = names.len().saturating_sub(PLACES);
    names.truncate(PLACES);
    let rest = if more > 0 { format!(", and {more} more") } else { String::new() };
    names.join(", ") + &rest
}

fn outside(known: &Known, out: &mut String) {
    out.push_str(
        "\n## For servers alone\n\n| clauses | why a client has nothing to do with them |\n|---|---|\n",
    );
    let mut rest = known.clauses.iter().filter(|clause| clause.class == Class::Out).peekable();
    while let Some(first) = rest.next() {
        let mut ids = vec![first.id.as_str()];
        while let Some(next) = rest.next_if(|next| next.line == first.line) {
            ids.push(&next.id);
        }
        let _ = writeln!(out, "| {} | {} |", ids.join(", "), first.remark);
    }
}

fn taken_out(known: &Known, out: &mut String) {
    if known.taken_out.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "\n## Taken out by hand\n\n{} lines were changed, one at a time, to see the cited test fail.\n",
        known.taken_out.len()
    );
    out.push_str("| clause | what was changed | what failed |\n|---|---|---|\n");
    for row in &known.taken_out {
        let _ = writeln!(out, "| {} | {} | {} |", row.clause, row.change, row.failed);
    }
}
