//! An archive counted by Spark is the archive counted at once.

use super::{attempt, census, data_tools, told, visit};
use std::fs;
use std::process::Command;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../dist/census_spark.py");

#[test]
fn spark_on_this_machine_counts_what_one_run_counts() {
    let Some(tools) = data_tools() else { return };
    if agent::program::find("java").is_none() {
        eprintln!("SKIPPED: Spark needs a Java (Debian's default-jre-headless)");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::create_dir(path.join("logs")).unwrap();
    for file in 0..3_u32 {
        let mut log = Vec::new();
        for line in 0..4_000_u32 {
            let host = format!("198.51.{}.{}", file, line % 250);
            let text =
                if line % 3 == 0 { attempt(&host, 1 + line % 28) } else { visit(&host, 1 + line % 28) };
            log.extend_from_slice(text.as_bytes());
        }
        // Bytes that are no UTF-8, an end of a line as Windows has it, and one that is none.
        log.extend_from_slice(attempt("203.0.113.9", 5).replace("dir", "\u{e9}").as_bytes());
        log.extend_from_slice(b"203.0.113.8 - - [05/Jul/2001:12:00:00 +0000] \"GET /\xc1\x1c\xff..\xc0\xaf/cmd.exe?/c+dir HTTP/1.0\" 404 1\r\n");
        log.extend_from_slice(b"203.0.113.7 - - [05/Jul/2001:12:00:00 +0000] \"GET /scripts/\rroot.exe?/c+dir HTTP/1.0\" 404 1\n");
        fs::write(path.join(format!("logs/access.{file}.log")), log).unwrap();
    }
    let whole = census(path, &["logs", "--partial", "whole.census"], "");
    assert!(whole.status.success(), "{}", told(&whole));
    let spark = Command::new(&tools)
        .arg(SCRIPT)
        .args([
            "--palisade",
            env!("CARGO_BIN_EXE_palisade"),
            "--partitions",
            "7",
            "--out",
            "spark.census",
            "logs",
        ])
        .current_dir(path)
        .env("XDG_STATE_HOME", path)
        .env("XDG_CONFIG_HOME", path)
        .env("PYSPARK_PYTHON", &tools)
        .env("SPARK_LOCAL_IP", "127.0.0.1")
        .output()
        .unwrap();
    assert!(spark.status.success(), "{}", told(&spark));
    let read = |name: &str| fs::read(path.join(name)).unwrap();
    assert!(read("spark.census") == read("whole.census"), "Spark counted otherwise");
}
