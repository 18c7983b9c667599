//! The text of a selector. Takes characters; gives the expression, or where and why it is none.

use super::{
    Comparison, DEPTH_MAX, Error, Expression, Field, Key, Package, Pattern, STATES, TEXT_BYTES_MAX, Values,
};
use std::collections::BTreeSet;

/// Words of the language itself.
const KEYWORDS: [&str; 6] = ["all", "and", "has", "in", "not", "or"];
/// What separates words.
const SIGNS: [char; 8] = ['(', ')', '=', '!', '<', '>', ',', '"'];
/// How like a word must be to be proposed, 0 to 1.
const LIKENESS_MIN: f64 = 0.75;

pub(super) fn selector(text: &str, labels: Option<&BTreeSet<String>>) -> Result<Expression, Error> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Error {
            at: 1,
            reason: format!("it has {} bytes, over {TEXT_BYTES_MAX}", text.len()),
            remedy: "label the hosts, and select the label".to_owned(),
        });
    }
    let mut parser = Parser { tokens: tokens(text)?, at: 0, labels, text };
    if parser.tokens.is_empty() {
        return Err(parser.error("it is empty", "write \"all\" for every host"));
    }
    let expression = parser.any(0)?;
    match parser.peek() {
        None => Ok(expression),
        Some(_) => Err(parser.error("it goes on after its end", "join tests with \"and\" or \"or\"")),
    }
}

/// Whether a text is read as one word without quotes.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(in_word)
}

/// Whether a word without quotes is a pattern.
pub(super) fn is_glob(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// Whether a key without quotes is no label.
pub(super) fn is_reserved(text: &str) -> bool {
    field(text).is_some() || KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(text))
}

fn field(text: &str) -> Option<Field> {
    Field::ALL.into_iter().find(|field| field.word() == text)
}

fn in_word(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && !SIGNS.contains(&c)
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word { text: String, quoted: bool },
    Compare(Comparison),
    Open,
    Close,
    Comma,
}

/// Tokens with the byte each begins at.
fn tokens(text: &str) -> Result<Vec<(usize, Token)>, Error> {
    let mut tokens = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        let mut followed_by_equals = || rest.next_if(|&(_, next)| next == '=').is_some();
        let token = match c {
            _ if c.is_whitespace() => continue,
            '(' => Token::Open,
            ')' => Token::Close,
            ',' => Token::Comma,
            '=' => {
                followed_by_equals();
                Token::Compare(Comparison::Equal)
            }
            '<' if followed_by_equals() => Token::Compare(Comparison::AtMost),
            '<' => Token::Compare(Comparison::Less),
            '>' if followed_by_equals() => Token::Compare(Comparison::AtLeast),
            '>' => Token::Compare(Comparison::Greater),
            '!' if followed_by_equals() => Token::Compare(Comparison::Unequal),
            '!' => return Err(error(text, at, "a lone \"!\"", "write \"not\", or \"!=\"")),
            '"' => {
                let mut quoted = String::new();
                loop {
                    match rest.next() {
                        Some((_, '"')) => break,
                        Some((_, '\\')) => quoted.extend(rest.next().map(|(_, c)| c)),
                        Some((_, c)) => quoted.push(c),
                        None => return Err(error(text, at, "the quotes are not closed", "close them")),
                    }
                }
                Token::Word { text: quoted, quoted: true }
            }
            _ if in_word(c) => {
                let mut word = String::from(c);
                while let Some((_, c)) = rest.next_if(|&(_, c)| in_word(c)) {
                    word.push(c);
                }
                Token::Word { text: word, quoted: false }
            }
            _ => return Err(error(text, at, "a control character", "leave it out, or put it in quotes")),
        };
        tokens.push((at, token));
    }
    Ok(tokens)
}

fn error(text: &str, at: usize, reason: impl Into<String>, remedy: impl Into<String>) -> Error {
    let at = text.get(..at).map_or(0, |before| before.chars().count()) + 1;
    Error { at, reason: reason.into(), remedy: remedy.into() }
}

struct Parser<'a> {
    tokens: Vec<(usize, Token)>,
    at: usize,
    labels: Option<&'a BTreeSet<String>>,
    text: &'a str,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    /// An error at the next token.
    fn error(&self, reason: impl Into<String>, remedy: impl Into<String>) -> Error {
        self.error_at(self.at, reason, remedy)
    }

    fn error_at(&self, token: usize, reason: impl Into<String>, remedy: impl Into<String>) -> Error {
        let at = self.tokens.get(token).map_or(self.text.len(), |(at, _)| *at);
        error(self.text, at, reason, remedy)
    }

    fn takes(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    /// Whether the next token is this keyword; if so, goes on.
    fn takes_keyword(&mut self, keyword: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word { text, quoted: false })
            if text.eq_ignore_ascii_case(keyword));
        self.at += usize::from(found);
        found
    }

    fn any(&mut self, depth: usize) -> Result<Expression, Error> {
        let mut parts = Vec::new();
        loop {
            let part = self.every(depth)?;
            if let Expression::Any(inner) = part {
                parts.extend(inner);
            } else {
                parts.push(part);
            }
            if !self.takes_keyword("or") {
                break;
            }
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::Any(parts) })
    }

    fn every(&mut self, depth: usize) -> Result<Expression, Error> {
        let mut parts = Vec::new();
        loop {
            let part = self.not(depth)?;
            if let Expression::Every(inner) = part {
                parts.extend(inner);
            } else {
                parts.push(part);
            }
            if !self.takes_keyword("and") {
                break;
            }
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::Every(parts) })
    }

    fn not(&mut self, depth: usize) -> Result<Expression, Error> {
        if depth > DEPTH_MAX {
            let reason = format!("more than {DEPTH_MAX} parentheses and \"not\" inside each other");
            return Err(self.error(reason, "write it flatter"));
        }
        if self.takes_keyword("not") {
            return Ok(Expression::Not(Box::new(self.not(depth + 1)?)));
        }
        let opened = self.at;
        if self.takes(&Token::Open) {
            let inner = self.any(depth + 1)?;
            if !self.takes(&Token::Close) {
                let reason = "the parenthesis that opens here is not closed";
                return Err(self.error_at(opened, reason, "close it, or join tests with \"and\" or \"or\""));
            }
            return Ok(inner);
        }
        self.test()
    }

    fn test(&mut self) -> Result<Expression, Error> {
        if self.takes_keyword("all") {
            return Ok(Expression::All);
        }
        if self.takes_keyword("has") {
            return match self.key()? {
                Key::Label(label) => Ok(Expression::Has(label)),
                Key::Field(field) => Err(self.error_at(
                    self.at - 1,
                    format!("every host has \"{}\"", field.word()),
                    "\"has\" asks for labels; put a label of that name in quotes",
                )),
            };
        }
        let key = self.key()?;
        let differs = match self.peek() {
            Some(Token::Compare(Comparison::Equal)) => false,
            Some(Token::Compare(Comparison::Unequal)) => true,
            Some(Token::Compare(comparison)) => {
                let reason = format!("\"{}\" compares versions only", comparison.sign());
                return Err(
                    self.error(reason, "write package=NAME<VERSION, or \"=\" and \"!=\" for other keys")
                );
            }
            _ => return self.within(key),
        };
        self.at += 1;
        let values = self.values(&key, false)?;
        Ok(Expression::Test { key, differs, values })
    }

    /// `in (…)`, `not in (…)`.
    fn within(&mut self, key: Key) -> Result<Expression, Error> {
        let differs = self.takes_keyword("not");
        if !self.takes_keyword("in") {
            let remedy = "write =, != or \"in (…)\" after a key; \"has KEY\" asks whether a label is there";
            return Err(self.error("a test is missing", remedy));
        }
        if !self.takes(&Token::Open) {
            return Err(self.error("a \"(\" is missing", "write \"in (a, b)\""));
        }
        let values = self.values(&key, true)?;
        if !self.takes(&Token::Close) {
            return Err(self.error("a \")\" is missing", "write \"in (a, b)\""));
        }
        Ok(Expression::Test { key, differs, values })
    }

    fn key(&mut self) -> Result<Key, Error> {
        let at = self.at;
        let missing = "a key is missing";
        let Some(Token::Word { text, quoted }) = self.peek().cloned() else {
            return Err(self.error(missing, "write KEY=VALUE, as in role=web"));
        };
        if !quoted && let Some(field) = field(&text) {
            self.at += 1;
            return Ok(Key::Field(field));
        }
        if !quoted && is_reserved(&text) {
            let remedy = format!("\"{text}\" is a word of the language; in quotes it is a label");
            return Err(self.error(missing, remedy));
        }
        if text.is_empty() {
            return Err(self.error(missing, "a label's key is not empty"));
        }
        if let Some(labels) = self.labels.filter(|labels| !labels.contains(&text)) {
            let mut known: Vec<&str> = labels.iter().map(String::as_str).collect();
            known.extend(Field::ALL.map(Field::word));
            let remedy = nearest(&text, known).map_or_else(
                || "see \"palisade host list\" for the labels that hosts have".to_owned(),
                |near| format!("did you mean \"{near}\"?"),
            );
            return Err(self.error_at(at, format!("no host has the label \"{text}\""), remedy));
        }
        self.at += 1;
        Ok(Key::Label(text))
    }

    fn values(&mut self, key: &Key, several: bool) -> Result<Values, Error> {
        let mut texts = Vec::new();
        let mut packages = Vec::new();
        let is_package = *key == Key::Field(Field::Package);
        loop {
            let pattern = self.value(key)?;
            if is_package {
                packages.push(self.package(pattern)?);
            } else {
                texts.push(pattern);
            }
            if !several || !self.takes(&Token::Comma) {
                break;
            }
        }
        if let (false, Some(Token::Compare(_))) = (is_package, self.peek()) {
            return Err(self.error("a second comparison", "put a value that holds such a sign in quotes"));
        }
        Ok(if is_package { Values::Packages(packages) } else { Values::Texts(texts) })
    }

    fn value(&mut self, key: &Key) -> Result<Pattern, Error> {
        let Some(Token::Word { text, quoted }) = self.peek().cloned() else {
            return Err(self.error("a value is missing", "\"\" is the empty value"));
        };
        let is_glob = !quoted && is_glob(&text);
        match key {
            Key::Field(Field::State) if !STATES.contains(&&*text) => {
                let remedy = nearest(&text, STATES).map_or_else(
                    || format!("states are {}", STATES.join(", ")),
                    |near| format!("did you mean \"{near}\"?"),
                );
                return Err(self.error(format!("\"{text}\" is no state of a host"), remedy));
            }
            Key::Field(Field::Affected) if is_glob => {
                return Err(self.error("a pattern of advisories", "name an advisory or a CVE"));
            }
            Key::Field(_) | Key::Label(_) => {}
        }
        self.at += 1;
        Ok(Pattern { text, is_glob })
    }

    fn package(&mut self, name: Pattern) -> Result<Package, Error> {
        let Some(Token::Compare(comparison)) = self.peek() else {
            return Ok(Package { name, version: None });
        };
        let comparison = *comparison;
        self.at += 1;
        let Some(Token::Word { text, .. }) = self.peek().cloned() else {
            return Err(self.error("a version is missing", "write package=NAME<VERSION"));
        };
        self.at += 1;
        Ok(Package { name, version: Some((comparison, text)) })
    }
}

fn nearest<'w>(text: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let like = |word: &str| strsim::jaro_winkler(&text.to_lowercase(), &word.to_lowercase());
    let nearest = words.into_iter().max_by(|one, other| like(one).total_cmp(&like(other)));
    nearest.filter(|word| like(word) >= LIKENESS_MIN)
}
