//! Programs that fail, flood, hang and leave children behind.

use super::*;

fn shell(script: &str) -> Program {
    Program::new("sh").arg("-c").arg(script).deadline(Duration::from_secs(20))
}

#[test]
fn output_messages_and_exit_code_are_kept_apart() {
    let output = shell("echo out; echo err >&2; exit 3").run().unwrap();
    assert_eq!((output.code, &output.stdout[..], &output.stderr[..]), (Some(3), &b"out\n"[..], "err\n"));
    let error = shell("echo first >&2; echo last >&2; exit 3").run_ok().unwrap_err();
    assert_eq!(error.to_string(), "run sh: exit 3: last");
    let script = "for said in 1 2 2 3 4; do echo E: $said >&2; done; echo last >&2; exit 100";
    assert_eq!(shell(script).run().unwrap().told(), "exit 100: 1; 2; 3");
}

#[test]
fn the_deadline_ends_the_program_and_its_children() {
    let begun = Instant::now();
    let marker = tempfile::tempdir().unwrap();
    let script = format!("(sleep 1; touch {}/alive) & sleep 100", marker.path().display());
    let error = shell(&script).deadline(Duration::from_millis(300)).run().unwrap_err();
    assert!(matches!(error, Error::Deadline { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(2));
    let group = shell("exec >&- 2>&-; sleep 100").deadline(Duration::from_millis(300)).run();
    assert!(matches!(group, Err(Error::Deadline { .. })), "{group:?}");
    std::thread::sleep(Duration::from_secs(1));
    assert!(!marker.path().join("alive").exists(), "a child outlived the deadline");
}

#[test]
fn a_program_that_floods_either_pipe_is_bounded() {
    let error = shell("yes").stdout_bytes_max(10_000).run().unwrap_err();
    assert!(matches!(error, Error::TooLong { .. }), "{error}");
    let output = shell("head -c 1000000 /dev/zero >&2; echo done").run().unwrap();
    assert_eq!((output.stdout.as_slice(), output.stderr.len()), (&b"done\n"[..], STDERR_BYTES_MAX));
}

#[test]
fn a_background_child_that_keeps_the_pipes_does_not_hold_us_up() {
    let begun = Instant::now();
    let output = shell("sleep 5 2>&1 >/dev/null & echo done").run().unwrap();
    assert_eq!(output.stdout, b"done\n");
    assert!(begun.elapsed() < Duration::from_secs(4));
}

#[test]
fn only_known_variables_reach_the_program() {
    let output = Program::new("env").env("EXTRA", "1").run().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("LC_ALL=C\n") && text.contains("EXTRA=1\n"), "{text}");
    assert!(!text.contains("CARGO"), "{text}");
    assert!(matches!(Program::new("no-such-program-here").run(), Err(Error::Missing(_))));
}

#[test]
fn a_reader_that_stops_early_ends_the_program() {
    let first = |pipe: &mut dyn Read| {
        let mut byte = [0];
        pipe.read_exact(&mut byte).map(|()| byte[0])
    };
    let (byte, _) = shell("yes").read(first).unwrap();
    assert_eq!(byte, b'y');
}

#[test]
fn what_a_program_says_anywhere_is_appended_to_its_log_also_by_a_number_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    std::fs::write(&log, "before\n").unwrap();
    let program = Program::new("sh").args([
        "-c",
        "echo out; echo err >&2; echo own >>/proc/self/fd/$1; exit 3",
        "sh",
        LOG_FD,
    ]);
    assert_eq!(program.run_through(&log).unwrap(), Some(3));
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "before\nout\nerr\nown\n");
}
