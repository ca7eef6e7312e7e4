use std::{
    panic::{self, AssertUnwindSafe, PanicHookInfo},
    sync::atomic::{AtomicBool, Ordering},
};

/// What a shell says of a program that SIGPIPE ended.
const EXIT: u8 = 128 + 13;

/// Runs a command; if nobody reads what it prints any more (`vmint ls | head`),
/// it ends there without a word, and everything it holds is given back.
pub(crate) fn quietly<T>(command: impl FnOnce() -> T) -> Result<T, u8> {
    static CLOSED: AtomicBool = AtomicBool::new(false);
    let loud = panic::take_hook();
    panic::set_hook(Box::new(move |what| {
        if is_closed_pipe(what) {
            CLOSED.store(true, Ordering::Relaxed);
        } else {
            loud(what);
        }
    }));
    // What it held is dropped by then, and the process ends.
    panic::catch_unwind(AssertUnwindSafe(command)).map_err(|what| {
        if CLOSED.load(Ordering::Relaxed) {
            return EXIT;
        }
        panic::resume_unwind(what)
    })
}

/// The standard library's macros panic where output can't be written.
fn is_closed_pipe(what: &PanicHookInfo<'_>) -> bool {
    let text = what.payload().downcast_ref::<String>();
    text.is_some_and(|text| text.starts_with("failed printing to") && text.contains("Broken pipe"))
}
