//! The part of the expression language that filters of HTTP scenarios are written in.

use std::iter::Peekable;
use std::str::Chars;

/// Brackets, functions and negations inside each other: no deeper than this.
const DEPTH_MAX: usize = 32;

/// A filter, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Not(Box<Expression>),
    /// A field, compared with each of these texts: one is enough.
    Compare {
        left: Operand,
        comparison: Comparison,
        right: Vec<String>,
    },
}

/// A field and the functions around it, the innermost first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Operand {
    pub(super) name: String,
    pub(super) functions: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equals,
    Contains,
    StartsWith,
    EndsWith,
    Matches,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A name, a word or a number.
    Word(String),
    Text(String),
    Sign(String),
}

/// Reads a filter, or says where it is not understood.
pub(super) fn expression(filter: &str) -> Result<Expression, String> {
    let mut reader = Reader { tokens: tokens(filter)?, at: 0 };
    let whole = reader.any(DEPTH_MAX)?;
    match reader.peek() {
        Some(token) => Err(format!("the filter goes on with {}", told(token))),
        None => Ok(whole),
    }
}

fn told(token: &Token) -> String {
    match token {
        Token::Word(word) | Token::Sign(word) => format!("{word:?}"),
        Token::Text(text) => format!("the text {text:?}"),
    }
}

fn tokens(filter: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = filter.chars().peekable();
    while let Some(&character) = rest.peek() {
        if character.is_whitespace() {
            rest.next();
        } else if matches!(character, '\'' | '"' | '`') {
            rest.next();
            tokens.push(Token::Text(text(&mut rest, character)?));
        } else if character.is_alphanumeric() || character == '_' {
            let mut word = String::new();
            while let Some(&next) =
                rest.peek().filter(|next| next.is_alphanumeric() || matches!(next, '_' | '.'))
            {
                word.push(next);
                rest.next();
            }
            tokens.push(Token::Word(word));
        } else {
            rest.next();
            let mut sign = character.to_string();
            if let Some(&next) = rest.peek()
                && matches!((character, next), ('&', '&') | ('|', '|') | ('=' | '!' | '<' | '>', '='))
            {
                sign.push(next);
                rest.next();
            }
            tokens.push(Token::Sign(sign));
        }
    }
    Ok(tokens)
}

/// A text up to its closing mark; between back quotes a backslash is itself.
fn text(rest: &mut Peekable<Chars<'_>>, mark: char) -> Result<String, String> {
    let mut text = String::new();
    while let Some(character) = rest.next() {
        match character {
            end if end == mark => return Ok(text),
            '\\' if mark != '`' => match rest.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                Some(other @ ('\\' | '\'' | '"')) => text.push(other),
                // A pattern's own, as in `\d` and `\.`
                Some(other) => text.extend(['\\', other]),
                None => break,
            },
            other => text.push(other),
        }
    }
    Err("a text of the filter is not closed".to_owned())
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
}

impl Reader {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self) -> Result<Token, String> {
        let token = self.peek().cloned().ok_or("the filter breaks off")?;
        self.at += 1;
        Ok(token)
    }

    fn next_is(&mut self, words: &[&str]) -> bool {
        let is = match self.peek() {
            Some(Token::Word(word) | Token::Sign(word)) => words.contains(&word.as_str()),
            Some(Token::Text(_)) | None => false,
        };
        self.at += usize::from(is);
        is
    }

    fn wants(&mut self, sign: &str) -> Result<(), String> {
        if self.next_is(&[sign]) {
            return Ok(());
        }
        let found = self.peek().map_or_else(|| "its end".to_owned(), told);
        Err(format!("the filter has {found} where {sign:?} is wanted"))
    }

    fn any(&mut self, depth: usize) -> Result<Expression, String> {
        let depth = depth.checked_sub(1).ok_or("the filter is more than 32 deep")?;
        let mut parts = vec![self.all(depth)?];
        while self.next_is(&["||", "or"]) {
            parts.push(self.all(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::Any(parts) })
    }

    fn all(&mut self, depth: usize) -> Result<Expression, String> {
        let mut parts = vec![self.one(depth)?];
        while self.next_is(&["&&", "and"]) {
            parts.push(self.one(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::All(parts) })
    }

    fn one(&mut self, depth: usize) -> Result<Expression, String> {
        let depth = depth.checked_sub(1).ok_or("the filter is more than 32 deep")?;
        if self.next_is(&["!", "not"]) {
            return Ok(Expression::Not(Box::new(self.one(depth)?)));
        }
        if self.next_is(&["("]) {
            let inner = self.any(depth)?;
            self.wants(")")?;
            return Ok(inner);
        }
        let left = self.operand(depth)?;
        let not = self.next_is(&["not"]);
        let comparison = match self.take()? {
            Token::Word(word) | Token::Sign(word) => match word.as_str() {
                "==" | "in" => (Comparison::Equals, not),
                "!=" => (Comparison::Equals, !not),
                "contains" => (Comparison::Contains, not),
                "startsWith" => (Comparison::StartsWith, not),
                "endsWith" => (Comparison::EndsWith, not),
                "matches" => (Comparison::Matches, not),
                other => return Err(format!("comparison {other:?} is not understood")),
            },
            token @ Token::Text(_) => return Err(format!("{} follows {}", told(&token), left.name)),
        };
        let compared = Expression::Compare { left, comparison: comparison.0, right: self.constants(depth)? };
        Ok(if comparison.1 { Expression::Not(Box::new(compared)) } else { compared })
    }

    /// `evt.Meta.http_path`, `Upper(PathUnescape(evt.Meta.http_path))`
    fn operand(&mut self, depth: usize) -> Result<Operand, String> {
        let depth = depth.checked_sub(1).ok_or("the filter is more than 32 deep")?;
        let name = match self.take()? {
            Token::Word(word) => word,
            token @ (Token::Text(_) | Token::Sign(_)) => {
                return Err(format!("the filter has {} where a field is wanted", told(&token)));
            }
        };
        if !self.next_is(&["("]) {
            return Ok(Operand { name, functions: Vec::new() });
        }
        if ["RegexpInFile", "File", "any", "all", "none", "one"].contains(&name.as_str()) {
            let mut texts = self.tokens[self.at..].iter().filter_map(|token| match token {
                Token::Text(text) => Some(text.as_str()),
                Token::Word(_) | Token::Sign(_) => None,
            });
            let file = texts.next().unwrap_or("without a name");
            return Err(format!("{name} looks into a list, a file of its own, which is not read: {file}"));
        }
        let mut inner = self.operand(depth)?;
        self.wants(")")?;
        inner.functions.push(name);
        Ok(inner)
    }

    /// One text or a list of them, functions carried out.
    fn constants(&mut self, depth: usize) -> Result<Vec<String>, String> {
        if !self.next_is(&["["]) {
            return Ok(vec![self.constant(depth)?]);
        }
        let mut values = Vec::new();
        while !self.next_is(&["]"]) {
            values.push(self.constant(depth)?);
            if !self.next_is(&[","]) {
                self.wants("]")?;
                break;
            }
        }
        Ok(values)
    }

    fn constant(&mut self, depth: usize) -> Result<String, String> {
        let depth = depth.checked_sub(1).ok_or("the filter is more than 32 deep")?;
        let function = match self.take()? {
            Token::Text(text) => return Ok(text),
            Token::Word(number) if number.chars().all(|digit| digit.is_ascii_digit()) => return Ok(number),
            Token::Word(function) => function,
            token @ Token::Sign(_) => {
                return Err(format!("the filter has {} where a text is wanted", told(&token)));
            }
        };
        self.wants("(").map_err(|_| format!("{function} is compared with, and is no text"))?;
        let inner = self.constant(depth)?;
        self.wants(")")?;
        match function.as_str() {
            "Upper" | "upper" => Ok(inner.to_uppercase()),
            "Lower" | "lower" => Ok(inner.to_lowercase()),
            other => Err(format!("function {other} is not understood")),
        }
    }
}
