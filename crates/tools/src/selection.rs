//! `--only`: which databases, and under which names.
//!
//! Owns `DB[=NEW][,DB[=NEW]...]`. Promises that every name can be written: a backslash takes the
//! comma, the equals sign or the backslash after it for a part of the name.

use clap::Args;

use crate::failure::Failure;

/// `--only`, without new names.
#[derive(Args, Clone, Debug)]
pub struct OnlyArgs {
    /// These databases only: names with commas between them; a comma, equals sign or backslash in
    /// a name is written with a backslash before it.
    #[arg(long = "only", value_name = "DB[,DB]")]
    only: Vec<String>,
}

impl OnlyArgs {
    /// The names.
    pub fn names(&self) -> Result<Vec<String>, Failure> {
        let chosen = parse(&self.only)?;
        match chosen.iter().find(|(_, new)| new.is_some()) {
            None => Ok(chosen.into_iter().map(|(name, _)| name).collect()),
            Some((name, _)) => {
                Err(Failure::usage(format!("--only {name}=...: no new names can be given here")))
            }
        }
    }
}

/// Names, each with a new one if there is one.
pub fn parse(arguments: &[String]) -> Result<Vec<(String, Option<String>)>, Failure> {
    let mut found = Vec::new();
    for argument in arguments {
        let (mut name, mut new) = (String::new(), None::<String>);
        let mut letters = argument.chars();
        while let Some(letter) = letters.next() {
            match letter {
                ',' => found.push((std::mem::take(&mut name), new.take())),
                '=' if new.is_none() => new = Some(String::new()),
                letter => {
                    let letter = match letter {
                        '\\' => letters.next().unwrap_or('\\'),
                        letter => letter,
                    };
                    new.as_mut().unwrap_or(&mut name).push(letter);
                }
            }
        }
        found.push((name, new));
    }
    let empty = |(name, new): &(String, Option<String>)| {
        name.is_empty() || new.as_ref().is_some_and(String::is_empty)
    };
    match found.iter().any(empty) {
        true => Err(Failure::usage("--only: a name is missing beside a comma or equals sign")),
        false => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_separated_renamed_and_quoted() {
        let read = |text: &str| parse(&[text.to_owned()]).unwrap();
        let plain = |name: &str| (name.to_owned(), None);
        let renamed = |name: &str, new: &str| (name.to_owned(), Some(new.to_owned()));
        assert_eq!(read("a,b"), [plain("a"), plain("b")]);
        assert_eq!(read("a=x,b"), [renamed("a", "x"), plain("b")]);
        assert_eq!(read(r"a\,b\=c\\=d"), [renamed(r"a,b=c\", "d")]);
        for wrong in ["", "a,", "=b", "a=", ",a"] {
            assert!(parse(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
