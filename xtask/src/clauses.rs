//! The clauses of the MQTT standards: what binds a client, the line that obeys it, and the test that fails without it.
//!
//! ```text
//!   docs/conformance/clauses.tsv ──┐
//!   docs/conformance/taken-out.tsv ┼──► docs/conformance.md, and findings for tidy
//!   citations in crates/           ┘
//! ```

mod cited;
mod page;
mod table;

use crate::say;
use crate::tree::{self, Text};
use cited::{Citation, Role};
use std::fs;
use std::path::Path;
use table::{Class, Clause};

/// The page that is written from all of it.
const PAGE: &str = "docs/conformance.md";
const TABLE: &str = "docs/conformance/clauses.tsv";
const TAKEN_OUT: &str = "docs/conformance/taken-out.tsv";

/// Duties that nothing obeys or nothing proves. This list only ever gets shorter.
const OPEN: &[&str] = &[];

/// What is wrong, and where.
pub(crate) struct Gap {
    pub(crate) path: String,
    /// Counted from 0.
    pub(crate) line: usize,
    pub(crate) what: String,
}

/// One obeying line that was taken out by hand, and what failed then.
struct TakenOut {
    clause: String,
    change: String,
    failed: String,
}

/// All there is to know, read from the tree.
struct Known {
    clauses: Vec<Clause>,
    citations: Vec<Citation>,
    taken_out: Vec<TakenOut>,
}

impl Known {
    fn read(texts: &[Text]) -> Result<Self, Gap> {
        let body = |path: &str| texts.iter().find(|text| text.path == path).map_or("", |text| &text.body);
        let clauses =
            table::read(body(TABLE)).map_err(|(line, what)| Gap { path: TABLE.to_owned(), line, what })?;
        let taken_out = body(TAKEN_OUT).lines().skip(1).filter_map(|line| {
            let mut cells = line.split('\t').map(str::to_owned);
            Some(TakenOut { clause: cells.next()?, change: cells.next()?, failed: cells.next()? })
        });
        Ok(Self {
            clauses,
            citations: texts.iter().flat_map(cited::find).collect(),
            taken_out: taken_out.collect(),
        })
    }

    /// The places that cite a clause in this role, or the clauses that say the same for the other version. Every
    /// one of several must be cited. What a server owes is not for the judge of clients to prove.
    fn places(&self, clause: &Clause, role: Role) -> Vec<&Citation> {
        let fits = |citation: &&Citation| {
            citation.role == role && (!citation.is_judge || clause.class == Class::Must)
        };
        let of = |id: &str| -> Vec<&Citation> {
            self.citations.iter().filter(fits).filter(|citation| citation.clause == id).collect()
        };
        let mut places = of(&clause.id);
        if places.is_empty() && !clause.same_as.is_empty() {
            let shared: Vec<_> = clause.same_as.iter().map(|id| of(id)).collect();
            if shared.iter().all(|places| !places.is_empty()) {
                places = shared.into_iter().flatten().collect();
            }
        }
        places
    }
}

/// Writes the page, and says what is missing. True when nothing is.
pub(crate) fn write(root: &Path) -> bool {
    let texts = tree::texts(root);
    if let Ok(known) = Known::read(&texts) {
        let page = page::print(&known);
        if let Err(error) = fs::write(root.join(PAGE), page) {
            say::line(&format!("{PAGE} cannot be written: {error}"));
            return false;
        }
    }
    let gaps = check(&tree::texts(root));
    for Gap { path, line, what } in &gaps {
        say::line(&format!("{path}:{}: {what}", line + 1));
    }
    say::line(&format!("clauses: {PAGE} is written, {} gaps", gaps.len()));
    gaps.is_empty()
}

/// What tidy has to say: a duty without its line or its test, a citation of nothing, a page that is out of date.
pub(crate) fn check(texts: &[Text]) -> Vec<Gap> {
    let known = match Known::read(texts) {
        Ok(known) => known,
        Err(gap) => return vec![gap],
    };
    let mut gaps = unknown(&known);
    gaps.extend(missing(&known, OPEN));
    let page = texts.iter().find(|text| text.path == PAGE).map_or("", |text| &text.body);
    if page != page::print(&known) {
        let what = "out of date: `cargo xtask clauses` writes it".to_owned();
        gaps.push(Gap { path: PAGE.to_owned(), line: 0, what });
    }
    gaps
}

fn unknown(known: &Known) -> Vec<Gap> {
    let exists = |id: &str| known.clauses.iter().any(|clause| clause.id == id);
    let mut gaps = Vec::new();
    for citation in known.citations.iter().filter(|citation| !exists(&citation.clause)) {
        let what = format!("[{}] is no clause of {TABLE}", citation.clause);
        gaps.push(Gap { path: citation.path.clone(), line: citation.line, what });
    }
    let named = known.clauses.iter().flat_map(|clause| &clause.same_as);
    let named = named.map(|id| (TABLE, id)).chain(known.taken_out.iter().map(|row| (TAKEN_OUT, &row.clause)));
    for (path, id) in named.filter(|(_, id)| !exists(id)) {
        let what = format!("{id} is no clause of {TABLE}");
        gaps.push(Gap { path: path.to_owned(), line: 0, what });
    }
    gaps
}

fn missing(known: &Known, open: &[&str]) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for clause in known.clauses.iter().filter(|clause| clause.class.is_duty()) {
        let obeyed = !known.places(clause, Role::Obeys).is_empty();
        let proved = !known.places(clause, Role::Proves).is_empty();
        let is_open = open.contains(&clause.id.as_str());
        let what = match (obeyed, proved) {
            (true, true) if is_open => "is obeyed and proved by now: take it off the list of open ones",
            (true, true) => continue,
            _ if is_open => continue,
            (false, true) => "is cited at no line that obeys it",
            (true, false) => "is cited at no test that would fail without it",
            (false, false) => "is cited nowhere",
        };
        gaps.push(Gap { path: TABLE.to_owned(), line: clause.line, what: format!("{} {what}", clause.id) });
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "clause\tclass\tas\tstatement\tremark\n";

    fn gaps(table: &str, files: &[(&str, &str)], open: &[&str]) -> Vec<String> {
        let text = |path: &str, body: &str| Text { path: path.to_owned(), body: body.to_owned() };
        let mut texts: Vec<Text> = files.iter().map(|(path, body)| text(path, body)).collect();
        texts.push(text(TABLE, &format!("{HEAD}{table}")));
        let known = Known::read(&texts).ok().expect("the table is well-formed");
        let mut gaps = unknown(&known);
        gaps.extend(missing(&known, open));
        gaps.into_iter().map(|gap| gap.what).collect()
    }

    const ROW: &str = "MQTT-4.4.0-1\tmust\t\twhat\t\n";
    const LINE: (&str, &str) = ("crates/a/src/b.rs", "fn b() {} // [MQTT-4.4.0-1]\n");
    const TEST: (&str, &str) = ("crates/a/tests/it/b.rs", "fn c() {} // [MQTT-4.4.0-1]\n");

    #[test]
    fn a_duty_needs_its_line_and_its_test() {
        assert_eq!(gaps(ROW, &[LINE, TEST], &[]), [""; 0]);
        assert_eq!(gaps(ROW, &[LINE], &[]), ["MQTT-4.4.0-1 is cited at no test that would fail without it"]);
        assert_eq!(gaps(ROW, &[TEST], &[]), ["MQTT-4.4.0-1 is cited at no line that obeys it"]);
        assert_eq!(gaps(ROW, &[], &[]), ["MQTT-4.4.0-1 is cited nowhere"]);
        let advice = ROW.replace("must", "should");
        assert_eq!(gaps(&advice, &[], &[]), [""; 0]);
    }

    #[test]
    fn the_judge_of_the_lab_is_proof_and_the_comments_of_its_broker_are_nothing() {
        let judge = ("crates/rejoin-lab/src/broker/inbound.rs", "fn j() { note(\"MQTT-4.4.0-1\") }\n");
        assert_eq!(gaps(ROW, &[LINE, judge], &[]), [""; 0]);
        let guard = ROW.replace("must", "guard");
        let what = "MQTT-4.4.0-1 is cited at no test that would fail without it";
        assert_eq!(gaps(&guard, &[LINE, judge], &[]), [what]);
        let comment = ("crates/rejoin-lab/src/broker/inbound.rs", "// as the client [MQTT-4.4.0-1]\n");
        assert_eq!(gaps(ROW, &[comment, TEST], &[]), ["MQTT-4.4.0-1 is cited at no line that obeys it"]);
    }

    #[test]
    fn a_clause_that_says_the_same_stands_for_both_and_of_several_each_counts() {
        let both = format!("{ROW}MQTT311-4.4.0-1\tmust\tMQTT-4.4.0-1\twhat\t\n");
        assert_eq!(gaps(&both, &[LINE, TEST], &[]), [""; 0]);
        let more =
            format!("{both}MQTT-9.9.9-9\tshould\t\t\t\nMQTT311-9\tmust\tMQTT-4.4.0-1 MQTT-9.9.9-9\twhat\t\n");
        assert_eq!(gaps(&more, &[LINE, TEST], &[]), ["MQTT311-9 is cited nowhere"]);
    }

    #[test]
    fn a_citation_of_nothing_is_found() {
        let wrong = ("crates/a/src/c.rs", "// [MQTT-4.4.0-9]\n");
        assert_eq!(gaps(ROW, &[LINE, TEST, wrong], &[]), [format!("[MQTT-4.4.0-9] is no clause of {TABLE}")]);
    }

    #[test]
    fn the_list_of_open_ones_excuses_and_must_shrink() {
        assert_eq!(gaps(ROW, &[LINE], &["MQTT-4.4.0-1"]), [""; 0]);
        assert_eq!(
            gaps(ROW, &[LINE, TEST], &["MQTT-4.4.0-1"]),
            ["MQTT-4.4.0-1 is obeyed and proved by now: take it off the list of open ones"]
        );
    }

    #[test]
    fn a_page_that_is_out_of_date_is_found() {
        let text = |path: &str, body: String| Text { path: path.to_owned(), body };
        let mut texts = vec![text(TABLE, format!("{HEAD}{ROW}")), text(LINE.0, LINE.1.to_owned())];
        texts.push(text(TEST.0, TEST.1.to_owned()));
        assert_eq!(check(&texts).len(), 1);
        let known = Known::read(&texts).ok().expect("the table is well-formed");
        texts.push(text(PAGE, page::print(&known)));
        assert!(check(&texts).is_empty());
    }
}
