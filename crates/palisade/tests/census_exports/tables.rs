//! Tables for people who work with data.

use super::{attempt, census, data_tools, python, told, visit};
use std::collections::BTreeSet;
use std::fs;

/// Attempts on two days, a quiet day, a day without a log, and a visitor on the last.
fn log() -> String {
    [
        attempt("198.51.100.7", 19),
        attempt("198.51.100.7", 19),
        attempt("203.0.113.1", 19),
        visit("192.0.2.1", 20),
        attempt("203.0.113.1", 22),
        visit("192.0.2.1", 23),
    ]
    .concat()
}

#[test]
fn a_quiet_day_is_none_and_a_day_without_a_log_is_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let output = census(path, &["-", "--csv-tables", "out", "--show-sources"], &log());
    assert!(output.status.success(), "{}", told(&output));
    let table = |name: &str| fs::read_to_string(path.join("out").join(name)).unwrap();
    let own = |table: &str| -> Vec<String> {
        table.lines().filter(|line| line.starts_with("nimda-rootexe,")).map(str::to_owned).collect()
    };
    assert_eq!(
        own(&table("signatures.csv")),
        [
            "nimda-rootexe,no,2001-07-19,3,2,",
            "nimda-rootexe,no,2001-07-20,0,0,",
            "nimda-rootexe,no,2001-07-21,,,",
            "nimda-rootexe,no,2001-07-22,1,1,",
            "nimda-rootexe,no,2001-07-23,0,0,",
        ]
    );
    let attempts: BTreeSet<String> = own(&table("attempts.csv")).into_iter().collect();
    let wanted = [
        "nimda-rootexe,no,2001-07-19,198.51.100.7,2,1",
        "nimda-rootexe,no,2001-07-19,203.0.113.1,1,1",
        "nimda-rootexe,no,2001-07-22,203.0.113.1,1,1",
    ];
    assert_eq!(attempts, wanted.map(str::to_owned).into());
    assert!(table("days.csv").contains("\n2001-07-21,,,,\n"), "{}", table("days.csv"));
    let hidden = census(path, &["-", "--csv-tables", "hidden"], &log());
    assert!(hidden.status.success());
    let hidden = fs::read_to_string(path.join("hidden/attempts.csv")).unwrap();
    assert!(!hidden.contains("198.51.100.7"), "an address in a table of pseudonyms");
}

#[test]
fn a_table_that_cannot_be_written_is_told() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), "").unwrap();
    let output = census(directory.path(), &["-", "--parquet", "file"], &log());
    assert_eq!(output.status.code(), Some(70));
    assert!(told(&output).contains("make directory file"), "{}", told(&output));
}

/// Prints a table as CSV as we write it: what is missing is empty, flags are yes and no.
const READ: &str = r#"
import sys, pyarrow.parquet as parquet
file = parquet.ParquetFile(sys.argv[1])
print(",".join(file.schema_arrow.names))
for row in file.read().to_pylist():
    field = lambda value: "" if value is None else {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
    print(",".join(field(value) for value in row.values()))
print(file.metadata.metadata[b"palisade.zone"].decode(), file.metadata.num_row_groups > 1, file=sys.stderr)
"#;

#[test]
fn other_peoples_programs_read_the_same_from_parquet_as_from_csv() {
    let Some(tools) = data_tools() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    // More rows than one group takes.
    let many: String = (0..70_000_u32)
        .map(|host| attempt(&format!("100.{}.{}.{}", host >> 16, host >> 8 & 255, host & 255), 19 + host % 4))
        .collect();
    for log in [log(), many] {
        let output = census(path, &["-", "--parquet", "out", "--csv-tables", "out"], &log);
        assert!(output.status.success(), "{}", told(&output));
        for name in ["attempts", "signatures", "days"] {
            let file = |ending: &str| path.join(format!("out/{name}.{ending}")).display().to_string();
            let read = python(&tools, READ, &[&file("parquet")]);
            // Shares of one decimal are written alike by both.
            assert!(
                read == fs::read_to_string(file("csv")).unwrap(),
                "{name}: {}",
                &read[..read.len().min(500)]
            );
        }
    }
    let counted = "import sys, duckdb; print(duckdb.sql(f\"select sum(attempts), count(distinct source) from '{sys.argv[1]}' where signature = 'nimda-rootexe'\").fetchall())";
    let sums = python(&tools, counted, &[&path.join("out/attempts.parquet").display().to_string()]);
    assert_eq!(sums.trim(), "[(70000, 70000)]");
}
