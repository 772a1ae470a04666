//! The clauses themselves, in our own words, from a table of tabs.

/// What a clause is to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Its own duty.
    Must,
    /// A duty of the server that the client verifies or withstands.
    Guard,
    /// Advice.
    Should,
    /// Binds servers alone, and shows in nothing that a client could check.
    Out,
}

impl Class {
    fn of(word: &str) -> Option<Self> {
        [Self::Must, Self::Guard, Self::Should, Self::Out].into_iter().find(|class| class.name() == word)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Must => "must",
            Self::Guard => "guard",
            Self::Should => "should",
            Self::Out => "out",
        }
    }

    /// Whether a line must obey it and a test must prove it.
    pub(super) const fn is_duty(self) -> bool {
        matches!(self, Self::Must | Self::Guard)
    }
}

/// One clause.
#[derive(Debug)]
pub(super) struct Clause {
    /// `MQTT-4.4.0-1` of 5.0, `MQTT311-4.4.0-1` of 3.1.1; rules without a number are `u5-` and `u311-` and a section.
    pub(super) id: String,
    pub(super) class: Class,
    /// Clauses of the other version that the same line decides and the same test proves.
    pub(super) same_as: Vec<String>,
    pub(super) statement: String,
    pub(super) remark: String,
    /// In the table, counted from 0.
    pub(super) line: usize,
}

impl Clause {
    pub(super) fn is_v311(&self) -> bool {
        self.id.starts_with("MQTT311-") || self.id.starts_with("u311-")
    }

    /// The chapter, such as `3.3`; `None` without a number.
    pub(super) fn chapter(&self) -> Option<String> {
        let number = self.id.strip_prefix("MQTT-").or_else(|| self.id.strip_prefix("MQTT311-"))?;
        let mut parts = number.split(['.', '-']);
        Some(format!("{}.{}", parts.next()?, parts.next()?))
    }
}

/// Reads the table. The error is a line, counted from 0, and what is wrong with it.
pub(super) fn read(body: &str) -> Result<Vec<Clause>, (usize, String)> {
    let mut clauses: Vec<Clause> = Vec::new();
    for (line, text) in body.lines().enumerate().skip(1) {
        let mut cells: Vec<&str> = text.split('\t').collect();
        // A row without a remark ends early.
        if cells.len() == 4 {
            cells.push("");
        }
        let [ids, class, same_as, statement, remark] = cells[..] else {
            return Err((line, format!("{} columns instead of 5", cells.len())));
        };
        let class = Class::of(class).ok_or_else(|| (line, format!("`{class}` is no class of clauses")))?;
        let told = if class == Class::Out { remark } else { statement };
        if told.is_empty() && class != Class::Should {
            return Err((line, "says nothing".to_owned()));
        }
        for id in ids.split(' ') {
            if clauses.iter().any(|clause| clause.id == id) {
                return Err((line, format!("{id} stands here twice")));
            }
            clauses.push(Clause {
                id: id.to_owned(),
                class,
                same_as: same_as.split_whitespace().map(str::to_owned).collect(),
                statement: statement.to_owned(),
                remark: remark.to_owned(),
                line,
            });
        }
    }
    Ok(clauses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_and_several_clauses_may_share_one() {
        let table = "head\nMQTT-3.1.0-1\tmust\t\tfirst\t\nMQTT311-4.5.0-1 u5-4.11\tout\t\t\tservers\n";
        let clauses = read(table).expect("it is well-formed");
        assert_eq!(clauses.len(), 3);
        assert_eq!((clauses[0].chapter().as_deref(), clauses[0].is_v311()), (Some("3.1"), false));
        assert_eq!((clauses[1].class, clauses[1].is_v311()), (Class::Out, true));
        assert_eq!((clauses[2].chapter(), clauses[2].line), (None, 2));
    }

    #[test]
    fn what_is_no_row_is_named_by_its_line() {
        for row in [
            "a\tmust\t",
            "a\tmust\t\tb\t\tc",
            "a\tnever\t\tb\t",
            "a\tmust\t\t\t",
            "a\tmust\t\tb\na\tmust\t\tb",
        ] {
            assert!(read(&format!("head\n{row}\n")).is_err(), "{row}");
        }
    }
}
