//! Rows as a file of Apache Parquet: plain values in pages packed with zstd, one page for each column of a group.
//!
//! Written by hand: the crate of that name takes 47 s of a core to build and brings chrono, for what is little more than a
//! footer in Thrift's compact form (parquet-format, `parquet.thrift`).

use super::tables::{Column, Kind, Row, Value};
use std::io::{self, Write};

/// Rows of a group: what is held in memory before it is written.
const GROUP_ROWS: usize = 1 << 16;
const MAGIC: &[u8; 4] = b"PAR1";

/// Numbers of `parquet.thrift`.
mod code {
    pub(super) const BOOLEAN: i64 = 0;
    pub(super) const INT32: i64 = 1;
    pub(super) const INT64: i64 = 2;
    pub(super) const DOUBLE: i64 = 5;
    pub(super) const BYTE_ARRAY: i64 = 6;
    pub(super) const UTF8: i64 = 0;
    pub(super) const DATE: i64 = 6;
    pub(super) const REQUIRED: i64 = 0;
    pub(super) const OPTIONAL: i64 = 1;
    pub(super) const PLAIN: i64 = 0;
    pub(super) const RLE: i64 = 3;
    pub(super) const ZSTD: i64 = 6;
    pub(super) const DATA_PAGE: i64 = 0;
}

/// A column of a group that has been written.
struct Chunk {
    offset: u64,
    packed_bytes: u64,
    plain_bytes: u64,
}

/// Writes rows; `notes` are kept in the file as names and values.
pub(crate) fn write(
    to: &mut dyn Write,
    columns: &[Column],
    notes: &[(&str, String)],
    rows: impl Iterator<Item = Row>,
) -> io::Result<()> {
    to.write_all(MAGIC)?;
    let mut offset = MAGIC.len() as u64;
    let mut groups: Vec<(usize, Vec<Chunk>)> = Vec::new();
    let mut rows = rows.peekable();
    while rows.peek().is_some() {
        let group: Vec<Row> = rows.by_ref().take(GROUP_ROWS).collect();
        let mut chunks = Vec::new();
        for (place, column) in columns.iter().enumerate() {
            let values: Vec<&Value> = group.iter().map(|row| &row[place]).collect();
            let chunk = page(to, offset, column, &values)?;
            offset += chunk.packed_bytes;
            chunks.push(chunk);
        }
        groups.push((group.len(), chunks));
    }
    let footer = footer(columns, notes, &groups);
    to.write_all(&footer)?;
    let length = u32::try_from(footer.len()).map_err(io::Error::other)?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(MAGIC)
}

fn page(to: &mut dyn Write, offset: u64, column: &Column, values: &[&Value]) -> io::Result<Chunk> {
    let mut plain = Vec::new();
    if column.optional {
        let levels = levels(values);
        plain.extend_from_slice(&u32::try_from(levels.len()).map_err(io::Error::other)?.to_le_bytes());
        plain.extend_from_slice(&levels);
    }
    encode(column.kind, values, &mut plain);
    let packed = zstd::bulk::compress(&plain, zstd::DEFAULT_COMPRESSION_LEVEL)?;
    let mut header = Thrift::default();
    header.integer(1, code::DATA_PAGE);
    header.integer(2, long(plain.len()));
    header.integer(3, long(packed.len()));
    header.begin(5);
    header.integer(1, long(values.len()));
    header.integer(2, code::PLAIN);
    header.integer(3, code::RLE);
    header.integer(4, code::RLE);
    header.end();
    header.end();
    to.write_all(&header.bytes)?;
    to.write_all(&packed)?;
    let head = header.bytes.len() as u64;
    Ok(Chunk { offset, packed_bytes: head + packed.len() as u64, plain_bytes: head + plain.len() as u64 })
}

/// For each value whether it is there, as runs.
fn levels(values: &[&Value]) -> Vec<u8> {
    let mut out = Vec::new();
    for run in values.chunk_by(|one, other| one.is_there() == other.is_there()) {
        variable(run.len() as u64 * 2, &mut out);
        out.push(u8::from(run[0].is_there()));
    }
    out
}

fn encode(kind: Kind, values: &[&Value], out: &mut Vec<u8>) {
    if kind == Kind::Flag {
        for eight in values.chunks(8) {
            let bits = eight.iter().enumerate();
            out.push(
                bits.fold(0, |byte, (bit, value)| byte | u8::from(matches!(value, Value::Flag(true))) << bit),
            );
        }
        return;
    }
    for value in values {
        match value {
            Value::Text(text) => {
                out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(0).to_le_bytes());
                out.extend_from_slice(text.as_bytes());
            }
            Value::Day(day) => out.extend_from_slice(&i32::from(*day).to_le_bytes()),
            Value::Count(count) => {
                out.extend_from_slice(&i64::try_from(*count).unwrap_or(i64::MAX).to_le_bytes());
            }
            Value::Share(share) => out.extend_from_slice(&share.to_le_bytes()),
            Value::Flag(_) | Value::Nothing => {}
        }
    }
}

fn footer(columns: &[Column], notes: &[(&str, String)], groups: &[(usize, Vec<Chunk>)]) -> Vec<u8> {
    let mut out = Thrift::default();
    out.integer(1, 1);
    out.list(2, Element::Struct, columns.len() + 1);
    out.open();
    out.text(4, "census");
    out.integer(5, long(columns.len()));
    out.end();
    for column in columns {
        let (kind, meaning) = kinds(column.kind);
        out.open();
        out.integer(1, kind);
        out.integer(3, if column.optional { code::OPTIONAL } else { code::REQUIRED });
        out.text(4, column.name);
        if let Some(meaning) = meaning {
            out.integer(6, meaning);
        }
        out.end();
    }
    out.long(3, long(groups.iter().map(|(rows, _)| rows).sum()));
    out.list(4, Element::Struct, groups.len());
    for (rows, chunks) in groups {
        out.open();
        out.list(1, Element::Struct, chunks.len());
        for (column, chunk) in columns.iter().zip(chunks) {
            out.open();
            out.long(2, chunk.offset.cast_signed());
            out.begin(3);
            out.integer(1, kinds(column.kind).0);
            out.list(2, Element::Integer, 2);
            out.element(code::PLAIN);
            out.element(code::RLE);
            out.list(3, Element::Text, 1);
            out.element_text(column.name);
            out.integer(4, code::ZSTD);
            out.long(5, long(*rows));
            out.long(6, chunk.plain_bytes.cast_signed());
            out.long(7, chunk.packed_bytes.cast_signed());
            out.long(9, chunk.offset.cast_signed());
            out.end();
            out.end();
        }
        out.long(2, chunks.iter().map(|chunk| chunk.plain_bytes).sum::<u64>().cast_signed());
        out.long(3, long(*rows));
        out.end();
    }
    out.list(5, Element::Struct, notes.len());
    for (name, value) in notes {
        out.open();
        out.text(1, name);
        out.text(2, value);
        out.end();
    }
    out.text(6, concat!("palisade version ", env!("CARGO_PKG_VERSION")));
    out.end();
    out.bytes
}

/// The type that is stored, and what it means.
fn kinds(kind: Kind) -> (i64, Option<i64>) {
    match kind {
        Kind::Text => (code::BYTE_ARRAY, Some(code::UTF8)),
        Kind::Day => (code::INT32, Some(code::DATE)),
        Kind::Count => (code::INT64, None),
        Kind::Share => (code::DOUBLE, None),
        Kind::Flag => (code::BOOLEAN, None),
    }
}

fn long(many: usize) -> i64 {
    i64::try_from(many).unwrap_or(i64::MAX)
}

fn variable(mut number: u64, out: &mut Vec<u8>) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

/// What a list holds.
#[derive(Clone, Copy)]
enum Element {
    Integer = 5,
    Text = 8,
    Struct = 12,
}

/// Thrift's compact form: fields by the distance of their numbers, integers zigzag and as short as they are.
#[derive(Default)]
struct Thrift {
    bytes: Vec<u8>,
    /// The last field's number in this struct, and in those around it.
    last: u8,
    around: Vec<u8>,
}

impl Thrift {
    fn field(&mut self, number: u8, kind: u8) {
        self.bytes.push((number - self.last) << 4 | kind);
        self.last = number;
    }

    fn integer(&mut self, number: u8, value: i64) {
        self.field(number, Element::Integer as u8);
        self.element(value);
    }

    fn long(&mut self, number: u8, value: i64) {
        self.field(number, 6);
        self.element(value);
    }

    fn text(&mut self, number: u8, text: &str) {
        self.field(number, Element::Text as u8);
        self.element_text(text);
    }

    fn list(&mut self, number: u8, of: Element, length: usize) {
        self.field(number, 9);
        if let Ok(short @ 0..=14) = u8::try_from(length) {
            self.bytes.push(short << 4 | of as u8);
        } else {
            self.bytes.push(0xf0 | of as u8);
            variable(length as u64, &mut self.bytes);
        }
    }

    fn element(&mut self, value: i64) {
        variable((value << 1 ^ value >> 63).cast_unsigned(), &mut self.bytes);
    }

    fn element_text(&mut self, text: &str) {
        variable(text.len() as u64, &mut self.bytes);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// A struct that is a field.
    fn begin(&mut self, number: u8) {
        self.field(number, Element::Struct as u8);
        self.open();
    }

    /// A struct that is an element of a list.
    fn open(&mut self) {
        self.around.push(std::mem::take(&mut self.last));
    }

    fn end(&mut self) {
        self.bytes.push(0);
        self.last = self.around.pop().unwrap_or(0);
    }
}
