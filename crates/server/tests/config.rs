//! Settings: the shipped sample is what the program does by itself, and mistakes are told with what would be right.

use server::Config;

#[test]
fn the_shipped_settings_are_the_defaults() {
    let sample = Config::parse(include_str!("../../../dist/server.toml")).unwrap();
    assert_eq!(sample, Config::default());
}

#[test]
fn mistakes_are_told_with_what_would_be_right() {
    for (text, told) in [
        ("[agents]\nchek_in_seconds = 5", "line 2: unknown field `chek_in_seconds`"),
        ("[agents]\nchek_in_seconds = 5", "did you mean \"check_in_seconds\"?"),
        ("[agents]\ncertificate_days = 365", "agents.certificate_days = 365 is outside 1 to 30"),
        ("[server]\napi = \"localhost\"", "line 2"),
        ("[server]\nnames = []", "server.names is empty"),
        (
            "[[feed]]\nname = \"a\"\nlocation = \"x\"\n[[feed]]\nname = \"a\"\nlocation = \"y\"",
            "two feeds are named \"a\"",
        ),
        ("[[feed]]\nname = \"../a\"\nlocation = \"x\"", "feed name"),
        ("[log]\nformat = \"xml\"", "unknown variant"),
        ("[telemetry]\nservice = \"x\"", "missing field `otlp`"),
        ("[telemetry]\notlp = \"collector:4318\"", "http://HOST:4318 is wanted"),
        ("[telemetry]\notlp = \"http://c\"\nsampled = 2", "outside 0 to 1"),
        ("\0", "line 1"),
    ] {
        let problem = Config::parse(text).unwrap_err();
        assert!(problem.contains(told), "{text}: {problem}");
    }
}
