//! What the tool does when nobody reads it any more, as in `vmint doctor | head -1`.

use std::{
    io,
    process::{Command, Stdio},
};

#[test]
fn it_ends_without_a_word() {
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    let ended = Command::new(env!("CARGO_BIN_EXE_vmint"))
        .arg("doctor")
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .expect("the program runs");
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
    assert_eq!(ended.status.code(), Some(141));
}
