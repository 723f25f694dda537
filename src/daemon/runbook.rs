//! `floorgate runbook`: what to do about a message of the log or a reason, by the name that it carries as `see`.

use std::fmt::Write as _;

use clap::Args;
use floorgate_yaml::closest;
use serde_json::json;

use crate::control::Fault;
use crate::exit;
use crate::plain::plain;
use crate::printing::print;
use crate::registry::ADAPTERS;
use crate::table::write_table;

pub const EXAMPLES: &str = "\
Examples:
  floorgate runbook
  floorgate runbook opcua-server-not-trusted
  journalctl -u floorgate -p warning --since -1h | grep -o 'see=\"[^\"]*\"' | sort | uniq -c";

/// Longest line of what is printed, in characters.
const WIDTH: usize = 100;
/// What the gateway says of itself. Its names begin with `gateway`.
const OWN: (&str, &str) = ("gateway", include_str!("RUNBOOK.md"));
/// What is said below each paragraph: the page says it at its top.
const HOW: &str = "Commands are run as the gateway's user: \
sudo -u floorgate floorgate sources --config /etc/floorgate/floorgate.yaml";

/// Which paragraph is printed.
#[derive(Debug, Args)]
pub struct RunbookOptions {
    /// The name, as a message or a reason has it in `see`. Without it, all names with what they mean.
    name: Option<String>,
    /// Print one JSON object a name and line, with the text as Markdown.
    #[arg(long)]
    json: bool,
}

/// What a page says of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Paragraph<'a> {
    /// An adapter's name, or `gateway`.
    of: &'a str,
    name: &'a str,
    text: &'a str,
}

impl Paragraph<'_> {
    /// The first sentence: what the message means.
    fn meaning(&self) -> String {
        let text = self.text.trim_start_matches("**Meaning.**").replace('\n', " ");
        let end = text.find(". ").map_or(text.len(), |end| end + 1);
        text[..end].trim().to_owned()
    }
}

/// The paragraphs of a page, in its order.
fn paragraphs<'a>(of: &'a str, page: &'a str) -> impl Iterator<Item = Paragraph<'a>> {
    page.split("\n## ").skip(1).map(move |part| {
        let (name, text) = part.split_once('\n').unwrap_or((part, ""));
        let (name, text) = (name.trim(), text.trim());
        Paragraph { of, name, text }
    })
}

/// Lines of Markdown as a terminal shows them: emphasis is left out, and what was broken to be edited is broken to be read.
fn shown(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut indent = "";
    let mut begins = true;
    for line in text.lines() {
        let is_item = line
            .split_once(". ")
            .is_some_and(|(number, _)| number.parse::<u8>().is_ok());
        begins |= is_item || line.is_empty();
        if begins {
            indent = if is_item { "   " } else { "" };
            lines.push(String::new());
        }
        for word in line.replace("**", "").split_whitespace() {
            match lines.last_mut() {
                Some(last) if last.is_empty() => last.push_str(word),
                Some(last) if last.chars().count() + 1 + word.chars().count() <= WIDTH => {
                    last.push(' ');
                    last.push_str(word);
                }
                _ => lines.push(format!("{indent}{word}")),
            }
        }
        begins = line.is_empty();
    }
    lines.join("\n").trim().to_owned()
}

/// A reason as tables and lines show it, with the paragraph about it.
pub fn hinted(reason: &str, see: Option<&str>) -> String {
    let reason = plain(reason);
    match see {
        Some(see) => format!("{reason} (see {})", plain(see)),
        None => reason.into_owned(),
    }
}

/// An adapter's error as a command ends with it, with the paragraph about it.
pub fn told(error: &dyn std::fmt::Display, see: Option<&str>) -> anyhow::Error {
    anyhow::anyhow!(hinted(&error.to_string(), see))
}

/// Prints a paragraph, or names them all.
pub fn runbook(options: &RunbookOptions) -> anyhow::Result<()> {
    let pages = ADAPTERS
        .iter()
        .map(|adapter| (adapter.name(), adapter.runbook()))
        .chain([OWN]);
    let all: Vec<Paragraph<'_>> = pages.flat_map(|(of, page)| paragraphs(of, page)).collect();
    let mut found = all.clone();
    if let Some(name) = &options.name {
        found.retain(|paragraph| paragraph.name == name);
        if found.is_empty() {
            let names = all.iter().map(|paragraph| paragraph.name);
            let way_out = match closest(name, names) {
                Some(similar) => format!("did you mean `{similar}`?"),
                None => "`floorgate runbook` has them all".to_owned(),
            };
            let text = format!("the runbook has nothing of the name `{name}`: {way_out}");
            let code = exit::USAGE;
            return Err(Fault { text, code }.into());
        }
    }
    let mut text = String::new();
    if options.json {
        for paragraph in found {
            let Paragraph {
                of,
                name,
                text: markdown,
            } = paragraph;
            let row = json!({"name": name, "of": of, "meaning": paragraph.meaning(), "text": markdown});
            writeln!(text, "{row}")?;
        }
    } else if options.name.is_some() {
        for paragraph in found {
            writeln!(text, "{}\n\n{}\n\n{HOW}", paragraph.name, shown(paragraph.text))?;
        }
    } else {
        let mut table = vec![["NAME".to_owned(), "MEANING".to_owned()]];
        table.extend(
            found
                .iter()
                .map(|paragraph| [paragraph.name.to_owned(), paragraph.meaning()]),
        );
        let mut out = Vec::new();
        write_table(&mut out, &table)?;
        text.push_str(&String::from_utf8_lossy(&out));
        text.push_str(
            "\nfloorgate runbook NAME says what to do; NAME is what a message of the log has in `see`, and what stands after a reason.\n",
        );
    }
    print(&text)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# Pumps: what to do about a message
Some words.

## pump-dry
**Meaning.** The pump `3.5` runs dry. It stops by
itself.

**What to do.**
1. Open the valve.
2. Wait.

Then go home.

## pump-lost
**Meaning.** It is gone.
";

    #[test]
    fn a_page_is_cut_at_its_names() {
        let all: Vec<Paragraph<'_>> = paragraphs("pump", PAGE).collect();
        assert_eq!(
            all.iter()
                .map(|paragraph| (paragraph.name, paragraph.meaning()))
                .collect::<Vec<_>>(),
            [
                ("pump-dry", "The pump `3.5` runs dry.".to_owned()),
                ("pump-lost", "It is gone.".to_owned())
            ]
        );
        assert_eq!(
            shown(all[0].text),
            "Meaning. The pump `3.5` runs dry. It stops by itself.\n\nWhat to do.\n1. Open the valve.\n2. Wait.\n\nThen go home."
        );
    }

    #[test]
    fn a_reason_is_shown_with_its_paragraph() {
        assert_eq!(
            hinted("no\nanswer", Some("pump-lost")),
            "no\\u{a}answer (see pump-lost)"
        );
        assert_eq!(hinted("no answer", None), "no answer");
    }

    #[test]
    fn long_lines_are_broken_below_their_number() {
        let told = shown(&format!("1. {}\n2. end", "word ".repeat(30)));
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), 3, "{told}");
        assert!(
            lines[0].starts_with("1. word") && lines[1].starts_with("   word"),
            "{told}"
        );
        assert!(lines.iter().all(|line| line.len() <= WIDTH), "{told}");
        assert_eq!(lines[2], "2. end");
    }
}
